//! The runtime claims of Azure's paravisor: the vTPM's keys, the VM's configuration, data of the
//! guest.
//!
//! Hostile until their hash is in a verified report; after that they are the word of whatever asked
//! for that report at VMPL 0. Any SNP guest can have a report whose REPORT_DATA is the hash of
//! claims it made up: an appraisal that relies on claims demands the measurement or the ID key of
//! Azure's paravisor as well.

use crate::hex;
use base64ct::{Base64UrlUnpadded, Encoding};
use ring::digest::{SHA256, digest};
use serde::Deserialize;

/// More keys than any paravisor names.
const MAX_KEYS: usize = 16;
/// Bytes of the largest RSA modulus taken: 8192 bits.
const MAX_MODULUS: usize = 1024;
/// The name of the vTPM's attestation key.
const AK: &str = "HCLAkPub";

/// Why claims cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// Not JSON of the expected shape.
    #[error("not the JSON that Azure's paravisor writes: {0}")]
    Json(String),
    /// A value breaks a rule.
    #[error("{0}")]
    Rule(&'static str),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Jwk>,
    #[serde(rename = "vm-configuration")]
    vm: Vm,
    #[serde(default, rename = "user-data")]
    user_data: Option<String>,
}

#[derive(Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    n: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Vm {
    #[serde(default)]
    console_enabled: Option<bool>,
    #[serde(default)]
    secure_boot: Option<bool>,
    #[serde(default)]
    tpm_enabled: Option<bool>,
    #[serde(default)]
    tpm_persisted: Option<bool>,
    #[serde(default, rename = "vmUniqueId")]
    vm_unique_id: Option<String>,
}

/// An RSA public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaKey {
    /// Modulus, big-endian, without leading zeros.
    pub n: Vec<u8>,
    /// Exponent, big-endian, without leading zeros.
    pub e: Vec<u8>,
}

/// What the claims say, as far as it is used here. Members that are not known are left alone: the
/// hash covers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The vTPM's attestation key, `HCLAkPub`.
    pub ak: RsaKey,
    /// The names of all keys.
    pub keys: Vec<String>,
    /// `vmUniqueId`, the VM's identifier, in lower case.
    pub vm_unique_id: Option<String>,
    /// `secure-boot`: whether the VM was started with it.
    pub secure_boot: Option<bool>,
    /// `tpm-enabled`: whether the VM has a virtual TPM.
    pub tpm_enabled: Option<bool>,
    /// `tpm-persisted`: whether the TPM's state outlives a boot.
    pub tpm_persisted: Option<bool>,
    /// `console-enabled`: whether the VM has a serial console.
    pub console_enabled: Option<bool>,
    /// `user-data`: what the guest gave the paravisor, 64 bytes.
    pub user_data: Option<[u8; 64]>,
}

impl Claims {
    /// Reads the JSON of claims, whose hash the caller compares with the report's data.
    pub fn parse(json: &[u8]) -> Result<Self, ClaimsError> {
        let document: Document = serde_json::from_slice(json)
            .map_err(|error| ClaimsError::Json(casemate_foreign_text::line(error).to_string()))?;
        if document.keys.len() > MAX_KEYS {
            return Err(ClaimsError::Rule("more than 16 keys"));
        }
        // Exactly one: with two keys of this name it would be open which of them the quote has to
        // be signed with.
        let mut aks = document.keys.iter().filter(|key| key.kid == AK);
        let (Some(ak), None) = (aks.next(), aks.next()) else {
            return Err(ClaimsError::Rule("not exactly one key HCLAkPub"));
        };
        // None when absent; a value of another form is refused, not taken as absent, because a
        // nonce may have to be in it.
        let user_data = match document.user_data {
            None => None,
            Some(text) => Some(
                hex::decode(&text)
                    .and_then(|bytes| bytes.try_into().ok())
                    .ok_or(ClaimsError::Rule("`user-data` is not 64 bytes of hexadecimal"))?,
            ),
        };
        Ok(Self {
            ak: RsaKey::from_jwk(ak)?,
            keys: document.keys.iter().map(|key| key.kid.clone()).collect(),
            vm_unique_id: document.vm.vm_unique_id.map(|id| id.to_ascii_lowercase()),
            secure_boot: document.vm.secure_boot,
            tpm_enabled: document.vm.tpm_enabled,
            tpm_persisted: document.vm.tpm_persisted,
            console_enabled: document.vm.console_enabled,
            user_data,
        })
    }
}

impl RsaKey {
    fn from_jwk(key: &Jwk) -> Result<Self, ClaimsError> {
        let (Some(n), Some(e), "RSA") = (&key.n, &key.e, key.kty.as_str()) else {
            return Err(ClaimsError::Rule("HCLAkPub is not an RSA key"));
        };
        // RFC 7518, section 6.3.1: base64url without padding, big-endian, no leading zeros. Nothing
        // more lenient is decoded.
        let number = |text: &str| Base64UrlUnpadded::decode_vec(text).ok();
        match (number(n), number(e)) {
            // Canonical, so that a key has one identity.
            (Some(n), Some(e))
                if !matches!(n.first(), None | Some(0))
                    && !matches!(e.first(), None | Some(0))
                    && n.len() <= MAX_MODULUS
                    && e.len() <= 8 =>
            {
                Ok(Self { n, e })
            }
            _ => Err(ClaimsError::Rule("HCLAkPub is no canonical RSA key of at most 8192 bits")),
        }
    }

    /// The identity of the key: SHA-256 of its SubjectPublicKeyInfo, what
    /// `openssl pkey -pubin -in ak.pem -outform der | sha256sum` prints.
    #[must_use]
    pub fn key_digest(&self) -> [u8; 32] {
        // rsaEncryption (1.2.840.113549.1.1.1) with NULL parameters, RFC 3279 section 2.3.1.
        const ALGORITHM: [u8; 15] =
            *b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
        // SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7): the algorithm, and a BIT STRING without
        // unused bits (the byte 0) around the PKCS #1 key.
        let key = tlv(0x30, &[integer(&self.n), integer(&self.e)].concat());
        let bits = tlv(0x03, &[&[0], key.as_slice()].concat());
        let spki = tlv(0x30, &[ALGORITHM.as_slice(), &bits].concat());
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, &spki).as_ref());
        out
    }
}

/// DER of a positive INTEGER.
fn integer(magnitude: &[u8]) -> Vec<u8> {
    // An INTEGER is signed: a magnitude whose top bit is set takes a zero before it (X.690, 8.3).
    let sign: &[u8] =
        if magnitude.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    tlv(0x02, &[sign, magnitude].concat())
}

/// DER of a value of fewer than 65,536 bytes, which every key here is.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    // A modulus has at most 1024 bytes and an exponent 8, so the largest value here is far below
    // what two bytes of length can say.
    let [high, low] = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
    let head = match (high, low) {
        (0, 0..=0x7f) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [head.as_slice(), value].concat()
}
