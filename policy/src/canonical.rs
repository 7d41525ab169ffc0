//! The canonical form of a policy and its hash.
//!
//! The canonical form is a document: every field of every point in table order, each in the one
//! form that its lattice value has. Comments, notation, order of members, spelled-out defaults and
//! the name do not change it, so two documents have one hash exactly when they decide alike, field
//! by field. The SHA-256 of it is how decision logs name the policy that decided. It is no
//! HOST_DATA: rules on HOST_DATA are a part of it, so a policy would have to contain its own hash.

use crate::document::SCHEMA_VERSION;
use crate::document::json::quote;
use crate::fields::{GRANT_FIELDS, Point, SECTIONS};
use crate::lattice::Bytes;
use crate::policy::Policy;
use crate::render;

impl Policy {
    /// The canonical document. Loading it gives an equal policy.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut out = format!("schema_version = {SCHEMA_VERSION}\nmin_engine = \"0.1.0\"\n");
        // In the order of the table of sections and of each point's fields, never of the document:
        // that is what makes one form of many.
        for (section, _) in SECTIONS {
            if section == "secrets" {
                self.write_grants(&mut out);
                continue;
            }
            out.push_str(&format!("\n[{section}]\n"));
            let prefix = format!("{section}.");
            for point in Point::ALL {
                for (field, rule, _) in self.rules(point) {
                    // A point can have fields of several sections; each is written in its own.
                    if let Some(name) = field.path.strip_prefix(&prefix) {
                        out.push_str(&format!("{name} = {}\n", render::rule(field.kind, rule)));
                    }
                }
            }
        }
        out
    }

    fn write_grants(&self, out: &mut String) {
        // Grants are sorted when they are loaded, by their resources.
        for grant in &self.grants {
            out.push_str(&format!("\n[secrets.{}]\n", quote(&grant.resource.to_string())));
            for (field, rule, _) in grant.rules.iter(GRANT_FIELDS) {
                out.push_str(&format!("{} = {}\n", field.name(), render::rule(field.kind, rule)));
            }
        }
    }

    /// SHA-256 of the canonical document: the name of the policy in decision logs.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash.or_hash(|| sha256(self.canonical().as_bytes()))
    }

    /// The hash in 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn hash_hex(&self) -> String {
        crate::lattice::hex(&self.hash())
    }
}

/// SHA-256 of the bytes at once.
#[must_use]
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().try_into().unwrap_or([0; 32])
}

/// SHA-256 as the value of a fact or rule, 32 [`Bytes`].
#[must_use]
pub fn digest(bytes: &[u8]) -> Bytes {
    Bytes::new(&sha256(bytes)).unwrap_or_else(|| Bytes::zero(32))
}
