//! The pair of Linux configfs-tsm in JSON: `outblob` is the report, `auxblob` the certificate
//! table.

use super::{Evidence, EvidenceError, Form, json_error};
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
    // A guest without a certificate table leaves `auxblob` out, or empty.
    let table = pair.auxblob.map_or(Ok(Vec::new()), |text| base64(&text, "auxblob"))?;
    Evidence::of_report(Form::TsmJson, &report).with_table(&table)
}

pub(super) fn base64(text: &str, field: &str) -> Result<Vec<u8>, EvidenceError> {
    crate::base64::decode(text)
        .ok_or_else(|| EvidenceError::Json(format!("`{field}` is not base64")))
}
