//! REPORT_DATA with a purpose: a digest over a label and a nonce.
//!
//! Any program of a guest may ask for a report with any REPORT_DATA. A verifier that wants a report
//! made for one purpose gives the label of that purpose beside its nonce, and the guest answers
//! with the report data of both; a report made for another purpose has another value.

use crate::digest::sha512;
use ring::digest::{SHA384, digest};

/// Longest label in bytes.
pub const MAX_LABEL: usize = 255;
/// Longest nonce in bytes.
pub const MAX_NONCE: usize = 64 * 1024;

/// The label of reports that were made for the key broker protocol of Trustee. Its nonce is the
/// protocol's runtime data in the form of RFC 8785, and its REPORT_DATA is the protocol's:
/// SHA-384 of the nonce, then zeros.
///
/// The protocol says nothing of labels, so whoever makes the REPORT_DATA of a session says by this
/// label that it did. It is reserved: [`report_data`], which a guest answers labelled requests
/// of its programs with, makes nothing for it, and a SHA-512 value ends in 16 zero bytes in one of
/// 2^128: so what opens a session with a broker was asked for by whoever may choose raw
/// REPORT_DATA, and by no program that asks by label.
pub const KEY_BROKER: &str = "casemate-kbs-v1";

const DOMAIN: &[u8] = b"casemate report data v1\0";

/// The REPORT_DATA of a label and a nonce: SHA-512 over `casemate report data v1`, a zero byte, the
/// length of the label in one byte, the label and the nonce. None when the label has no byte or
/// more than 255 or is [`KEY_BROKER`], or the nonce has no byte or more than 64 KiB.
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
    if nonce.is_empty() || nonce.len() > MAX_NONCE || label == KEY_BROKER {
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
    /// refuses. For [`KEY_BROKER`] it is that of the protocol.
    #[must_use]
    pub fn report_data(&self) -> Option<[u8; 64]> {
        if self.label != KEY_BROKER {
            return report_data(&self.label, &self.nonce);
        }
        if self.nonce.is_empty() || self.nonce.len() > MAX_NONCE {
            return None;
        }
        let mut data = [0; 64];
        let hash = digest(&SHA384, &self.nonce);
        data.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        Some(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of a guest that asks for reports by label could otherwise open a session with a
    /// broker, with a key of its own, as if it were the guest's PID 1.
    #[test]
    fn nobody_who_asks_by_label_gets_the_report_data_of_the_key_broker_protocol() {
        assert_eq!(report_data(KEY_BROKER, b"nonce"), None);
        let of = |nonce: &[u8]| {
            Context { label: KEY_BROKER.to_owned(), nonce: nonce.to_vec() }.report_data()
        };
        let session = of(b"nonce").unwrap_or([0; 64]);
        assert_eq!(session.get(48..), Some([0; 16].as_slice()));
        assert_ne!(session.get(..48), Some([0; 48].as_slice()));
        assert_ne!(of(b"other"), Some(session));
        assert_eq!(of(b""), None);
        for label in ["casemate-kbs-v2", "Casemate-kbs-v1", "casemate-kbs-v1 "] {
            assert_ne!(report_data(label, b"nonce"), Some(session), "{label}");
        }
    }
}
