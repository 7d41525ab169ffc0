//! Fixed-length byte strings as hexadecimal text.

use casemate_policy::hex_digit;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Two lower-case digits a byte, nothing between or before them.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    casemate_policy::hex(bytes)
}

/// Decodes hexadecimal as people hold it: `0x` before it or not; blanks, line ends and the colons of
/// fingerprints anywhere.
#[must_use]
pub fn from_people(text: &str) -> Option<Vec<u8>> {
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace() && *c != ':').collect();
    decode(packed.strip_prefix("0x").or(packed.strip_prefix("0X")).unwrap_or(&packed))
}

/// Decodes an even number of hexadecimal digits, nothing else.
#[must_use]
// Bytes, not characters: a digit is one byte, and a character of several is refused as no digit.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(hex_digit(*high)? << 4 | hex_digit(*low)?)).collect()
}

/// `N` bytes, written in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(&self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        from_people(&text)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("not {N} bytes of hexadecimal")))
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode, from_people};

    #[test]
    fn hexadecimal_of_people_has_what_stands_between_the_digits() {
        for text in ["0x00ff", "00FF", " 00\nff ", "00:ff", "0X00:FF\n"] {
            assert_eq!(from_people(text), Some(vec![0, 255]), "{text}");
        }
        for bad in ["0x", "00-ff", "0x0x00", "00;ff", "x00ff"] {
            assert_ne!(from_people(bad), Some(vec![0, 255]), "{bad}");
        }
    }

    #[test]
    fn hexadecimal_is_exact() {
        assert_eq!(decode("00fF"), Some(vec![0, 255]));
        assert_eq!(encode(&[0, 255]), "00ff");
        for bad in ["0", "+f", "0x00", "g0", " 00"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
