//! Evidence in the forms in which it travels, reduced to a report and at most one VEK certificate.
//!
//! Principle: whatever surrounds a report is the host's word. Of a certificate table only the VEK is ever
//! taken; CA certificates and roots are the verifier's own. Every parser is bounded by the input's size.
//! Limit: files of at most 1 MiB, certificate tables of at most 64 KiB.

mod coco;
mod guest_table;
mod hcl;
mod table;
mod tsm;

pub use guest_table::{GuestCertTable, GuestTableError, MAX_GUEST_TABLE};
pub use table::{
    ARK_GUID, ASK_GUID, CertTable, Guid, VCEK_GUID, VLEK_GUID, encode as encode_table,
};

use crate::cert::{Role, certificates_in};
use crate::report::{REPORT_SIZE, Report, SigningKey};

/// A report of a version beyond this is none: its first bytes are the start of something else, such as a certificate.
const MAX_VERSION: u32 = 0xff;
/// Larger files are refused unread.
pub const MAX_EVIDENCE: usize = 1024 * 1024;

/// The form in which evidence came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// 1184 bytes.
    Raw,
    /// A report with a certificate table behind it.
    Extended,
    /// A Linux configfs-tsm pair in JSON, base64 inside.
    TsmJson,
    /// An Azure HCL blob with the report inside.
    Hcl,
    /// SnpEvidence of Confidential Containers, fields in JSON.
    CocoJson,
}

impl Form {
    /// A name for output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw report",
            Self::Extended => "extended report",
            Self::TsmJson => "configfs-tsm pair",
            Self::Hcl => "Azure HCL blob",
            Self::CocoJson => "CoCo SnpEvidence",
        }
    }
}

/// Why evidence cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Too large.
    #[error("{0} bytes of evidence, more than the limit of 1 MiB")]
    TooLong(usize),
    /// None of the known forms.
    #[error(
        "{0} bytes that are neither a report (1184 bytes), a report with a table, HCL nor JSON"
    )]
    UnknownForm(usize),
    /// A damaged HCL blob.
    #[error("HCL blob: {0}")]
    Hcl(&'static str),
    /// A certificate table that breaks a rule.
    #[error("certificate table, entry {entry}: {rule}")]
    Table {
        /// Index of the entry.
        entry: usize,
        /// The rule.
        rule: &'static str,
    },
    /// JSON of no known shape.
    #[error("JSON evidence: {0}")]
    Json(String),
}

/// A report, and a VEK certificate when the evidence carries one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The form it came in.
    pub form: Form,
    /// The report's bytes, not checked.
    pub report: Vec<u8>,
    /// DER of a VEK certificate, not checked.
    pub vek: Option<Vec<u8>>,
}

impl Evidence {
    /// Recognises the form and takes report and VEK out.
    ///
    /// # Errors
    /// [`EvidenceError`] when no form fits, or a form is damaged.
    pub fn read(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAX_EVIDENCE {
            return Err(EvidenceError::TooLong(bytes.len()));
        }
        if bytes.starts_with(hcl::MAGIC) {
            let report = hcl::report(bytes)?;
            return Ok(Self { form: Form::Hcl, report, vek: None });
        }
        if bytes.trim_ascii_start().first() == Some(&b'{') {
            return json(bytes);
        }
        match bytes.split_at_checked(REPORT_SIZE) {
            None => Err(EvidenceError::UnknownForm(bytes.len())),
            Some((_, [_, ..])) if version(bytes) > MAX_VERSION => {
                Err(EvidenceError::UnknownForm(bytes.len()))
            }
            Some((report, [])) => Ok(Self { form: Form::Raw, report: report.to_vec(), vek: None }),
            Some((report, table)) => {
                Self { form: Form::Extended, report: report.to_vec(), vek: None }.with_table(table)
            }
        }
    }

    /// Adds the VEK of a certificate table, such as the auxblob of configfs-tsm.
    ///
    /// # Errors
    /// [`EvidenceError::Table`] when the table breaks a rule.
    pub fn with_table(mut self, table: &[u8]) -> Result<Self, EvidenceError> {
        let table = CertTable::parse(table)?;
        // The report's own word selects the bytes to try; the verifier decides what they are.
        let vlek_first = Report::parse(&self.report)
            .is_ok_and(|report| report.unverified_fields().signing_key() == SigningKey::Vlek);
        let (first, second) = (table.get(VLEK_GUID), table.get(VCEK_GUID));
        let found = if vlek_first { first.or(second) } else { second.or(first) };
        if let Some(bytes) = found {
            self.vek = Some(vek_in(bytes));
        }
        Ok(self)
    }
}

/// The DER of the VEK in a file that may be DER or PEM, one certificate or a bundle. Bytes that hold none
/// are returned as they are, for the verifier to refuse with a reason.
#[must_use]
pub fn vek_in(bytes: &[u8]) -> Vec<u8> {
    let trimmed = if bytes.first() == Some(&0x30) { bytes } else { bytes.trim_ascii() };
    let Ok(all) = certificates_in(trimmed) else { return bytes.to_vec() };
    let is_vek = |role| matches!(role, Some((_, Role::Vcek | Role::Vlek)));
    all.iter()
        .find(|certificate| is_vek(certificate.role()))
        .or(all.first())
        .map_or_else(|| bytes.to_vec(), |certificate| certificate.der().to_vec())
}

fn version(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |version| u32::from_le_bytes(*version))
}

fn json(bytes: &[u8]) -> Result<Evidence, EvidenceError> {
    let mut value: serde_json::Value = serde_json::from_slice(bytes).map_err(json_error)?;
    // As the KBS protocol wraps it: `tee-evidence` around `primary_evidence` around SnpEvidence.
    for wrapper in ["tee-evidence", "primary_evidence"] {
        if let Some(inner) = value.get_mut(wrapper) {
            value = inner.take();
        }
    }
    if value.get("attestation_report").is_some() {
        coco::read(value)
    } else if value.get("outblob").is_some() {
        tsm::read(value)
    } else {
        Err(EvidenceError::Json("has neither `attestation_report` nor `outblob`".to_owned()))
    }
}

// By value: the form that `map_err` takes.
#[allow(clippy::needless_pass_by_value)]
fn json_error(error: serde_json::Error) -> EvidenceError {
    EvidenceError::Json(error.to_string())
}
