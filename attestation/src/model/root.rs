//! The root of the MODEL hierarchy: one key for the ARK, one for ASK and ASVK.

use super::ModelError;
use super::rsa::RsaKey;
use super::x509::{Template, crl_tbs, rsa_spki, signed};
use crate::cert::Role;
use crate::hex::{decode, encode};
use crate::report::Generation;
use serde::{Deserialize, Serialize};

/// Serial numbers of the three; any would do, as long as they differ, since a revocation list names
/// them.
const ARK_SERIAL: [u8; 3] = [0x7f, 0, 0];
const ASK_SERIAL: [u8; 3] = [0x7f, 0, 1];
const ASVK_SERIAL: [u8; 3] = [0x7f, 1, 1];
/// Key usage bits of a certificate signer, and of one that signs revocation lists too.
const CERT_SIGN: u8 = 0x04;
const CERT_AND_CRL_SIGN: u8 = 0x06;

/// Which key of the hierarchy signs a certificate or list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// The root key, which signs itself, ASK, ASVK and lists.
    Ark,
    /// The key of ASK and ASVK, which signs VEKs.
    Ask,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    model_root: u32,
    generation: Generation,
    ark: [String; 2],
    ask: [String; 2],
}

/// A MODEL root with its keys. Anyone who has it can forge reports under it: it is for tests.
pub struct ModelRoot {
    generation: Generation,
    ark_key: RsaKey,
    ask_key: RsaKey,
    ark: Vec<u8>,
    ask: Vec<u8>,
    asvk: Vec<u8>,
}

impl std::fmt::Debug for ModelRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelRoot").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl ModelRoot {
    /// Makes new keys and certificates. Takes seconds.
    ///
    /// # Errors
    /// [`ModelError`] when the system gives no random numbers.
    pub fn generate(generation: Generation) -> Result<Self, ModelError> {
        Self::from_keys(generation, RsaKey::generate()?, RsaKey::generate()?)
    }

    /// The stored form: private keys in JSON, as primes in hexadecimal.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        let hex = |key: &RsaKey| key.primes().map(|prime| encode(&prime));
        let stored = Stored {
            model_root: 1,
            generation: self.generation,
            ark: hex(&self.ark_key),
            ask: hex(&self.ask_key),
        };
        serde_json::to_vec_pretty(&stored).map_err(|error| ModelError::State(error.to_string()))
    }

    /// Reads the stored form, as [`ModelRoot::to_bytes`] writes it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let stored: Stored =
            serde_json::from_slice(bytes).map_err(|error| ModelError::State(error.to_string()))?;
        let key = |[p, q]: &[String; 2]| {
            let bytes = |hex| decode(hex).ok_or(ModelError::State("not hexadecimal".to_owned()));
            RsaKey::from_bytes(&bytes(p)?, &bytes(q)?)
        };
        Self::from_keys(stored.generation, key(&stored.ark)?, key(&stored.ask)?)
    }

    fn from_keys(
        generation: Generation,
        ark_key: RsaKey,
        ask_key: RsaKey,
    ) -> Result<Self, ModelError> {
        // A template is made of the keys alone, so the root can be used to sign its own
        // certificates while they are still missing.
        let mut root =
            Self { generation, ark_key, ask_key, ark: vec![], ask: vec![], asvk: vec![] };
        root.ark = root.certificate(Signer::Ark, &root.ark_template())?;
        root.ask = root.certificate(Signer::Ark, &root.intermediate(Role::Ask(generation)))?;
        root.asvk = root.certificate(Signer::Ark, &root.intermediate(Role::Asvk(generation)))?;
        Ok(root)
    }

    /// The generation it pretends to be of.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// DER of the root certificate.
    #[must_use]
    pub fn ark(&self) -> &[u8] {
        &self.ark
    }

    /// DER of the ASK certificate.
    #[must_use]
    pub fn ask(&self) -> &[u8] {
        &self.ask
    }

    /// DER of the ASVK certificate. ASK and ASVK of a model share their key.
    #[must_use]
    pub fn asvk(&self) -> &[u8] {
        &self.asvk
    }

    /// ARK, ASK and ASVK in PEM: the file for `--accept-model-root`.
    #[must_use]
    pub fn bundle_pem(&self) -> String {
        use base64ct::{Base64, Encoding};
        let mut out =
            String::from("MODEL: certificates of a software model, they prove nothing.\n");
        for der in [&self.ark, &self.ask, &self.asvk] {
            out.push_str("-----BEGIN CERTIFICATE-----\n");
            let text = Base64::encode_string(der);
            let mut rest = text.as_str();
            // Lines of 64 characters (RFC 7468, section 2), the last one shorter.
            while let Some((line, more)) = rest.split_at_checked(64) {
                out.push_str(line);
                out.push('\n');
                rest = more;
            }
            out.push_str(rest);
            out.push_str("\n-----END CERTIFICATE-----\n");
        }
        out
    }

    /// The root certificate before it is signed.
    #[must_use]
    pub fn ark_template(&self) -> Template {
        let role = Role::Ark(self.generation);
        Template::new(role, role, &ARK_SERIAL, rsa_spki(self.ark_key.public()))
            .ca(CERT_AND_CRL_SIGN, None)
    }

    /// An ASK or ASVK certificate before it is signed.
    #[must_use]
    pub fn intermediate(&self, role: Role) -> Template {
        let serial = if matches!(role, Role::Asvk(_)) { ASVK_SERIAL } else { ASK_SERIAL };
        // A path length of 0: an intermediate signs VEKs and no further authority (RFC 5280,
        // section 4.2.1.9).
        Template::new(Role::Ark(self.generation), role, &serial, rsa_spki(self.ask_key.public()))
            .ca(CERT_SIGN, Some(0))
    }

    /// Signs a certificate made of a template.
    pub fn certificate(&self, signer: Signer, template: &Template) -> Result<Vec<u8>, ModelError> {
        self.sign_tbs(signer, &template.tbs())
    }

    /// Signs a revocation list. Times are UTCTime text; serials are INTEGER contents.
    ///
    /// # Errors
    /// [`ModelError`] when the system gives no random numbers.
    pub fn crl(
        &self,
        signer: Signer,
        this: &str,
        next: Option<&str>,
        revoked: &[Vec<u8>],
    ) -> Result<Vec<u8>, ModelError> {
        self.sign_tbs(signer, &crl_tbs(Role::Ark(self.generation), this, next, revoked))
    }

    /// Signs any bytes as the signed part of a certificate or list.
    ///
    /// # Errors
    /// [`ModelError`] when the system gives no random numbers.
    pub fn sign_tbs(&self, signer: Signer, tbs: &[u8]) -> Result<Vec<u8>, ModelError> {
        let key = match signer {
            Signer::Ark => &self.ark_key,
            Signer::Ask => &self.ask_key,
        };
        Ok(signed(tbs, &key.sign(tbs)?))
    }
}
