//! The challenge: `POST /kbs/v0/auth`, and what answers it.

use crate::read::{self, MAX_BODY};
use crate::{KbsError, What};
use base64ct::{Base64, Encoding};
use casemate_foreign_text::value;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the protocol that is spoken, exactly: Trustee takes `=0.4.0`.
pub const VERSION: &str = "0.4.0";

/// A technology that a guest is protected by. The protocol has more, and they are refused by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
}

/// A guest asks for a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What protects the guest.
    pub tee: Tee,
}

/// The names of crate kbs-types 0.18 beside `snp`.
const OTHERS: [&str; 13] = [
    "az-snp-vtpm",
    "az-tdx-vtpm",
    "cca",
    "csv",
    "hygondcu",
    "nvidia",
    "nvidia-dpu",
    "sample",
    "sampledevice",
    "se",
    "sgx",
    "tdx",
    "tpm",
];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Wire<P> {
    version: String,
    tee: String,
    extra_params: P,
}

impl Request {
    /// Reads the body of `POST /kbs/v0/auth`.
    ///
    /// `extra-params` has to be there, as for Trustee, and may be anything: real guests name hash
    /// algorithms in it, which matter to other technologies.
    ///
    /// # Errors
    /// [`KbsError`]; of another version or technology, one that says so.
    pub fn read(body: &[u8]) -> Result<Self, KbsError> {
        let wire: Wire<Value> = read::json(What::Request, body, MAX_BODY)?;
        if wire.version != VERSION {
            return Err(KbsError::Version(value(&wire.version).to_string()));
        }
        match wire.tee.as_str() {
            "snp" => Ok(Self { tee: Tee::Snp }),
            "sample" => Err(KbsError::Tee(
                "`sample`".into(),
                "; a client outside of a protected guest says `sample`",
            )),
            other if OTHERS.contains(&other) => Err(KbsError::Tee(format!("`{other}`"), "")),
            other => Err(KbsError::Tee(value(other).to_string(), ", and this is no known name")),
        }
    }

    /// The body, as the real client writes it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { tee: Tee::Snp } = self;
        format!(
            "{{\"version\":\"{VERSION}\",\"tee\":\"snp\",\"extra-params\":\
             {{\"supported-hash-algorithms\":[\"sha256\",\"sha384\",\"sha512\",\"sm3\"]}}}}"
        )
    }
}

/// A number that a broker gives out once: 32 bytes, as text in standard base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; 32]);

impl std::fmt::Debug for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nonce({self})")
    }
}

impl std::fmt::Display for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&Base64::encode_string(&self.0))
    }
}

impl Nonce {
    /// Reads its text: 44 characters, in the one spelling that these bytes have. The text itself is
    /// hashed into REPORT_DATA, so a second spelling would be a second nonce.
    ///
    /// # Errors
    /// [`KbsError::Value`].
    pub fn read(text: &str) -> Result<Self, KbsError> {
        let wrong = KbsError::value(What::Nonce, "not 32 bytes in base64");
        let mut bytes = [0; 32];
        match Base64::decode(text, &mut bytes) {
            Ok(decoded) if decoded.len() == 32 => {}
            _ => return Err(wrong),
        }
        let nonce = Self(bytes);
        if nonce.to_string() == text { Ok(nonce) } else { Err(wrong) }
    }
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// What the guest's report has to contain.
    pub nonce: Nonce,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WireChallenge<P> {
    nonce: String,
    extra_params: P,
}

impl Challenge {
    /// Reads the answer to `POST /kbs/v0/auth`. `extra-params` is of no meaning for SEV-SNP and may
    /// be anything.
    ///
    /// # Errors
    /// [`KbsError`].
    pub fn read(body: &[u8]) -> Result<Self, KbsError> {
        let wire: WireChallenge<Value> = read::json(What::Challenge, body, MAX_BODY)?;
        Ok(Self { nonce: Nonce::read(&wire.nonce)? })
    }

    /// The body, as Trustee writes it: for SEV-SNP `extra-params` is the empty text, no object.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{{\"nonce\":\"{}\",\"extra-params\":\"\"}}", self.nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        Request::read(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn another_version_technology_or_member_is_refused_by_its_name() {
        let request = |version: &str, tee: &str, more: &str| {
            format!("{{\"version\":\"{version}\",\"tee\":\"{tee}\",\"extra-params\":0{more}}}")
        };
        assert!(Request::read(request("0.4.0", "snp", "").as_bytes()).is_ok());
        for version in ["0.1.0", "0.4.1", "0.4", "0.4.0 ", ""] {
            assert!(refused(&request(version, "snp", "")).contains("only 0.4.0"), "{version}");
        }
        assert!(refused(&request("0.4.0", "sample", "")).contains("outside of a protected guest"));
        assert!(refused(&request("0.4.0", "tdx", "")).contains("`tdx`"));
        assert!(refused(&request("0.4.0", "SNP", "")).contains("no known name"));
        assert!(refused(&request("0.4.0", "snp", ",\"x\":1")).contains("unknown field"));
        assert!(refused(&request("0.4.0", "snp", ",\"tee\":\"snp\"")).contains("duplicate"));
        assert!(refused("{\"version\":\"0.4.0\",\"tee\":\"snp\"}").contains("extra-params"));
    }

    #[test]
    fn a_nonce_has_one_spelling() {
        let text = Nonce([7; 32]).to_string();
        assert_eq!(Nonce::read(&text), Ok(Nonce([7; 32])));
        let url = Nonce([0xff; 32]).to_string().replace('/', "_");
        let unused_bits = text.replace("c=", "d=");
        assert_ne!(unused_bits, text);
        for bad in ["", text.trim_end_matches('='), &text[4..], &url, &unused_bits, "AAAA"] {
            assert!(Nonce::read(bad).is_err(), "{bad}");
        }
        assert!(Nonce::read(&format!("{text}\n")).is_err());
    }
}
