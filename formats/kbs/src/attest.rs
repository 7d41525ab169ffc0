//! The proof: `POST /kbs/v0/attest`, and what answers it.

use crate::read::{self, MAX_BODY};
use crate::{KbsError, Nonce, TeePubKey, What};
use ring::digest::{SHA384, digest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What a guest proves and with what.
#[derive(Debug, Clone)]
pub struct Attestation {
    /// The text whose hash is in HOST_DATA, when the guest sends it.
    pub init_data: Option<InitData>,
    /// The key, and the nonce that the evidence is made for.
    pub runtime: RuntimeData,
    /// The evidence, as it was sent: a JSON object that a verifier reads.
    pub evidence: Box<RawValue>,
}

/// Initdata as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitData {
    /// The format of the text: `toml` is the only one.
    pub format: String,
    /// The text, every byte of which is hashed.
    pub body: String,
}

/// What the evidence binds to the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeData {
    /// The broker's.
    pub nonce: Nonce,
    /// The guest's.
    pub tee_pubkey: TeePubKey,
}

impl RuntimeData {
    /// The text whose digest is REPORT_DATA: RFC 8785 of the nonce **as text**, the key, and the
    /// evidence of further devices, of which there is none.
    #[must_use]
    pub fn canonical(&self) -> String {
        // Names in order, no blanks, and nothing in base64 that JSON would escape.
        let (nonce, key) = (self.nonce, self.tee_pubkey.to_json());
        format!("{{\"additional-evidence\":\"\",\"nonce\":\"{nonce}\",\"tee-pubkey\":{key}}}")
    }

    /// REPORT_DATA of a report for this session: SHA-384 of [`Self::canonical`], then zeros.
    #[must_use]
    pub fn report_data(&self) -> [u8; 64] {
        let mut out = [0; 64];
        let hash = digest(&SHA384, self.canonical().as_bytes());
        for (to, from) in out.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        out
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Wire {
    #[serde(default)]
    init_data: Option<InitData>,
    runtime_data: WireRuntime,
    tee_evidence: Composite,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WireRuntime {
    nonce: String,
    tee_pubkey: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Composite {
    primary_evidence: Box<RawValue>,
    additional_evidence: String,
}

impl Attestation {
    /// Reads the body of `POST /kbs/v0/attest`. Evidence of further devices (GPUs), which would
    /// stand in `additional_evidence`, is refused: nobody here could verify it.
    ///
    /// # Errors
    /// [`KbsError`].
    pub fn read(body: &[u8]) -> Result<Self, KbsError> {
        let what = What::Attestation;
        let wire: Wire = read::json(what, body, MAX_BODY)?;
        let Composite { primary_evidence, additional_evidence } = wire.tee_evidence;
        if !additional_evidence.is_empty() {
            return Err(KbsError::value(what, "evidence of further devices, which is not taken"));
        }
        if wire.init_data.as_ref().is_some_and(|init| init.format != "toml") {
            return Err(KbsError::value(what, "init-data in another format than `toml`"));
        }
        if !primary_evidence.get().starts_with('{') {
            return Err(KbsError::value(what, "primary_evidence that is no object"));
        }
        let runtime = RuntimeData {
            nonce: Nonce::read(&wire.runtime_data.nonce)?,
            tee_pubkey: TeePubKey::read(wire.runtime_data.tee_pubkey.get().as_bytes())?,
        };
        Ok(Self { init_data: wire.init_data, runtime, evidence: primary_evidence })
    }

    /// The body, as the real client writes it.
    ///
    /// # Errors
    /// [`KbsError::Json`] when it cannot be written, which no value of these types makes.
    pub fn to_json(&self) -> Result<String, KbsError> {
        let init = serde_json::to_string(&self.init_data)
            .map_err(|error| read::malformed(What::Attestation, &error))?;
        let RuntimeData { nonce, tee_pubkey } = &self.runtime;
        let (key, evidence) = (tee_pubkey.to_json(), self.evidence.get());
        Ok(format!(
            "{{\"init-data\":{init},\
             \"runtime-data\":{{\"nonce\":\"{nonce}\",\"tee-pubkey\":{key}}},\
             \"tee-evidence\":{{\"primary_evidence\":{evidence},\"additional_evidence\":\"\"}}}}"
        ))
    }
}

/// The answer to an [`Attestation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenAnswer {
    /// A JSON Web Token. Of it the real client reads when it begins and ends, and no more.
    pub token: String,
}

impl TokenAnswer {
    /// Reads the answer to `POST /kbs/v0/attest`.
    ///
    /// # Errors
    /// [`KbsError`].
    pub fn read(body: &[u8]) -> Result<Self, KbsError> {
        read::json(What::Token, body, MAX_BODY)
    }

    /// The body. The token is of characters that JSON does not escape.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!({ "token": self.token }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SessionKey;

    fn body(init: &str, runtime: &str, evidence: &str) -> String {
        format!("{{\"init-data\":{init},\"runtime-data\":{runtime},\"tee-evidence\":{evidence}}}")
    }

    fn good() -> (String, String) {
        let key = SessionKey::new(&[3; 32]).unwrap().public().to_json();
        let runtime = format!("{{\"nonce\":\"{}\",\"tee-pubkey\":{key}}}", Nonce([1; 32]));
        (runtime, "{\"primary_evidence\":{},\"additional_evidence\":\"\"}".to_owned())
    }

    #[test]
    fn what_is_written_is_read_back_and_the_same_text_again() {
        let (runtime, evidence) = good();
        let init = "{\"format\":\"toml\",\"body\":\"a = \\\"\\u00e4\\\"\\n\"}";
        for init in ["null", init] {
            let read = Attestation::read(body(init, &runtime, &evidence).as_bytes()).unwrap();
            let text = read.to_json().unwrap();
            let again = Attestation::read(text.as_bytes()).unwrap();
            assert_eq!(again.to_json().unwrap(), text);
            assert_eq!(again.runtime, read.runtime);
            assert_eq!(again.init_data, read.init_data);
        }
    }

    #[test]
    fn what_could_not_be_verified_is_refused() {
        let (runtime, evidence) = good();
        let refused = |body: &str| Attestation::read(body.as_bytes()).unwrap_err().to_string();
        let gpu = evidence.replace("\"\"", "\"{}\"");
        assert!(refused(&body("null", &runtime, &gpu)).contains("further devices"));
        let text = evidence.replace("{}", "\"AAAA\"");
        assert!(refused(&body("null", &runtime, &text)).contains("no object"));
        let json = "{\"format\":\"json\",\"body\":\"{}\"}";
        assert!(refused(&body(json, &runtime, &evidence)).contains("`toml`"));
        let more = runtime.replace("\"nonce\"", "\"more\":0,\"nonce\"");
        assert!(refused(&body("null", &more, &evidence)).contains("unknown field"));
        assert!(refused(&body("null", "{}", &evidence)).contains("missing field"));
        let alone = "{\"primary_evidence\":{}}";
        assert!(refused(&body("null", &runtime, alone)).contains("additional_evidence"));
        // Initdata may be left out, as it may be null.
        let without = body("null", &runtime, &evidence).replace("\"init-data\":null,", "");
        assert!(!without.contains("init-data"));
        assert_eq!(Attestation::read(without.as_bytes()).unwrap().init_data, None);
    }
}
