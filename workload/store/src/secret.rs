//! Bytes that are wiped when they are dropped, and are in no message.

use crate::StoreError;
use zeroize::Zeroizing;

/// A secret. Wiped when it is dropped; `Debug` shows its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over. A vector that has grown has left copies behind it: give one that was
    /// made large enough.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes themselves, to be wiped by whoever has them now.
    #[must_use]
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

#[cfg(test)]
impl Secret {
    pub(crate) fn kept(&self) -> &Zeroizing<Vec<u8>> {
        &self.0
    }
}

#[cfg(test)]
impl Kek {
    pub(crate) fn kept(&self) -> &Zeroizing<[u8; 32]> {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a secret of {} bytes", self.0.len())
    }
}

impl From<Zeroizing<Vec<u8>>> for Secret {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

/// The key-encryption key: 32 random bytes, kept apart from the store. Wiped when it is dropped.
#[derive(Clone)]
pub struct Kek(Zeroizing<[u8; 32]>);

impl Kek {
    /// The key with these bytes.
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// A new key.
    ///
    /// # Errors
    /// [`StoreError::Random`] when the kernel gives no random bytes.
    pub fn generate() -> Result<Self, StoreError> {
        let mut bytes = Zeroizing::new([0; 32]);
        crate::random::random(&mut bytes[..])?;
        Ok(Self(bytes))
    }

    /// The bytes, for whoever writes them to where they are kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Kek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key-encryption key")
    }
}
