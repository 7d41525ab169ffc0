//! The blob in which Azure's paravisor wraps a report: 32 bytes of header, the report, runtime data.

use super::EvidenceError;
use crate::report::REPORT_SIZE;

/// First bytes of a blob.
pub(super) const MAGIC: &[u8] = b"HCLA";
const HEADER: usize = 0x20;
/// The report type of SNP, behind the report.
const TYPE_SNP: u32 = 2;

pub(super) fn report(bytes: &[u8]) -> Result<Vec<u8>, EvidenceError> {
    let (_, rest) =
        bytes.split_at_checked(HEADER).ok_or(EvidenceError::Hcl("shorter than its header"))?;
    let (report, runtime) =
        rest.split_at_checked(REPORT_SIZE).ok_or(EvidenceError::Hcl("no room for a report"))?;
    // Runtime data: size, version, report type, hash type, length of the claims.
    let kind = runtime
        .get(8..12)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes)
        .ok_or(EvidenceError::Hcl("no runtime data behind the report"))?;
    if kind != TYPE_SNP {
        return Err(EvidenceError::Hcl("the report inside is not an SNP report"));
    }
    Ok(report.to_vec())
}
