//! The attestation report: raw bytes, fields, and a state in its type.
//!
//! Principle: the 1184 bytes that were received are kept and are what is verified; fields are only
//! read from them. A [`Report<Verified>`] can be made by [`crate::verify`] alone, and only it can
//! be appraised. Source: SEV-SNP firmware ABI (AMD 56860), table of ATTESTATION_REPORT.

mod bits;
mod fields;
mod generation;

pub use bits::{
    Bit, PLATFORM_BITS, POLICY_BITS, POLICY_MUST_BE_ONE, set_names, unknown_bits,
    unknown_policy_bits,
};
pub use fields::{Fields, FirmwareVersion, KeyKind, SigningKey};
pub use generation::{Generation, Tcb};

use std::marker::PhantomData;

/// Bytes of an attestation report of every version.
pub const REPORT_SIZE: usize = 1184;
/// Bytes of a report that its signature covers.
pub const SIGNED_SIZE: usize = 0x2A0;
/// The report versions this crate knows.
pub const KNOWN_VERSIONS: std::ops::RangeInclusive<u32> = 2..=5;

/// State of a report whose signature has not been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unverified;
/// State of a report whose structure, chain and signature have been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified;

/// Why bytes are not a report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Not the 1184 bytes that a report has.
    #[error("a report has 1184 bytes, this has {0}")]
    Length(usize),
    /// A version before 2, which no released firmware writes.
    #[error("report version {0} was never issued")]
    Version(u32),
}

/// An attestation report in the state `S`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<S> {
    raw: Box<[u8; REPORT_SIZE]>,
    fields: Fields,
    state: PhantomData<S>,
}

impl Report<Unverified> {
    /// Reads a report. Nothing is checked but its length and that its version can exist.
    ///
    /// # Errors
    /// [`ReportError`] with the length or the version.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        // The length is checked once and is in the type from here on, so that every field can be
        // read without another check.
        let raw: [u8; REPORT_SIZE] =
            bytes.try_into().map_err(|_| ReportError::Length(bytes.len()))?;
        let fields = Fields::read(&raw);
        if fields.version < *KNOWN_VERSIONS.start() {
            return Err(ReportError::Version(fields.version));
        }
        Ok(Self { raw: Box::new(raw), fields, state: PhantomData })
    }

    /// The fields, none of which can be believed yet.
    #[must_use]
    pub const fn unverified_fields(&self) -> &Fields {
        &self.fields
    }

    /// Called by the verifier alone, after every structural and cryptographic check has passed.
    pub(crate) fn into_verified(self) -> Report<Verified> {
        Report { raw: self.raw, fields: self.fields, state: PhantomData }
    }
}

impl Report<Verified> {
    /// The fields, as the processor signed them.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }
}

impl<S> Report<S> {
    /// The bytes as received, signature included.
    #[must_use]
    pub fn raw(&self) -> &[u8; REPORT_SIZE] {
        &self.raw
    }

    /// The bytes that the signature covers.
    #[must_use]
    pub fn signed_bytes(&self) -> &[u8] {
        // Everything before the signature; the signature's own field is no part of what it signs.
        self.raw.split_at(SIGNED_SIZE).0
    }
}
