//! The key that a guest attests and that its secrets are sealed to: `tee-pubkey`.
//!
//! A JSON Web Key (RFC 7517) on P-256 for `ECDH-ES+A256KW`: what the real client makes unless it is
//! told otherwise. The protocol also has P-521, RSA and, as an experiment, ML-KEM; they are refused
//! by name, until somebody needs them. `RSA1_5`, which Trustee still takes, has been broken by
//! Bleichenbacher's attack again and again and stays refused.

use crate::read::{self, malformed};
use crate::{KbsError, What};
use base64ct::{Base64UrlUnpadded, Encoding};
use casemate_foreign_text::value;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::{PublicKey, SecretKey};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// The only algorithm that is served.
pub(crate) const ALG: &str = "ECDH-ES+A256KW";
/// Longest key, in bytes of JSON: one of RSA with 4096 bits has 750.
const MAX_KEY: usize = 4096;

/// A guest's public key: a point on P-256, checked to be one.
#[derive(Clone, PartialEq, Eq)]
pub struct TeePubKey {
    point: PublicKey,
    /// Base64url of its coordinates, as they stand in JSON.
    pub(crate) x: String,
    pub(crate) y: String,
}

impl std::fmt::Debug for TeePubKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_json())
    }
}

/// A key of any kind, for telling which it is.
#[derive(Deserialize)]
struct Kind {
    kty: String,
    alg: Option<String>,
    crv: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ec {
    // In the order of RFC 8785.
    alg: String,
    crv: String,
    kty: String,
    x: String,
    y: String,
}

/// A point as an `epk` header has it: a key without an algorithm.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Point {
    pub(crate) crv: String,
    pub(crate) kty: String,
    pub(crate) x: String,
    pub(crate) y: String,
}

impl Point {
    pub(crate) fn open(&self) -> Result<TeePubKey, KbsError> {
        if self.kty != "EC" || self.crv != "P-256" {
            return Err(KbsError::value(What::TeePubKey, "a point that is not on P-256"));
        }
        TeePubKey::of_texts(&self.x, &self.y)
    }
}

impl TeePubKey {
    /// Reads a key.
    ///
    /// # Errors
    /// [`KbsError`]: not a key, of another kind, or with coordinates that are not 32 bytes each or
    /// not of a point on the curve.
    pub fn read(json: &[u8]) -> Result<Self, KbsError> {
        let what = What::TeePubKey;
        let wrong = |why: String| Err(KbsError::Json { what, why });
        let kind: Kind = read::json(what, json, MAX_KEY)?;
        let (alg, crv) = (kind.alg.as_deref().unwrap_or("none"), kind.crv.as_deref());
        if kind.kty != "EC" {
            let (kty, alg) = (value(&kind.kty), value(alg));
            return wrong(format!("a key of {kty} for {alg}, and only P-256 for {ALG} is served"));
        }
        if crv != Some("P-256") || alg != ALG {
            let (crv, alg) = (value(crv.unwrap_or("none")), value(alg));
            return wrong(format!("curve {crv} for {alg}, and only P-256 for {ALG} is served"));
        }
        let ec: Ec = serde_json::from_slice(json).map_err(|error| malformed(what, &error))?;
        Self::of_texts(&ec.x, &ec.y)
    }

    pub(crate) fn of_texts(x: &str, y: &str) -> Result<Self, KbsError> {
        // An uncompressed point, SEC 1 section 2.3.3: 4, then both coordinates.
        let mut sec1 = [4; 65];
        let (_, coordinates) = sec1.split_at_mut(1);
        let (to_x, to_y) = coordinates.split_at_mut(32);
        for (text, to) in [(x, to_x), (y, to_y)] {
            let whole = Base64UrlUnpadded::decode(text, to).is_ok_and(|bytes| bytes.len() == 32);
            if !whole {
                let why = "a coordinate that is not 32 bytes in base64url";
                return Err(KbsError::value(What::TeePubKey, why));
            }
        }
        // A point that is not on the curve lies on another one, on which the secret of an exchange
        // may be one of few: it is refused before anything is computed with it.
        let point = PublicKey::from_sec1_bytes(&sec1)
            .map_err(|_| KbsError::value(What::TeePubKey, "not a point on P-256"))?;
        Ok(Self { point, x: x.to_owned(), y: y.to_owned() })
    }

    fn of_point(point: PublicKey) -> Self {
        let sec1 = point.to_encoded_point(false);
        // Without compression it is 65 bytes: see above.
        let coordinates = sec1.as_bytes().get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at_checked(32).unwrap_or_default();
        let text = Base64UrlUnpadded::encode_string;
        Self { point, x: text(x), y: text(y) }
    }

    pub(crate) const fn point(&self) -> &PublicKey {
        &self.point
    }

    /// The key in JSON, in the form of RFC 8785: what REPORT_DATA is made of.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { x, y, .. } = self;
        // Members in order, no blanks, and no character in base64url that JSON would escape.
        format!(
            "{{\"alg\":\"{ALG}\",\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{x}\",\"y\":\"{y}\"}}"
        )
    }

    /// The key's thumbprint (RFC 7638, SHA-256): the name by which a session is told from others.
    #[must_use]
    pub fn thumbprint(&self) -> [u8; 32] {
        let Self { x, y, .. } = self;
        // The members that make the key what it is; `alg` is not among them.
        let members = format!("{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{x}\",\"y\":\"{y}\"}}");
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, members.as_bytes()).as_ref());
        out
    }
}

/// The guest's half of a [`TeePubKey`]. Wiped when it is dropped.
#[derive(Clone)]
pub struct SessionKey(pub(crate) SecretKey);

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionKey of {:?}", self.public())
    }
}

impl SessionKey {
    /// The key of these 32 random bytes; none for the few numbers that are not below the order of
    /// the curve, or zero: draw again.
    #[must_use]
    pub fn new(random: &[u8; 32]) -> Option<Self> {
        SecretKey::from_slice(random).ok().map(Self)
    }

    /// What the broker gets.
    #[must_use]
    pub fn public(&self) -> TeePubKey {
        TeePubKey::of_point(self.0.public_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_served_is_refused_by_its_name() {
        let refused = |json: &str| TeePubKey::read(json.as_bytes()).unwrap_err().to_string();
        let key = SessionKey::new(&[3; 32]).unwrap().public();
        let good = key.to_json();
        assert_eq!(TeePubKey::read(good.as_bytes()).unwrap(), key);
        let rsa = r#"{"kty":"RSA","alg":"RSA1_5","n":"AQAB","e":"AQAB"}"#;
        assert!(refused(rsa).contains("RSA1_5"), "{}", refused(rsa));
        assert!(refused(&good.replace("P-256", "P-521")).contains("P-521"));
        assert!(refused(&good.replace("+A256KW", "")).contains("ECDH-ES"));
        assert!(refused(&good.replace("\"alg\":\"ECDH-ES+A256KW\",", "")).contains("none"));
        assert!(refused(&good.replace("\"kty\"", "\"kid\":\"k\",\"kty\"")).contains("unknown"));
        assert!(refused(&good.replace("\"x\":", "\"y\":")).contains("duplicate"));
    }

    /// A wrong point would let its sender choose among few secrets (invalid-curve attacks).
    #[test]
    fn a_key_is_a_point_on_the_curve_with_whole_coordinates() {
        let key = SessionKey::new(&[3; 32]).unwrap().public();
        let zero = Base64UrlUnpadded::encode_string(&[0; 32]);
        for (x, y) in [
            (key.x.as_str(), key.x.as_str()),
            (&zero, &zero),
            (&key.x[..42], &key.y),
            (&format!("{}AA", key.x), &key.y),
            (&format!("{}=", key.x), &key.y),
            ("", ""),
        ] {
            assert!(TeePubKey::of_texts(x, y).is_err(), "{x} {y}");
        }
        assert!(SessionKey::new(&[0; 32]).is_none());
        assert!(SessionKey::new(&[0xff; 32]).is_none());
    }
}
