//! REPORT_DATA with a purpose: a digest over a label and a nonce.
//!
//! Any program of a guest may ask for a report with any REPORT_DATA. A verifier that wants a report
//! made for one purpose gives the label of that purpose beside its nonce, and the guest answers
//! with the report data of both; a report made for another purpose has another value.

use crate::digest::sha512;

/// Longest label in bytes.
pub const MAX_LABEL: usize = 255;
/// Longest nonce in bytes.
pub const MAX_NONCE: usize = 64 * 1024;

const DOMAIN: &[u8] = b"casemate report data v1\0";

/// The REPORT_DATA of a label and a nonce: SHA-512 over `casemate report data v1`, a zero byte, the
/// length of the label in one byte, the label and the nonce. None when the label has no byte or
/// more than 255, or the nonce no byte or more than 64 KiB.
///
/// ```
/// let data = casemate_attestation::context::report_data("tls-key", b"0123456789abcdef").unwrap();
/// let other = casemate_attestation::context::report_data("disk-key", b"0123456789abcdef");
/// assert_ne!(data, other.unwrap());
/// assert_eq!(casemate_attestation::context::report_data("", b"nonce"), None);
/// ```
#[must_use]
pub fn report_data(label: &str, nonce: &[u8]) -> Option<[u8; 64]> {
    // The label's length is hashed before it, so that no two pairs of label and nonce run together
    // into the same bytes; one byte of it is what limits a label to 255.
    let length = u8::try_from(label.len()).ok().filter(|length| *length > 0)?;
    if nonce.is_empty() || nonce.len() > MAX_NONCE {
        return None;
    }
    // SHA-512 because REPORT_DATA has 64 bytes: the whole field is the digest, with nothing left to
    // choose.
    Some(sha512(&[DOMAIN, &[length], label.as_bytes(), nonce].concat()))
}

/// What a report must have been made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The purpose, 1 to 255 bytes of text.
    pub label: String,
    /// The nonce that the verifier gave, 1 byte to 64 KiB.
    pub nonce: Vec<u8>,
}

impl Context {
    /// The REPORT_DATA that this context asks for; none for a label or nonce that [`report_data`]
    /// refuses.
    #[must_use]
    pub fn report_data(&self) -> Option<[u8; 64]> {
        report_data(&self.label, &self.nonce)
    }
}
