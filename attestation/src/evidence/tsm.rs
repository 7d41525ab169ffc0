//! The pair of Linux configfs-tsm in JSON: `outblob` is the report, `auxblob` the certificate table.

use super::{Evidence, EvidenceError, Form, json_error};
use base64ct::{Base64, Base64Unpadded, Base64Url, Base64UrlUnpadded, Encoding};
use serde::Deserialize;

#[derive(Deserialize)]
struct Pair {
    outblob: String,
    #[serde(default)]
    auxblob: Option<String>,
}

pub(super) fn read(value: serde_json::Value) -> Result<Evidence, EvidenceError> {
    let pair: Pair = serde_json::from_value(value).map_err(json_error)?;
    let report = base64(&pair.outblob, "outblob")?;
    let table = pair.auxblob.map_or(Ok(Vec::new()), |text| base64(&text, "auxblob"))?;
    Evidence::of_report(Form::TsmJson, &report).with_table(&table)
}

/// Any of the four usual alphabets, the padded forms first; broken into lines or not.
pub(super) fn base64(text: &str, field: &str) -> Result<Vec<u8>, EvidenceError> {
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    Base64::decode_vec(&text)
        .or_else(|_| Base64Url::decode_vec(&text))
        .or_else(|_| Base64Unpadded::decode_vec(&text))
        .or_else(|_| Base64UrlUnpadded::decode_vec(&text))
        .map_err(|_| EvidenceError::Json(format!("`{field}` is not base64")))
}
