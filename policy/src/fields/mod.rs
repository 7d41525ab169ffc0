//! The table of every field of a policy document. Everything else is generated from it: the loader,
//! the decision, the canonical form, the exports, the JSON Schema and the field reference.
//!
//! A field has a path in the document, belongs to one decision point, constrains one fact of the
//! input and has a kind that fixes its syntax, its lattice and the syntax of the fact.

mod attestation;
mod devices;
mod enforce;
mod enforced;
mod host;
mod keys;
mod kind;
mod launch;
mod network;
mod points;
mod resource;
mod resources;
mod runtime;
mod secrets;
mod sections;
mod view;

pub use devices::INITDATA_DISK;
pub use enforce::Enforcer;
pub use enforced::enforcer;
pub use keys::Key;
pub use kind::{BitNames, FLAG, Kind};
pub use points::{Point, SECTIONS};
pub use resource::resource_fault;
pub(crate) use resource::{pattern_fault, resource_outside, sample_resource};
pub use secrets::GRANT_FIELDS;
pub(crate) use view::view;

/// One field of a policy document.
#[derive(Debug)]
pub struct Field {
    /// Dotted path in the document, `secrets.*.x` for fields of a grant. Also the id of its rule.
    pub path: &'static str,
    /// The fact of the input that it constrains.
    pub key: Key,
    /// Syntax in documents, and the lattice of its rules.
    pub kind: Kind,
    /// Value when the document does not state it, in document syntax.
    pub default: &'static str,
    /// What it means, for the reference.
    pub meaning: &'static str,
    /// Which part of Casemate enforces it.
    pub enforced_by: &'static str,
    /// What an attacker gains where it is left open.
    pub without: &'static str,
}

impl Field {
    /// The last part of the path: the key in its table.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }
}

const fn field(path: &'static str, key: Key, kind: Kind, text: [&'static str; 4]) -> Field {
    let [default, meaning, enforced_by, without] = text;
    Field { path, key, kind, default, meaning, enforced_by, without }
}

/// Default of a field: nothing is admitted.
const NOTHING: &str = "\"nothing\"";
/// Default of a field: everything is admitted.
const ANY: &str = "\"any\"";
