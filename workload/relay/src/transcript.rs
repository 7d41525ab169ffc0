//! The one thing that the keeper signs with the key of the broker's certificate.

use crate::error::RelayError;

/// What a TLS 1.3 server signs in its CertificateVerify begins so (RFC 8446, section 4.4.3): 64
/// spaces, the context, a byte 0. Then comes the hash of the handshake so far.
const CONTEXT: &[u8] = b"TLS 1.3, server CertificateVerify\0";
const SPACES: usize = 64;
const SHA256: usize = 32;
const SHA384: usize = 48;

/// The hash of a TLS 1.3 handshake up to its CertificateVerify, by SHA-256 or SHA-384.
///
/// Only the hash goes to the keeper, which puts the context before it by itself: so the key that
/// guests know the broker by signs nothing else, whoever has taken the front over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transcript {
    hash: [u8; SHA384],
    length: usize,
}

impl Transcript {
    pub(crate) const MAX_HASH: usize = SHA384;

    /// The hash in what a TLS library asks to sign; none when it is not a TLS 1.3 server's
    /// CertificateVerify.
    #[must_use]
    pub fn of_content(content: &[u8]) -> Option<Self> {
        let (spaces, rest) = content.split_at_checked(SPACES)?;
        let hash = rest.strip_prefix(CONTEXT)?;
        let blank = spaces.iter().all(|&byte| byte == b' ');
        Self::of_hash(hash).ok().filter(|_| blank)
    }

    /// A transcript of this hash.
    ///
    /// # Errors
    /// [`RelayError::Value`]: it has neither 32 nor 48 bytes.
    pub fn of_hash(bytes: &[u8]) -> Result<Self, RelayError> {
        let length = bytes.len();
        let mut hash = [0; SHA384];
        match (length, hash.get_mut(..length)) {
            (SHA256 | SHA384, Some(place)) => {
                place.copy_from_slice(bytes);
                Ok(Self { hash, length })
            }
            _ => Err(RelayError::Value { what: "a hash", why: "has neither 32 nor 48 bytes" }),
        }
    }

    /// The hash.
    #[must_use]
    pub fn hash(&self) -> &[u8] {
        self.hash.get(..self.length).unwrap_or_default()
    }

    /// What is signed: spaces, context, hash.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        [&[b' '; SPACES], CONTEXT, self.hash()].concat()
    }
}
