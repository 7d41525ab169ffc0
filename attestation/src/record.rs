//! Evidence records: what was checked, with which inputs, by which tool, to which result.
//!
//! A record carries its inputs, each with its digest, so that it can be judged years later with
//! nothing else at hand. It is a file that anyone may have written: what it says about trust
//! (roots, time, appraisal, policy, expected values, its own verdict) is a claim. So there are two
//! questions, never mixed: [`Record::evidence`] hands the evidence to a caller who judges it under
//! terms of their own, and [`Record::repeat`] makes the recorded verification again, under the
//! record's terms, and compares every outcome: that shows that the record is consistent, and no
//! more.

use crate::cert::{CertError, Certificate, KeyKind, builtin};
use crate::context::Context;
use crate::evidence::{Azure, ClaimsHash, Quote};
use crate::hex::Hex;
use crate::verify::{Appraisal, Conclusion, Demand, Property, Verdict, Verifier};
use base64ct::{Base64, Encoding};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// Version of the record format. Format 1 had no word between accepted and refused.
const FORMAT: u32 = 2;

/// Everything a verification depends on.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The report's bytes, as received.
    pub report: Vec<u8>,
    /// Claims and quote of Azure evidence, when the evidence has them.
    pub azure: Option<Azure>,
    /// The VEK certificate, DER, when there is one.
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
    /// Accept report versions that this program does not know.
    pub allow_newer: bool,
    /// What the report must say, field by field.
    pub appraisal: Appraisal,
    /// The isolation policy that must admit it.
    pub policy: Option<PolicyText>,
    /// What it must have been made for.
    pub context: Option<Context>,
    /// Values that REPORT_DATA must have, beside the appraisal's.
    pub report_data: Vec<Demand>,
}

/// An isolation policy as a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    /// Name of its file, for messages.
    pub name: String,
    /// The whole document, in TOML or JSON.
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
    /// When an intermediate or MODEL certificate is not one, or the isolation policy cannot be
    /// used.
    pub fn verify(&self) -> Result<Verdict, InputError> {
        let verifier = self.verifier()?;
        Ok(verifier.verify_azure(&self.report, self.azure.as_ref(), self.vek.as_deref()))
    }

    /// The verifier that these inputs make.
    ///
    /// # Errors
    /// As [`Inputs::verify`].
    pub fn verifier(&self) -> Result<Verifier, InputError> {
        let mut verifier = Verifier::new(self.at);
        // The built-in roots are set anew, never taken from a record: what is trusted is this
        // program's word and, for a model, that of whoever asked.
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
        verifier.report_data = self.report_data.clone();
        if let Some(PolicyText { name, text }) = &self.policy {
            verifier.policy = Some(casemate_policy::Policy::load(text, name)?.into());
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
        // The digest is over the bytes that are used, not over their text.
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
    /// The bytes are no record, by what the JSON reader says of them.
    #[error("not an evidence record: {}", casemate_foreign_text::line(.0))]
    Json(#[from] serde_json::Error),
    /// A record of another format version.
    #[error(
        "evidence record of format {0}, this program reads format 2: verify the evidence again"
    )]
    Format(u32),
    /// A part was altered since it was written; which one is named.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    azure: Option<RecordedAzure>,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    report_data: Vec<RecordedDemand>,
    /// What was concluded, by the record's word.
    pub conclusion: Conclusion,
    /// What was not proven, by the record's word.
    pub not_proven: Vec<Property>,
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

/// A demanded REPORT_DATA, in hexadecimal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedDemand {
    by: String,
    value: Hex<64>,
}

/// What came with an Azure report.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedAzure {
    claims: Blob,
    hash: u32,
    user_data_is_nonce: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quote: Option<RecordedQuote>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedQuote {
    message: Blob,
    signature: Blob,
    pcrs: Vec<Hex<32>>,
}

impl RecordedAzure {
    fn new(azure: &Azure) -> Self {
        Self {
            claims: Blob::new(&azure.claims),
            hash: azure.hash.number(),
            user_data_is_nonce: azure.user_data_is_nonce,
            quote: azure.quote.as_ref().map(|quote| RecordedQuote {
                message: Blob::new(&quote.message),
                signature: Blob::new(&quote.signature),
                pcrs: quote.pcrs.iter().map(|value| Hex(*value)).collect(),
            }),
        }
    }

    fn open(&self) -> Result<Azure, RecordError> {
        let quote = |quote: &RecordedQuote| {
            Ok::<_, RecordError>(Quote {
                message: quote.message.open()?,
                signature: quote.signature.open()?,
                pcrs: quote.pcrs.iter().map(|Hex(value)| *value).collect(),
            })
        };
        Ok(Azure {
            claims: self.claims.open()?,
            hash: ClaimsHash::from_number(self.hash).ok_or(RecordError::Damaged("hash"))?,
            quote: self.quote.as_ref().map(quote).transpose()?,
            user_data_is_nonce: self.user_data_is_nonce,
        })
    }
}

/// What a repetition found.
#[derive(Debug)]
pub struct Replay {
    /// The verdict of the repetition, under the record's terms.
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
        // Every input as it went in, with its digest: the record has to be enough by itself.
        let blobs = |list: &[Vec<u8>]| list.iter().map(|bytes| Blob::new(bytes)).collect();
        Ok(Self {
            format: FORMAT,
            tool: concat!("casemate ", env!("CARGO_PKG_VERSION")).to_owned(),
            at: inputs.at,
            at_text: crate::time::format(inputs.at),
            allow_newer: inputs.allow_newer,
            appraisal: inputs.appraisal.clone(),
            report: Blob::new(&inputs.report),
            azure: inputs.azure.as_ref().map(RecordedAzure::new),
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
            report_data: inputs
                .report_data
                .iter()
                .map(|one| RecordedDemand { by: one.by.clone(), value: Hex(one.value) })
                .collect(),
            conclusion: verdict.conclusion(),
            not_proven: verdict.not_proven().to_vec(),
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
        // Read whole before the format is looked at: an unknown member is an error too, so that
        // nothing in a record is passed over.
        let record: Self = serde_json::from_slice(bytes)?;
        if record.format == FORMAT { Ok(record) } else { Err(RecordError::Format(record.format)) }
    }

    /// Puts the recorded evidence into `terms`: the report with what came with it, its VEK
    /// certificate, CA certificates (which count only under a trusted root) and, where the caller
    /// has none, revocation lists (likewise). Roots, time, appraisal, policy and expected values
    /// stay the caller's.
    ///
    /// # Errors
    /// [`RecordError`] when an input does not fit its digest.
    pub fn evidence(&self, mut terms: Inputs) -> Result<Inputs, RecordError> {
        terms.report = self.report.open()?;
        terms.azure = self.azure.as_ref().map(RecordedAzure::open).transpose()?;
        terms.vek = self.vek.as_ref().map(Blob::open).transpose()?;
        terms.intermediates.extend(open_all(&self.intermediates)?);
        // The caller's lists are newer than any in a record. Both kinds are replaced together, so
        // that one set of lists is judged by, not a mixture of two.
        if terms.crls.is_empty() && terms.vlek_crls.is_empty() {
            terms.crls = open_all(&self.crls)?;
            terms.vlek_crls = open_all(&self.vlek_crls)?;
        }
        Ok(terms)
    }

    /// Makes the recorded verification again, **under the record's own terms**, and compares.
    ///
    /// # Errors
    /// [`RecordError`] when an input does not fit its digest or is not what it should be.
    pub fn repeat(&self) -> Result<Replay, RecordError> {
        // The record's own terms, all of them: what is repeated is the verification as it was made.
        let demand = |one: &RecordedDemand| Demand { by: one.by.clone(), value: one.value.0 };
        let inputs = self.evidence(Inputs {
            model_roots: open_all(&self.model_roots)?,
            at: self.at,
            allow_newer: self.allow_newer,
            appraisal: self.appraisal.clone(),
            policy: self.policy.clone(),
            context: self.context.as_ref().map(RecordedContext::open).transpose()?,
            report_data: self.report_data.iter().map(demand).collect(),
            ..Inputs::default()
        })?;
        let verdict = inputs.verify()?;
        // All outcomes are compared, not only the verdict: two refusals for different reasons are
        // not the same verification.
        let same = verdict.conclusion() == self.conclusion
            && verdict.not_proven() == self.not_proven
            && verdict.is_model() == self.model
            && serde_json::to_value(verdict.checks())? == self.checks;
        Ok(Replay { verdict, same })
    }
}

fn open_all(blobs: &[Blob]) -> Result<Vec<Vec<u8>>, RecordError> {
    blobs.iter().map(Blob::open).collect()
}
