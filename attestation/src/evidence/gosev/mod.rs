//! Attestations as go-sev-guest and what is built on it keep them: a report taken apart into a
//! protocol-buffer message, in its binary or its text form.
//!
//! The report's bytes are put together again from the fields before they are verified. What the
//! message does not carry is zero; if it was not, the signature does not verify, which is safe. A
//! field of a report that is not known here is refused: its bytes would be missing.
//! Source: google/go-sev-guest, `proto/sevsnp.proto`.

mod text;
mod wire;

use super::{Evidence, EvidenceError, Form};
use crate::report::REPORT_SIZE;

/// A field's value; which it is, its message decides.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    /// A varint, or a fixed number of 32 or 64 bits.
    Number(u64),
    Bytes(Vec<u8>),
    Message(Vec<(u32, Value)>),
}

/// The messages that are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Schema {
    Attestation,
    Report,
    Chain,
    /// What says nothing about the report: its fields are read over.
    Other,
}

impl Schema {
    /// The message in this field, when it is one that is looked into.
    const fn inside(self, field: u32) -> Option<Self> {
        // Only these two are read as messages. What is not looked into is kept as bytes, so nothing
        // is parsed that nobody asks.
        match (self, field) {
            (Self::Attestation, 1) => Some(Self::Report),
            (Self::Attestation, 2) => Some(Self::Chain),
            _ => None,
        }
    }

    /// The number of a field by its name in the text form. Fields that are read over have number 0.
    fn number(self, name: &str) -> Option<u32> {
        match self {
            Self::Attestation => match name {
                "report" => Some(1),
                "certificate_chain" => Some(2),
                _ => Some(0),
            },
            Self::Report => FIELDS.iter().find(|field| field.name == name).map(|f| f.number),
            Self::Chain => match name {
                "vcek_cert" => Some(VCEK),
                "vlek_cert" => Some(VLEK),
                _ => Some(0),
            },
            Self::Other => Some(0),
        }
    }
}

/// Fields of one message that are looked at: a report has 31, a chain with extras a few more.
const MAX_FIELDS: usize = 1024;
/// The field of a chain that holds the chip's endorsement key.
const VCEK: u32 = 1;
/// The field of a chain that holds the provider's endorsement key.
const VLEK: u32 = 6;
/// The field that holds CPUID leaf 1 EAX in place of family, model and stepping.
const FMS: u32 = 29;

/// Where a field of a report is.
struct Field {
    number: u32,
    name: &'static str,
    offset: usize,
    length: usize,
    /// Whether its bytes are a number, which is absent when it is zero.
    is_number: bool,
}

const fn number(number: u32, name: &'static str, offset: usize, length: usize) -> Field {
    Field { number, name, offset, length, is_number: true }
}

const fn bytes(number: u32, name: &'static str, offset: usize, length: usize) -> Field {
    Field { number, name, offset, length, is_number: false }
}

/// The fields of a report, with their numbers in the message and their places in the report (AMD
/// 56860, ATTESTATION_REPORT).
const FIELDS: [Field; 31] = [
    number(1, "version", 0x00, 4),
    number(2, "guest_svn", 0x04, 4),
    number(3, "policy", 0x08, 8),
    bytes(4, "family_id", 0x10, 16),
    bytes(5, "image_id", 0x20, 16),
    number(6, "vmpl", 0x30, 4),
    number(7, "signature_algo", 0x34, 4),
    number(8, "current_tcb", 0x38, 8),
    number(9, "platform_info", 0x40, 8),
    number(10, "signer_info", 0x48, 4),
    bytes(11, "report_data", 0x50, 64),
    bytes(12, "measurement", 0x90, 48),
    bytes(13, "host_data", 0xC0, 32),
    bytes(14, "id_key_digest", 0xE0, 48),
    bytes(15, "author_key_digest", 0x110, 48),
    bytes(16, "report_id", 0x140, 32),
    bytes(17, "report_id_ma", 0x160, 32),
    number(18, "reported_tcb", 0x180, 8),
    bytes(19, "chip_id", 0x1A0, 64),
    number(20, "committed_tcb", 0x1E0, 8),
    number(21, "current_build", 0x1E8, 1),
    number(22, "current_minor", 0x1E9, 1),
    number(23, "current_major", 0x1EA, 1),
    number(24, "committed_build", 0x1EC, 1),
    number(25, "committed_minor", 0x1ED, 1),
    number(26, "committed_major", 0x1EE, 1),
    number(27, "launch_tcb", 0x1F0, 8),
    bytes(28, "signature", 0x2A0, 512),
    number(FMS, "cpuid1eax_fms", 0x188, 3),
    number(30, "launch_mit_vector", 0x1F8, 8),
    number(31, "current_mit_vector", 0x200, 8),
];

fn fault(why: impl Into<String>) -> EvidenceError {
    EvidenceError::Message(why.into())
}

/// Evidence in the binary form. None when the bytes do not begin like an attestation or a report,
/// or are no message at all.
pub(super) fn from_wire(bytes: &[u8]) -> Option<Result<Evidence, EvidenceError>> {
    // The first byte is a tag: field number shifted by three, and the wire type. A report of
    // version 128 or more would need a second byte, and there is none.
    // Field 1 of an attestation is a message, of a report the version, a small number.
    let schema = match bytes {
        [0x0a, ..] => Schema::Attestation,
        [0x08, 2..=0x7f, ..] => Schema::Report,
        _ => return None,
    };
    let fields = wire::fields(bytes, schema)?;
    Some(read(schema, &fields))
}

/// Evidence in the text form. None when the text does not begin with a field of it.
pub(super) fn from_text(text: &str) -> Option<Result<Evidence, EvidenceError>> {
    // The product is a third member of an attestation that may come first; a name that is no field
    // of either is not of this form, so that another reader may have the text.
    let schema = match text::first_name(text)? {
        "report" | "certificate_chain" | "product" => Schema::Attestation,
        name if Schema::Report.number(name).is_some() => Schema::Report,
        _ => return None,
    };
    Some(text::fields(text, schema).and_then(|fields| read(schema, &fields)))
}

fn read(schema: Schema, fields: &[(u32, Value)]) -> Result<Evidence, EvidenceError> {
    // A report by itself comes without certificates; they are found elsewhere.
    if schema == Schema::Report {
        let report = assemble(fields)?;
        return Ok(Evidence::of_report(Form::GoSevGuest, &report));
    }
    let Some(Value::Message(report)) = only(fields, 1)? else {
        return Err(fault("no report in it"));
    };
    let report = assemble(report)?;
    let mut veks = Vec::new();
    if let Some(Value::Message(chain)) = only(fields, 2)? {
        for field in [VCEK, VLEK] {
            // Go writes an absent certificate as an empty field as well.
            if let Some(Value::Bytes(bytes)) = only(chain, field)?
                && !bytes.is_empty()
            {
                veks.extend(super::veks_in(bytes));
            }
        }
    }
    Ok(Evidence { veks, ..Evidence::of_report(Form::GoSevGuest, &report) }.sorted())
}

/// The one field with this number; a second is an error, where the last would count by the rules.
fn only(fields: &[(u32, Value)], number: u32) -> Result<Option<&Value>, EvidenceError> {
    let mut found = fields.iter().filter(|(own, _)| *own == number);
    // Protocol buffers let the last of two values count, and merge two messages. A reader that took
    // the first would see another report than the one that wrote it.
    let first = found.next();
    if found.next().is_some() {
        return Err(fault(format!("field {number} appears twice")));
    }
    Ok(first.map(|(_, value)| value))
}

fn assemble(fields: &[(u32, Value)]) -> Result<Vec<u8>, EvidenceError> {
    // A number that is not in the table is a field of a newer report, whose bytes would be missing
    // from what is put together.
    let known = |number: &u32| FIELDS.iter().any(|field| field.number == *number);
    if let Some((number, _)) = fields.iter().find(|(number, _)| !known(number)) {
        return Err(fault(format!("field {number} of the report is not known here")));
    }
    let mut report = vec![0; REPORT_SIZE];
    for field in &FIELDS {
        let Field { name, length, .. } = field;
        // Proto3 does not write a number that is zero, so its absence says 0. Bytes of a report are
        // never absent: they have a fixed length.
        let bytes = match (only(fields, field.number)?, field.is_number) {
            (None, true) => continue,
            (None, false) => return Err(fault(format!("`{name}` is missing"))),
            (Some(Value::Number(eax)), true) if field.number == FMS => processor(*eax)?,
            (Some(Value::Number(value)), true) => {
                // A number on the wire has up to 64 bits, whatever the field has in the report:
                // what does not fit is refused rather than cut.
                let bytes = value.to_le_bytes();
                let (low, high) = bytes.split_at_checked(*length).unwrap_or((&bytes, &[]));
                if high.iter().any(|byte| *byte != 0) {
                    return Err(fault(format!("`{name}` is more than {length} bytes")));
                }
                low.to_vec()
            }
            (Some(Value::Bytes(bytes)), false) if bytes.len() == *length => bytes.clone(),
            (Some(Value::Bytes(bytes)), false) => {
                let found = bytes.len();
                return Err(fault(format!("`{name}` has {found} bytes, not {length}")));
            }
            _ => return Err(fault(format!("`{name}` is of another type"))),
        };
        let end = field.offset.checked_add(bytes.len());
        if let Some(to) = end.and_then(|end| report.get_mut(field.offset..end)) {
            to.copy_from_slice(&bytes);
        }
    }
    Ok(report)
}

/// Family, model and stepping, each combined with its extension, as a report has them.
fn processor(eax: u64) -> Result<Vec<u8>, EvidenceError> {
    if eax & !0x0fff_0fff != 0 {
        return Err(fault("`cpuid1eax_fms` has bits beyond family, model and stepping"));
    }
    // CPUID leaf 1 EAX (AMD APM volume 3, E.3.2): base and extended family are added; the extended
    // model is put before the model.
    let part = |shift: u32, mask: u64| u8::try_from(eax >> shift & mask).unwrap_or(0);
    let family = part(8, 0xf).checked_add(part(20, 0xff));
    let family = family.ok_or_else(|| fault("`cpuid1eax_fms` names a family above 255"))?;
    Ok(vec![family, part(16, 0xf) << 4 | part(4, 0xf), part(0, 0xf)])
}
