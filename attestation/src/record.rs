//! Evidence records: what was checked, with which inputs, by which tool, to which result.
//!
//! A record carries its inputs, each with its digest, so that it can be replayed years later with nothing
//! else at hand. A replay makes the verification again and compares every outcome.

use crate::cert::{CertError, Certificate, KeyKind, builtin};
use crate::context::Context;
use crate::verify::{Appraisal, Verdict, Verifier};
use base64ct::{Base64, Encoding};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// Version of the record format.
const FORMAT: u32 = 1;

/// Everything a verification depends on.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The report.
    pub report: Vec<u8>,
    /// The VEK certificate, DER.
    pub vek: Option<Vec<u8>>,
    /// Revocation lists of VCEK chains, DER.
    pub crls: Vec<Vec<u8>>,
    /// Revocation lists of VLEK chains, DER.
    pub vlek_crls: Vec<Vec<u8>>,
    /// ASK and ASVK certificates beside the built-in ones, DER.
    pub intermediates: Vec<Vec<u8>>,
    /// Accepted MODEL certificates, DER.
    pub model_roots: Vec<Vec<u8>>,
    /// Time of judgement, seconds since 1970.
    pub at: u64,
    /// Accept newer report versions.
    pub allow_newer: bool,
    /// What the report must say.
    pub appraisal: Appraisal,
    /// The isolation policy that must admit it.
    pub policy: Option<PolicyText>,
    /// What it must have been made for.
    pub context: Option<Context>,
}

/// An isolation policy as a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    /// Name of its file, for messages.
    pub name: String,
    /// The document.
    pub text: String,
}

/// Why a verification cannot be made: bad use, not bad evidence.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// An intermediate or MODEL certificate is not one.
    #[error(transparent)]
    Certificate(#[from] CertError),
    /// The isolation policy cannot be used.
    #[error(transparent)]
    Policy(#[from] casemate_policy::LoadError),
}

impl Inputs {
    /// Makes the verification.
    ///
    /// # Errors
    /// When an intermediate or MODEL certificate is not one, or the isolation policy cannot be used.
    pub fn verify(&self) -> Result<Verdict, InputError> {
        Ok(self.verifier()?.verify(&self.report, self.vek.as_deref()))
    }

    /// The verifier that these inputs make.
    ///
    /// # Errors
    /// As [`Inputs::verify`].
    pub fn verifier(&self) -> Result<Verifier, InputError> {
        let mut verifier = Verifier::new(self.at);
        verifier.roots = builtin();
        for der in &self.intermediates {
            verifier.roots.add_intermediate(Certificate::from_der(der)?);
        }
        if !self.model_roots.is_empty() {
            let bundle = self.model_roots.iter().map(|der| Certificate::from_der(der));
            verifier.roots.accept_model(bundle.collect::<Result<_, _>>()?)?;
        }
        for der in &self.crls {
            verifier.add_crl(der);
        }
        for der in &self.vlek_crls {
            verifier.add_crl_of(KeyKind::Vlek, der);
        }
        verifier.allow_newer = self.allow_newer;
        verifier.appraisal = self.appraisal.clone();
        verifier.context = self.context.clone();
        if let Some(PolicyText { name, text }) = &self.policy {
            verifier.policy = Some(casemate_policy::Policy::load(text, name)?);
        }
        Ok(verifier)
    }
}

/// An input with its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Blob {
    sha256: String,
    base64: String,
}

impl Blob {
    fn new(bytes: &[u8]) -> Self {
        Self { sha256: sha256(bytes), base64: Base64::encode_string(bytes) }
    }

    fn open(&self) -> Result<Vec<u8>, RecordError> {
        let bytes = Base64::decode_vec(&self.base64).map_err(|_| RecordError::Damaged("base64"))?;
        if sha256(&bytes) == self.sha256 { Ok(bytes) } else { Err(RecordError::Damaged("digest")) }
    }
}

fn sha256(bytes: &[u8]) -> String {
    crate::hex::encode(digest(&SHA256, bytes).as_ref())
}

/// Why a record cannot be read or replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not a record.
    #[error("not an evidence record: {0}")]
    Json(#[from] serde_json::Error),
    /// Of another format version.
    #[error("evidence record of format {0}, this program reads format 1")]
    Format(u32),
    /// Altered since it was written.
    #[error("evidence record was altered: {0} does not fit")]
    Damaged(&'static str),
    /// An input is not what it is recorded as.
    #[error("evidence record: {0}")]
    Input(#[from] InputError),
}

/// A verification on record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    format: u32,
    /// Tool and version that made it.
    pub tool: String,
    at: u64,
    at_text: String,
    allow_newer: bool,
    appraisal: Appraisal,
    report: Blob,
    vek: Option<Blob>,
    crls: Vec<Blob>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vlek_crls: Vec<Blob>,
    intermediates: Vec<Blob>,
    model_roots: Vec<Blob>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context: Option<RecordedContext>,
    /// Whether the evidence was accepted.
    pub accepted: bool,
    /// Whether the chain ended in a MODEL root.
    pub model: bool,
    checks: serde_json::Value,
}

/// A context, its nonce in hexadecimal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedContext {
    label: String,
    nonce: String,
}

impl RecordedContext {
    fn open(&self) -> Result<Context, RecordError> {
        let nonce = crate::hex::decode(&self.nonce).ok_or(RecordError::Damaged("nonce"))?;
        Ok(Context { label: self.label.clone(), nonce })
    }
}

/// What a replay found.
#[derive(Debug)]
pub struct Replay {
    /// The verdict of the replay.
    pub verdict: Verdict,
    /// Whether verdict and every outcome equal the recorded ones.
    pub same: bool,
}

impl Record {
    /// Puts a verification on record.
    ///
    /// # Errors
    /// When a check cannot be written as JSON, which no check's text prevents.
    pub fn new(inputs: &Inputs, verdict: &Verdict) -> Result<Self, serde_json::Error> {
        let blobs = |list: &[Vec<u8>]| list.iter().map(|bytes| Blob::new(bytes)).collect();
        Ok(Self {
            format: FORMAT,
            tool: concat!("casemate ", env!("CARGO_PKG_VERSION")).to_owned(),
            at: inputs.at,
            at_text: crate::time::format(inputs.at),
            allow_newer: inputs.allow_newer,
            appraisal: inputs.appraisal.clone(),
            report: Blob::new(&inputs.report),
            vek: inputs.vek.as_deref().map(Blob::new),
            crls: blobs(&inputs.crls),
            vlek_crls: blobs(&inputs.vlek_crls),
            intermediates: blobs(&inputs.intermediates),
            model_roots: blobs(&inputs.model_roots),
            policy: inputs.policy.clone(),
            context: inputs.context.as_ref().map(|context| RecordedContext {
                label: context.label.clone(),
                nonce: crate::hex::encode(&context.nonce),
            }),
            accepted: verdict.accepted(),
            model: verdict.is_model(),
            checks: serde_json::to_value(verdict.checks())?,
        })
    }

    /// The time of judgement, seconds since 1970.
    #[must_use]
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`RecordError`] when it is not one of this format.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(bytes)?;
        if record.format == FORMAT { Ok(record) } else { Err(RecordError::Format(record.format)) }
    }

    /// Makes the verification again with the recorded inputs and compares.
    ///
    /// # Errors
    /// [`RecordError`] when an input does not fit its digest or is not what it should be.
    pub fn replay(&self) -> Result<Replay, RecordError> {
        let open = |list: &[Blob]| list.iter().map(Blob::open).collect::<Result<Vec<_>, _>>();
        let inputs = Inputs {
            report: self.report.open()?,
            vek: self.vek.as_ref().map(Blob::open).transpose()?,
            crls: open(&self.crls)?,
            vlek_crls: open(&self.vlek_crls)?,
            intermediates: open(&self.intermediates)?,
            model_roots: open(&self.model_roots)?,
            at: self.at,
            allow_newer: self.allow_newer,
            appraisal: self.appraisal.clone(),
            policy: self.policy.clone(),
            context: self.context.as_ref().map(RecordedContext::open).transpose()?,
        };
        let verdict = inputs.verify()?;
        let same = verdict.accepted() == self.accepted
            && verdict.is_model() == self.model
            && serde_json::to_value(verdict.checks())? == self.checks;
        Ok(Replay { verdict, same })
    }
}
