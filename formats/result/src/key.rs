//! Keys of owners: X25519, as 64 hexadecimal digits.

use crate::{Aead, Kdf, Kem, ResultError};
use hpke::rand_core::UnwrapErr;
use hpke::{Deserializable, Kem as _, OpModeS, Serializable};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 64 hexadecimal digits.
    #[error("a result's key is 64 hexadecimal digits, lower case")]
    Malformed,
    /// A point that every key comes to the same secret with.
    #[error("this is no public key: what is sealed to it everybody could open")]
    Weak,
}

/// The key that results are sealed to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// The key that opens them. It is wiped from memory when it goes.
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl PublicKey {
    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of these bytes; whether it is a good one the library finds when it is used.
    pub(crate) const fn of(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Sealing to a point of small order fails (RFC 9180, 7.1.4): found here, not in the guest.
    fn can_be_sealed_to(&self) -> bool {
        let mut random = UnwrapErr(getrandom::SysRng);
        self.point().is_ok_and(|point| {
            let mode = OpModeS::Base;
            hpke::setup_sender_with_rng::<Aead, Kdf, Kem>(&mode, &point, &[], &mut random).is_ok()
        })
    }

    pub(crate) fn point(&self) -> Result<<Kem as hpke::Kem>::PublicKey, ResultError> {
        <Kem as hpke::Kem>::PublicKey::from_bytes(&self.0)
            .map_err(|_| ResultError::Value("a recipient's key is none"))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let key = Self(digits(text).ok_or(KeyError::Malformed)?);
        if key.can_be_sealed_to() { Ok(key) } else { Err(KeyError::Weak) }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

impl SecretKey {
    /// A new one.
    ///
    /// # Errors
    /// [`ResultError::Random`].
    pub fn generate() -> Result<Self, ResultError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|_| ResultError::Random)?;
        Ok(Self(bytes))
    }

    /// The key that goes with it.
    ///
    /// # Errors
    /// [`ResultError::Value`] for bytes that are none.
    pub fn public(&self) -> Result<PublicKey, ResultError> {
        let bytes = Kem::sk_to_pk(&self.scalar()?).to_bytes();
        Ok(PublicKey(bytes.into()))
    }

    /// The file of it: one line.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(65));
        for byte in self.0.iter() {
            for half in [byte >> 4, byte & 15] {
                text.push(char::from_digit(half.into(), 16).unwrap_or('0'));
            }
        }
        text.push('\n');
        text
    }

    /// The key in a file.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let bytes = digits(text.trim_end()).ok_or(KeyError::Malformed)?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    pub(crate) fn scalar(&self) -> Result<<Kem as hpke::Kem>::PrivateKey, ResultError> {
        <Kem as hpke::Kem>::PrivateKey::from_bytes(self.0.as_slice())
            .map_err(|_| ResultError::Value("the key is none"))
    }
}

fn digits(text: &str) -> Option<[u8; 32]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
        let [high, low] = *pair;
        *byte = value(high)? << 4 | value(low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_digits_and_nothing_else() {
        let secret = SecretKey::generate().unwrap();
        let public = secret.public().unwrap();
        assert_eq!(public.to_string().parse(), Ok(public));
        let again = SecretKey::from_text(&secret.to_text()).unwrap();
        assert_eq!(again.public().unwrap(), public);
        let text = public.to_string();
        for wrong in ["", &text[1..], &format!("{text}0"), &text.replace(&text[..1], "G")] {
            assert_eq!(wrong.parse::<PublicKey>(), Err(KeyError::Malformed), "{wrong}");
        }
        assert_eq!("00".repeat(32).parse::<PublicKey>(), Err(KeyError::Weak));
    }
}
