//! The tables of lints, one file a section.

mod attestation;
mod host;
mod launch;
mod network;
mod resources;
mod runtime;
mod secrets;

use super::Level;
use super::danger::{Ask, Witness};

/// One lint: a kind of input that a sane policy does not admit.
#[derive(Debug)]
pub struct Lint {
    /// Stable identifier, such as `CM001`; never reused for something else.
    pub id: &'static str,
    /// How grave a finding is.
    pub level: Level,
    /// The field that lets such an input in.
    pub field: &'static str,
    /// What is wrong where it is found.
    pub message: &'static str,
    /// Asks the engine for an input of the kind.
    pub(in crate::audit) find: fn(&Ask<'_>) -> Option<Witness>,
}

const fn lint(
    id: &'static str,
    level: Level,
    field: &'static str,
    find: fn(&Ask<'_>) -> Option<Witness>,
    message: &'static str,
) -> Lint {
    Lint { id, level, field, message, find }
}

/// Lints of single fields.
pub(super) fn fields() -> impl Iterator<Item = &'static Lint> {
    let tables = [
        host::LINTS,
        launch::LINTS,
        resources::LINTS,
        network::LINTS,
        runtime::LINTS,
        attestation::LINTS,
    ];
    tables.into_iter().flatten()
}

/// Lints of the fields of each grant.
pub(super) fn grants() -> impl Iterator<Item = &'static Lint> {
    secrets::LINTS.iter()
}

/// Whether a lint is about the protection of guests from the host.
pub(super) fn for_protected_guests(lint: &Lint) -> bool {
    // Rules about a host and an image protect against the host only where guests are protected.
    // What is left out here matters for every guest.
    let about_host = lint.field.starts_with("host.") && lint.field != "host.kernel";
    let about_image = lint.field.starts_with("launch.")
        && !matches!(lint.field, "launch.protection" | "launch.tenants" | "launch.cmdline_allow");
    about_host || about_image || lint.field.starts_with("runtime.")
}
