//! Certificates and revocation lists of the SEV-SNP key hierarchy.
//!
//! Principle: one walk over the DER that was received; signatures are verified over slices of it,
//! never over a re-encoding. Only the shapes that AMD issues are accepted: RSASSA-PSS with SHA-384,
//! names of one form, keys RSA or P-384. Serial number 0 is legal: every VCEK and VLEK has it.
//! Limit: structure only. Whom to trust, and when, is decided in [`crate::verify`].

mod bundle;
mod certificate;
mod crl;
mod lengths;
mod name;
mod roots;
mod vek;

pub use crate::report::KeyKind;
pub use bundle::{Object, certificates_in, crls_in, objects_in};
pub use certificate::{Certificate, Extension, PublicKey, Validity};
pub use crl::Crl;
pub use name::{Authority, Role, encode as encode_name, recognise as recognise_name};
pub use roots::{Anchor, Roots, builtin};
pub use vek::{VekExtensions, VekKind};

/// No certificate of this hierarchy is near this size.
pub const MAX_CERTIFICATE: usize = 16 * 1024;
/// A revocation list of this hierarchy has a handful of entries.
pub const MAX_CRL: usize = 256 * 1024;

/// Why bytes are not a certificate or a revocation list that this crate accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertError {
    /// An object is larger than anything legitimate; it was not parsed.
    #[error("{what}: {length} bytes, more than the limit of {limit}")]
    TooLong {
        /// Which object, such as `certificate`.
        what: &'static str,
        /// Bytes that were given.
        length: usize,
        /// Most bytes that are taken of this kind of object.
        limit: usize,
    },
    /// Not canonical DER, or not of the expected structure.
    #[error("{what}: not canonical DER of the expected structure ({detail})")]
    Der {
        /// Which object or part of it, such as `certificate body`.
        what: &'static str,
        /// The decoder's message, with the offset.
        detail: String,
    },
    /// A length that does not fit what it lies in.
    #[error("{what}: a length in it does not fit, or it is deeper than 16 levels")]
    Lengths {
        /// Which object, such as `CRL`.
        what: &'static str,
    },
    /// The signature algorithm is not RSASSA-PSS, SHA-384, MGF1-SHA-384, salt 48.
    #[error("{what}: signature algorithm is not RSASSA-PSS with SHA-384, MGF1-SHA-384 and salt 48")]
    PssParameters {
        /// Which of the two places, outside the signed part or inside it.
        what: &'static str,
    },
    /// The public key is neither RSA nor P-384.
    #[error("public key is neither RSA-4096 nor P-384")]
    KeyType,
    /// A VEK extension breaks a rule.
    #[error("extension {oid}: {rule}")]
    Extension {
        /// Object identifier, dotted, or `CRL entry`.
        oid: String,
        /// The rule that is broken, as a phrase for the message.
        rule: &'static str,
    },
    /// A file that holds no certificate or list in a form that is read.
    #[error("{0}")]
    Pem(&'static str),
}

pub(crate) fn der_error(what: &'static str) -> impl Fn(der::Error) -> CertError {
    move |error| CertError::Der { what, detail: error.to_string() }
}
