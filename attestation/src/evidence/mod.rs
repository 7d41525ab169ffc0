//! Evidence in the forms in which it travels, reduced to a report and at most one VEK certificate.
//!
//! Principle: whatever surrounds a report is the host's word. Of a certificate table only the VEK
//! is ever taken; CA certificates and roots are the verifier's own. Every parser is bounded by the
//! input's size. Limit: files of at most 1 MiB, certificate tables of at most 64 KiB.

mod az_vtpm;
mod claims;
mod coco;
mod gosev;
mod guest_table;
mod hcl;
mod quote;
mod table;
mod text;
mod tsm;
mod wrapped;

pub use claims::{Claims, ClaimsError, RsaKey};
pub use guest_table::{GuestCertTable, GuestTableError, MAX_GUEST_TABLE};
pub use hcl::{Azure, ClaimsHash};
pub use quote::{Attested, Quote, QuoteError};
pub use table::{
    ARK_GUID, ASK_GUID, CertTable, Guid, VCEK_GUID, VLEK_GUID, encode as encode_table,
};

use crate::cert::{Certificate, KeyKind, Role, certificates_in};
use crate::report::{REPORT_SIZE, Report};

/// A report of a version beyond this is none: its first bytes are the start of something else, such
/// as a certificate.
const MAX_VERSION: u32 = 0xff;
/// Certificates of one piece of evidence that are tried.
pub(crate) const MAX_VEKS: usize = 64;
/// Encodings around encodings that are taken off.
const MAX_LAYERS: u8 = 4;
/// Larger files are refused unread.
pub const MAX_EVIDENCE: usize = 1024 * 1024;

/// The form in which evidence came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A report of 1184 bytes and nothing else.
    Raw,
    /// A report with a certificate table behind it.
    Extended,
    /// A Linux configfs-tsm pair in JSON, base64 inside.
    TsmJson,
    /// An Azure HCL blob with the report inside.
    Hcl,
    /// SnpEvidence of Confidential Containers, fields in JSON.
    CocoJson,
    /// An attestation of go-sev-guest, a protocol-buffer message.
    GoSevGuest,
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
            Self::GoSevGuest => "go-sev-guest attestation",
            Self::AzureVtpm => "CoCo az-snp-vtpm evidence",
        }
    }
}

/// Why evidence cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// More than [`MAX_EVIDENCE`] bytes; nothing of them was read.
    #[error("{0} bytes of evidence, more than the limit of 1 MiB")]
    TooLong(usize),
    /// None of the known forms; the number of bytes is given.
    #[error(
        "{0} bytes that are neither a report (1184 bytes, or these in hexadecimal or base64), \
         a report with a table, an HCL blob, JSON, nor an attestation of go-sev-guest"
    )]
    UnknownForm(usize),
    /// A form that another program turns into one that is read.
    #[error("{0}")]
    Convert(&'static str),
    /// A damaged message of go-sev-guest, with what is wrong.
    #[error("go-sev-guest attestation: {0}")]
    Message(String),
    /// A damaged HCL blob, with what is wrong.
    #[error("HCL blob: {0}")]
    Hcl(&'static str),
    /// A certificate table that breaks a rule.
    #[error("certificate table, entry {entry}: {rule}")]
    Table {
        /// Index of the entry in the list, from 0.
        entry: usize,
        /// The rule that is broken, as a phrase for the message.
        rule: &'static str,
    },
    /// JSON of no known shape.
    #[error("JSON evidence: {0}")]
    Json(String),
}

/// A report, and the VEK certificates that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The form it came in, outermost encodings taken off.
    pub form: Form,
    /// The report's bytes, not checked.
    pub report: Vec<u8>,
    /// DER of every VEK certificate that came along, not checked; those first whose kind is that of
    /// the report's SIGNING_KEY. Which of them signed it is for [`crate::selection`] to find.
    pub veks: Vec<Vec<u8>>,
    /// Claims and quote of Azure, not checked.
    pub azure: Option<Azure>,
}

impl Evidence {
    /// A report alone, with no certificate beside it.
    #[must_use]
    pub fn of_report(form: Form, report: &[u8]) -> Self {
        Self { form, report: report.to_vec(), veks: Vec::new(), azure: None }
    }

    /// Recognises the form and takes report and VEK out.
    ///
    /// # Errors
    /// [`EvidenceError`] when no form fits, or a form is damaged.
    pub fn read(bytes: &[u8]) -> Result<Self, EvidenceError> {
        Self::read_within(bytes, MAX_LAYERS)
    }

    /// The same inside so many layers of encoding: base64 of hexadecimal of a report, and the like.
    fn read_within(bytes: &[u8], layers: u8) -> Result<Self, EvidenceError> {
        // Each encoding inside another takes one layer, so a file cannot make this recurse as deep
        // as it is long.
        let Some(layers) = layers.checked_sub(1) else {
            return Err(EvidenceError::UnknownForm(bytes.len()));
        };
        if bytes.len() > MAX_EVIDENCE {
            return Err(EvidenceError::TooLong(bytes.len()));
        }
        if let Some(how) = foreign(bytes) {
            return Err(EvidenceError::Convert(how));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        // The order is from what is surest. `HCLA` and `{` begin nothing else; a raw report has no
        // signature of its own, so it is what is left.
        if bytes.starts_with(hcl::MAGIC) {
            let (report, azure) = hcl::read(bytes)?;
            return Ok(Self { azure: Some(azure), ..Self::of_report(Form::Hcl, &report) });
        }
        if matches!(bytes.trim_ascii_start(), [b'{' | b'[' | b'"', ..]) {
            return json(bytes, layers);
        }
        // A report has zeros in its first bytes, and a message small lengths: neither is text.
        let control = |c: char| c.is_control() && !c.is_ascii_whitespace();
        if let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| !text.contains(control)) {
            return text::read(text, layers);
        }
        if let Some(report) = answer(bytes) {
            return Self::read_within(report, layers);
        }
        // Before a raw report: the first byte of a report is its version, 2 to 5, and the tags of
        // such a message are 8 and 10.
        if let Some(found) = gosev::from_wire(bytes) {
            return found;
        }
        match bytes.split_at_checked(REPORT_SIZE) {
            None => Err(EvidenceError::UnknownForm(bytes.len())),
            // With something behind it, 1184 bytes of any file would pass for a report with a
            // table: at least the version has to be that of one.
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
        // Other entries (ARK, ASK, and what hosts add) are not taken: see the principle above.
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
        // A stable sort, on one bit: among certificates of the wanted kind the sender's order
        // stays. The number is bounded after the sort, so that the wanted ones are not what is cut
        // off.
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
    // Only text is trimmed: in DER, a last byte that looks like a blank belongs to the signature.
    let trimmed = if bytes.first() == Some(&0x30) { bytes } else { bytes.trim_ascii() };
    let Ok(all) = certificates_in(trimmed) else { return vec![bytes.to_vec()] };
    let is_vek = |one: &&Certificate| matches!(one.role(), Some((_, Role::Vcek | Role::Vlek)));
    let veks: Vec<_> = all.iter().filter(is_vek).map(|one| one.der().to_vec()).collect();
    // A certificate that is no VEK by its name goes to the verifier too: it says what is wrong with
    // it, where dropping it would say that there is none.
    match (veks.is_empty(), all.first()) {
        (true, Some(first)) => vec![first.der().to_vec()],
        (true, None) => vec![bytes.to_vec()],
        (false, _) => veks,
    }
}

/// What other programs, or other processors, made: never the beginning of a report, whose version
/// is four bytes of a small number.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    // TD Quote: version 4 or 5, kind of key, 0x81 for TDX (Intel TDX DCAP, quote format).
    let is_tdx = matches!(bytes, [4 | 5, 0, 2 | 3, 0, 0x81, 0, 0, 0, ..]);
    match bytes {
        [] => Some("an empty file"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            Some("text in UTF-16; turn it into UTF-8 with `iconv -f utf-16 -t utf-8`")
        }
        _ if is_tdx => Some("a quote of Intel TDX, not a report of SEV-SNP"),
        _ => crate::packed::how_to_unpack(bytes),
    }
}

/// The report in an answer of the firmware, as a guest's driver hands it on: status, size, 24
/// reserved bytes (MSG_REPORT_RSP, AMD 56860, table 26).
fn answer(bytes: &[u8]) -> Option<&[u8]> {
    let (header, report) = bytes.split_first_chunk::<32>()?;
    let size = u32::try_from(REPORT_SIZE).ok()?.to_le_bytes();
    let is_one = header.starts_with(&[0; 4])
        && header.get(4..8) == Some(&size)
        && header.get(8..)?.iter().all(|byte| *byte == 0);
    is_one.then_some(report)
}

fn version(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |version| u32::from_le_bytes(*version))
}

fn json(bytes: &[u8], layers: u8) -> Result<Evidence, EvidenceError> {
    // The whole text is parsed once, bounded by [`MAX_EVIDENCE`]; serde_json bounds its own depth
    // at 128.
    let value = serde_json::from_slice(bytes).map_err(|error| not_json(bytes, error))?;
    let value = match wrapped::unwrap(value)? {
        wrapped::Inside::Bytes(bytes) => return Evidence::read_within(&bytes, layers),
        wrapped::Inside::Json(value) => value,
    };
    // By a member that only this form has. Which members else there may be, each form's reader
    // decides.
    if value.get("attestation_report").is_some_and(serde_json::Value::is_string) {
        // Its certificates, if any, would be in no form that is known: nothing is guessed of them.
        Err(EvidenceError::Convert(
            "`attestation_report` is a text in it; give that text as a file of its own, and the \
             certificate with --cert",
        ))
    } else if value.get("attestation_report").is_some() {
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

/// What begins like JSON and is none.
fn not_json(bytes: &[u8], error: serde_json::Error) -> EvidenceError {
    let numbers = bytes.trim_ascii_start().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    if numbers.is_some_and(|first| first.starts_with(b"0x")) {
        return EvidenceError::Convert("an array of a C program; take its braces off");
    }
    json_error(error)
}

// By value: the form that `map_err` takes.
#[allow(clippy::needless_pass_by_value)]
fn json_error(error: serde_json::Error) -> EvidenceError {
    // The message repeats names out of the evidence.
    EvidenceError::Json(casemate_foreign_text::line(error).to_string())
}
