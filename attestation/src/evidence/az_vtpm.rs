//! Evidence that Confidential Containers sends from an Azure VM (`az-snp-vtpm`): HCL blob, vTPM
//! quote, VCEK.
//!
//! Version 0 has no version member and lists bytes as numbers, its VCEK is PEM. Versions 1 and 2
//! write the quote in hexadecimal, blob and VCEK (DER) in base64 of the URL alphabet; in version 2
//! the guest also gives the nonce to the paravisor, so that it stands in the claims' user data.
//! Source: guest-components, `attestation-agent/attester/src/az_snp_vtpm`, and trustee,
//! `deps/verifier/src/az_snp_vtpm`.

use super::{Evidence, EvidenceError, Form, Quote, json_error, tsm::base64, veks_in};
use crate::hex;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version0 {
    quote: Quote0,
    report: Vec<u8>,
    vcek: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quote0 {
    message: Vec<u8>,
    signature: Vec<u8>,
    pcrs: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version1 {
    version: u32,
    tpm_quote: Quote1,
    hcl_report: String,
    vcek: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quote1 {
    message: String,
    signature: String,
    pcrs: Vec<String>,
}

/// Whether JSON is of this form.
pub(super) fn is_one(value: &Value) -> bool {
    // Told by its members, since no form of evidence says which it is. Of `quote` and `report` both
    // are wanted, as each word alone is one that other JSON may have.
    let has = |key: &str| value.get(key).is_some();
    has("tpm_quote") || has("hcl_report") || (has("quote") && has("report"))
}

pub(super) fn read(value: Value) -> Result<Evidence, EvidenceError> {
    // Version 0 was written before there was a version member; what has a `tpm_quote` is newer, and
    // without its version it is refused below for the missing member.
    let versioned = value.get("version").is_some() || value.get("tpm_quote").is_some();
    if !versioned {
        let evidence: Version0 = serde_json::from_value(value).map_err(json_error)?;
        let Quote0 { message, signature, pcrs } = evidence.quote;
        let quote = Quote { message, signature, pcrs: registers(pcrs)? };
        return assemble(&evidence.report, quote, evidence.vcek.as_bytes(), false);
    }
    let evidence: Version1 = serde_json::from_value(value).map_err(json_error)?;
    let user_data_is_nonce = match evidence.version {
        1 => false,
        2 => true,
        other => {
            return Err(fault(format!("Azure vTPM evidence of version {other}, not 0, 1 or 2")));
        }
    };
    // A member that is not known is refused in every version (`deny_unknown_fields`): a verifier
    // that the sender had in mind may rely on it.
    let Quote1 { message, signature, pcrs } = evidence.tpm_quote;
    let pcrs = pcrs.iter().map(|text| hexadecimal(text, "pcrs")).collect::<Result<_, _>>()?;
    let quote = Quote {
        message: hexadecimal(&message, "message")?,
        signature: hexadecimal(&signature, "signature")?,
        pcrs: registers(pcrs)?,
    };
    let report = base64(&evidence.hcl_report, "hcl_report")?;
    let vcek = base64(&evidence.vcek, "vcek")?;
    assemble(&report, quote, &vcek, user_data_is_nonce)
}

fn assemble(
    blob: &[u8],
    quote: Quote,
    vcek: &[u8],
    user_data_is_nonce: bool,
) -> Result<Evidence, EvidenceError> {
    // The blob holds the report. What the evidence says beside it stays apart from it until the
    // verifier has found that the quote's key is in claims that the report is bound to.
    let (report, mut azure) = super::hcl::read(blob)?;
    azure.quote = Some(quote);
    azure.user_data_is_nonce = user_data_is_nonce;
    let base = Evidence::of_report(Form::AzureVtpm, &report);
    Ok(Evidence { veks: veks_in(vcek), azure: Some(azure), ..base }.sorted())
}

fn registers(values: Vec<Vec<u8>>) -> Result<Vec<[u8; 32]>, EvidenceError> {
    if values.len() != super::quote::PCRS {
        return Err(fault(format!("`pcrs` has {} registers, not 24", values.len())));
    }
    // A register of another length would shift those behind it in the digest over all of them.
    let one = |value: Vec<u8>| value.try_into().ok();
    let all: Option<Vec<_>> = values.into_iter().map(one).collect();
    all.ok_or_else(|| fault("`pcrs` has a value of other than 32 bytes".to_owned()))
}

fn hexadecimal(text: &str, field: &str) -> Result<Vec<u8>, EvidenceError> {
    hex::decode(text).ok_or_else(|| fault(format!("`{field}` is not hexadecimal")))
}

const fn fault(text: String) -> EvidenceError {
    EvidenceError::Json(text)
}
