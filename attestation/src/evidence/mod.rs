//! Evidence in the forms in which it travels, reduced to a report and at most one VEK certificate.
//!
//! Principle: whatever surrounds a report is the host's word. Of a certificate table only the VEK is ever
//! taken; CA certificates and roots are the verifier's own. Every parser is bounded by the input's size.
//! Limit: files of at most 1 MiB, certificate tables of at most 64 KiB.

mod az_vtpm;
mod claims;
mod coco;
mod guest_table;
mod hcl;
mod quote;
mod table;
mod tsm;

pub use claims::{Claims, ClaimsError, RsaKey};
pub use guest_table::{GuestCertTable, GuestTableError, MAX_GUEST_TABLE};
pub use hcl::{Azure, ClaimsHash};
pub use quote::{Attested, Quote, QuoteError};
pub use table::{
    ARK_GUID, ASK_GUID, CertTable, Guid, VCEK_GUID, VLEK_GUID, encode as encode_table,
};

use crate::cert::{Certificate, KeyKind, Role, certificates_in};
use crate::report::{REPORT_SIZE, Report};

/// A report of a version beyond this is none: its first bytes are the start of something else, such as a certificate.
const MAX_VERSION: u32 = 0xff;
/// Certificates of one piece of evidence that are tried.
pub(crate) const MAX_VEKS: usize = 64;
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
    /// Evidence of Confidential Containers from an Azure VM: HCL blob, quote of the vTPM, VCEK, in
    /// JSON.
    AzureVtpm,
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
            Self::AzureVtpm => "CoCo az-snp-vtpm evidence",
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

/// A report, and the VEK certificates that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The form it came in.
    pub form: Form,
    /// The report's bytes, not checked.
    pub report: Vec<u8>,
    /// DER of every VEK certificate that came along, not checked; those first whose kind is that of
    /// the report's SIGNING_KEY. Which of them signed it is for [`crate::resolve`] to find.
    pub veks: Vec<Vec<u8>>,
    /// Claims and quote of Azure, not checked.
    pub azure: Option<Azure>,
}

impl Evidence {
    /// A report alone.
    #[must_use]
    pub fn of_report(form: Form, report: &[u8]) -> Self {
        Self { form, report: report.to_vec(), veks: Vec::new(), azure: None }
    }

    /// Recognises the form and takes report and VEK out.
    ///
    /// # Errors
    /// [`EvidenceError`] when no form fits, or a form is damaged.
    pub fn read(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAX_EVIDENCE {
            return Err(EvidenceError::TooLong(bytes.len()));
        }
        if bytes.starts_with(hcl::MAGIC) {
            let (report, azure) = hcl::read(bytes)?;
            return Ok(Self { azure: Some(azure), ..Self::of_report(Form::Hcl, &report) });
        }
        if bytes.trim_ascii_start().first() == Some(&b'{') {
            return json(bytes);
        }
        match bytes.split_at_checked(REPORT_SIZE) {
            None => Err(EvidenceError::UnknownForm(bytes.len())),
            Some((_, [_, ..])) if version(bytes) > MAX_VERSION => {
                Err(EvidenceError::UnknownForm(bytes.len()))
            }
            Some((report, [])) => Ok(Self::of_report(Form::Raw, report)),
            Some((report, table)) => Self::of_report(Form::Extended, report).with_table(table),
        }
    }

    /// Adds the VEK of a certificate table, such as the auxblob of configfs-tsm.
    ///
    /// # Errors
    /// [`EvidenceError::Table`] when the table breaks a rule.
    pub fn with_table(mut self, table: &[u8]) -> Result<Self, EvidenceError> {
        let table = CertTable::parse(table)?;
        for bytes in [VCEK_GUID, VLEK_GUID].into_iter().filter_map(|guid| table.get(guid)) {
            self.veks.extend(veks_in(bytes));
        }
        Ok(self.sorted())
    }

    /// With the certificates first whose kind is that of the report's SIGNING_KEY. It is the
    /// report's own word, and selects only what is tried first.
    fn sorted(mut self) -> Self {
        let wanted = Report::parse(&self.report)
            .ok()
            .and_then(|report| report.unverified_fields().signing_key().kind());
        self.veks.sort_by_key(|der| wanted.is_some() && kind_of(der) != wanted);
        self.veks.truncate(MAX_VEKS);
        self
    }

    /// The certificate that is tried first.
    #[must_use]
    pub fn vek(&self) -> Option<&[u8]> {
        self.veks.first().map(Vec::as_slice)
    }
}

/// The kind of endorsement key that a certificate's name says it is.
pub(crate) fn kind_of(der: &[u8]) -> Option<KeyKind> {
    match Certificate::from_der(der).ok()?.role()? {
        (_, Role::Vcek) => Some(KeyKind::Vcek),
        (_, Role::Vlek) => Some(KeyKind::Vlek),
        _ => None,
    }
}

/// The DER of every VEK in a file of any form that [`crate::cert::objects_in`] reads. Bytes that
/// hold none are returned as they are, for the verifier to refuse with a reason.
#[must_use]
pub fn veks_in(bytes: &[u8]) -> Vec<Vec<u8>> {
    let trimmed = if bytes.first() == Some(&0x30) { bytes } else { bytes.trim_ascii() };
    let Ok(all) = certificates_in(trimmed) else { return vec![bytes.to_vec()] };
    let is_vek = |one: &&Certificate| matches!(one.role(), Some((_, Role::Vcek | Role::Vlek)));
    let veks: Vec<_> = all.iter().filter(is_vek).map(|one| one.der().to_vec()).collect();
    match (veks.is_empty(), all.first()) {
        (true, Some(first)) => vec![first.der().to_vec()],
        (true, None) => vec![bytes.to_vec()],
        (false, _) => veks,
    }
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
    } else if az_vtpm::is_one(&value) {
        az_vtpm::read(value)
    } else {
        Err(EvidenceError::Json(
            "has neither `attestation_report` nor `outblob` nor `hcl_report`".to_owned(),
        ))
    }
}

// By value: the form that `map_err` takes.
#[allow(clippy::needless_pass_by_value)]
fn json_error(error: serde_json::Error) -> EvidenceError {
    // The message repeats names out of the evidence.
    EvidenceError::Json(casemate_foreign_text::line(error).to_string())
}
