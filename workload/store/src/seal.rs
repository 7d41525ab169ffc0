//! Sealing: XChaCha20-Poly1305 with a random nonce of 24 bytes in front.
//!
//! Random nonces of 12 bytes would meet too soon, and a counter would come again when a file is cut
//! after a crash, or put back from a copy: two messages under one nonce give both away. 24 random
//! bytes need nothing to be remembered.

use crate::random::random;
use crate::{Kek, StoreError};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Key, Tag, XChaCha20Poly1305, XNonce};
use zeroize::{Zeroize, Zeroizing};

const NONCE: usize = 24;
const TAG: usize = 16;
/// How much longer what is sealed is than what it was made of.
pub(crate) const SEALED: usize = NONCE + TAG;

/// SHA-256 of these parts one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().try_into().unwrap_or([0; 32])
}

/// A key in use; the cipher wipes it when it is dropped.
pub(crate) struct Sealer(XChaCha20Poly1305);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }
}

impl Sealer {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let key: &Key = key.into();
        Self(XChaCha20Poly1305::new(key))
    }

    pub(crate) fn of(kek: &Kek) -> Self {
        Self::new(kek.bytes())
    }

    /// Seals the bytes; `about` is authenticated with them and has to be the same for opening.
    pub(crate) fn seal(&self, about: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE];
        random(&mut nonce)?;
        // Made large enough at once: a vector that grows leaves copies of what is to be sealed.
        let mut out = Vec::with_capacity(plain.len() + SEALED);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let body = out.get_mut(NONCE..).unwrap_or_default();
        let tag = self.0.encrypt_inout_detached(&XNonce::from(nonce), about, body.into());
        let Ok(tag) = tag else {
            // Longer than the cipher takes, which is 256 GiB: nothing here is.
            out.zeroize();
            return Err(StoreError::TooLong);
        };
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// `None` when it was not sealed by this key about this.
    pub(crate) fn open(&self, about: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
        let (body, tag) = rest.split_last_chunk::<TAG>()?;
        let mut plain = Zeroizing::new(body.to_vec());
        let (nonce, tag) = (XNonce::from(*nonce), Tag::from(*tag));
        let opened = self.0.decrypt_inout_detached(&nonce, about, plain[..].as_mut().into(), &tag);
        opened.ok().map(|()| plain)
    }
}

/// What is authenticated with a secret: its name and version, so that none can stand for another.
pub(crate) fn about_secret(name: &str, version: u32) -> Vec<u8> {
    let mut about = crate::codec::Writer::default();
    about.raw(b"secret").bytes(name.as_bytes()).u32(version);
    about.0
}

#[cfg(test)]
mod tests {
    use super::{Sealer, about_secret};
    use crate::{Kek, Secret};
    use zeroize::ZeroizeOnDrop;

    /// Keys, and secrets that were opened, are of types that wipe themselves. Cannot tell what the
    /// compiler left in registers and on stacks.
    #[test]
    fn keys_and_opened_secrets_are_wiped_when_they_are_dropped() {
        fn wiped(_: &impl ZeroizeOnDrop) {}
        let sealer = Sealer::new(&[1; 32]);
        wiped(&sealer.0);
        wiped(&sealer.open(b"", &sealer.seal(b"", b"x").unwrap()).unwrap());
        wiped(Secret::new(vec![1]).kept());
        wiped(Kek::generate().unwrap().kept());
        for shown in [format!("{:?}", Secret::new(vec![77])), format!("{:?}", Kek::generate())] {
            assert!(!shown.contains("77") && !shown.contains('['), "{shown}");
        }
    }

    #[test]
    fn what_is_sealed_opens_by_its_key_about_the_same_and_not_when_any_byte_is_another() {
        let sealer = Sealer::new(&[1; 32]);
        let sealed = sealer.seal(b"x", b"twelve bytes").unwrap();
        assert_eq!(sealer.open(b"x", &sealed).unwrap().as_slice(), b"twelve bytes");
        assert!(sealer.open(b"y", &sealed).is_none());
        assert!(Sealer::new(&[2; 32]).open(b"x", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut other = sealed.clone();
            other[at] ^= 1;
            assert!(sealer.open(b"x", &other).is_none(), "{at}");
            assert!(sealer.open(b"x", &sealed[..at]).is_none(), "{at}");
        }
        assert_ne!(sealed, sealer.seal(b"x", b"twelve bytes").unwrap(), "a nonce of its own");
        assert_ne!(about_secret("a/b/c", 1), about_secret("a/b/c", 2));
    }
}
