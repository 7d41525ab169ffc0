//! What other programs put around evidence in JSON: the key broker's protocol, and requests to the
//! attestation service of Confidential Containers.
//!
//! `{"verification_requests": [{"tee": "snp", "evidence": "<base64 of JSON>", …}], …}`, one of
//! those by itself as earlier releases took it, `{"tee-evidence": {"primary_evidence": …}}`. What a
//! wrapper says beside the evidence (nonces, runtime data, policies) is its sender's word and is
//! not read. Source: confidential-containers/trustee, `attestation-service/docs`, `protos`; the KBS
//! protocol.

use super::{EvidenceError, json_error};
use crate::report::REPORT_SIZE;
use serde_json::Value;

/// Most wrappers inside wrappers that are taken off; anything deeper is refused.
const MAX_DEPTH: usize = 8;
/// Keys that hold what is wrapped.
const KEYS: [&str; 4] = ["verification_requests", "tee-evidence", "primary_evidence", "evidence"];

/// What is inside once every wrapper is off.
pub(super) enum Inside {
    Json(Value),
    /// Bytes in base64 that are not JSON: another form of evidence.
    Bytes(Vec<u8>),
}

/// Takes every wrapper off.
pub(super) fn unwrap(mut value: Value) -> Result<Inside, EvidenceError> {
    // A wrapper for each turn of the loop, not of a recursion; what is inside is owned, so the work
    // is that of the bytes, eight times at most.
    for _ in 0..MAX_DEPTH {
        value = match value {
            Value::String(text) if text.trim_start().starts_with('{') => {
                serde_json::from_str(&text).map_err(json_error)?
            }
            Value::String(text) => {
                let digits = crate::hex::from_people(&text).filter(|b| b.len() >= REPORT_SIZE);
                let Some(bytes) = digits.or_else(|| crate::base64::decode(&text)) else {
                    return Err(EvidenceError::Json("evidence in it is not base64".to_owned()));
                };
                // An object or a string in JSON is another wrapper, or evidence in JSON. A number
                // or a list of bytes that happen to be JSON is not: bytes it is then.
                match serde_json::from_slice(&bytes) {
                    Ok(inside @ (Value::Object(_) | Value::String(_))) => inside,
                    _ => return Ok(Inside::Bytes(bytes)),
                }
            }
            // Bytes as numbers, as serde writes them.
            Value::Array(list) if list.len() >= REPORT_SIZE => {
                let byte = |value: Value| value.as_u64().and_then(|n| u8::try_from(n).ok());
                let bytes = list.into_iter().map(byte).collect::<Option<Vec<u8>>>();
                let why = || EvidenceError::Json("a list of something else than bytes".to_owned());
                return bytes.map(Inside::Bytes).ok_or_else(why);
            }
            // One of several could be for another request, or another machine's: none is chosen for
            // the user.
            Value::Array(mut requests) => match (requests.pop(), requests.is_empty()) {
                (Some(one), true) => one,
                _ => {
                    let why = "evidence of several parts; give the one to verify".to_owned();
                    return Err(EvidenceError::Json(why));
                }
            },
            Value::Object(mut object) => {
                // The first of the keys that is there, in the order from the outermost wrapper to
                // the innermost.
                let Some(key) = KEYS.into_iter().find(|key| object.contains_key(*key)) else {
                    return Ok(Inside::Json(Value::Object(object)));
                };
                // Before the evidence is looked at: a request of another kind (TDX, SGX) gets that
                // message and not one about its bytes.
                snp(object.get("tee"))?;
                object.remove(key).unwrap_or_default()
            }
            other => return Ok(Inside::Json(other)),
        };
    }
    Err(EvidenceError::Json("more than 8 wrappers around evidence".to_owned()))
}

/// A request names its kind of evidence.
fn snp(tee: Option<&Value>) -> Result<(), EvidenceError> {
    match tee.map(Value::as_str) {
        None | Some(Some("snp" | "azsnpvtpm" | "az-snp-vtpm")) => Ok(()),
        Some(_) => {
            Err(EvidenceError::Json("`tee` says evidence of another kind than SNP".to_owned()))
        }
    }
}
