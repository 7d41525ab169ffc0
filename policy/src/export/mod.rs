//! Exports to general policy languages, for systems that speak them: Rego and Cedar.
//!
//! An export decides `allow` exactly as this engine does on the same input; the differential tests run
//! all three on random policies and inputs. Each export comes with the form of input it expects
//! ([`rego_input`], [`cedar_requests`]): bit masks become lists of bit names, versions packed numbers, times
//! seconds, byte strings hexadecimal, paths end with `/`. An invalid fact is left out of it.

mod cedar;
mod cedar_input;
mod rego;
mod rego_input;

pub use cedar::{cedar, cedar_schema};
pub use cedar_input::{CedarRequest, cedar_requests};
pub use rego::rego;
pub use rego_input::rego_input;

use crate::fields::{BitNames, Kind};
use crate::render;

/// Every bit of a mask by name, as the exports write it.
fn bit_list(mask: u64, names: &BitNames) -> Vec<String> {
    render::bit_names(mask, names)
}

/// The name of a choice, as the exports write it.
fn choice_name(kind: Kind, index: u64) -> &'static str {
    let names: &[&'static str] = match kind {
        Kind::Choice(names) => names,
        _ => &[],
    };
    let at = usize::try_from(index).unwrap_or(usize::MAX);
    names.get(at).copied().unwrap_or("unknown")
}
