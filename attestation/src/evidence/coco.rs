//! SnpEvidence as the guest attester of Confidential Containers sends it: a report taken apart.
//!
//! The report travels as fields, so its bytes are put together again before they are verified. Two
//! layouts are in use: that of crate sev from 6 on, with FMC, CPUID and mitigation vectors as
//! fields, and that before, which has reserved ranges instead. What JSON does not carry is zero; if
//! it was not, the signature does not verify, which is safe.

use super::{Evidence, EvidenceError, Form, json_error};
use crate::report::REPORT_SIZE;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnpEvidence {
    attestation_report: Fields,
    #[serde(default)]
    cert_chain: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    cert_type: serde_json::Value,
    data: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tcb {
    #[serde(default)]
    fmc: Option<u8>,
    bootloader: u8,
    tee: u8,
    /// The old layout names the bytes of Milan and Genoa, whatever the processor.
    #[serde(default, rename = "_reserved")]
    reserved: Option<[u8; 4]>,
    snp: u8,
    microcode: u8,
}

impl Tcb {
    /// The TCB as a report has it, eight bytes; with FMC the order is Turin's.
    fn bytes(&self) -> [u8; 8] {
        let Self { bootloader, tee, snp, microcode, .. } = *self;
        // What Turin's layout reserves is not in the JSON: zero, as in a report that is signed.
        let [a, b, c, d] = self.reserved.unwrap_or_default();
        match self.fmc {
            None => [bootloader, tee, a, b, c, d, snp, microcode],
            Some(fmc) => [fmc, bootloader, tee, snp, 0, 0, 0, microcode],
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    major: u8,
    minor: u8,
    build: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    r: Vec<u8>,
    s: Vec<u8>,
    #[serde(default, rename = "_reserved")]
    reserved: Option<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    version: u32,
    guest_svn: u32,
    policy: u64,
    family_id: Vec<u8>,
    image_id: Vec<u8>,
    vmpl: u32,
    sig_algo: u32,
    current_tcb: Tcb,
    plat_info: u64,
    #[serde(alias = "_author_key_en")]
    key_info: u32,
    #[serde(default, rename = "_reserved_0")]
    reserved_0: u32,
    report_data: Vec<u8>,
    measurement: Vec<u8>,
    host_data: Vec<u8>,
    id_key_digest: Vec<u8>,
    author_key_digest: Vec<u8>,
    report_id: Vec<u8>,
    report_id_ma: Vec<u8>,
    reported_tcb: Tcb,
    #[serde(default)]
    cpuid_fam_id: Option<u8>,
    #[serde(default)]
    cpuid_mod_id: Option<u8>,
    #[serde(default)]
    cpuid_step: Option<u8>,
    #[serde(default, rename = "_reserved_1")]
    reserved_1: Option<Vec<u8>>,
    chip_id: Vec<u8>,
    committed_tcb: Tcb,
    #[serde(default)]
    current: Option<Version>,
    #[serde(default)]
    committed: Option<Version>,
    #[serde(default)]
    current_build: u8,
    #[serde(default)]
    current_minor: u8,
    #[serde(default)]
    current_major: u8,
    #[serde(default)]
    committed_build: u8,
    #[serde(default)]
    committed_minor: u8,
    #[serde(default)]
    committed_major: u8,
    #[serde(default, rename = "_reserved_2")]
    reserved_2: u8,
    #[serde(default, rename = "_reserved_3")]
    reserved_3: u8,
    launch_tcb: Tcb,
    #[serde(default)]
    launch_mit_vector: Option<u64>,
    #[serde(default)]
    current_mit_vector: Option<u64>,
    #[serde(default, rename = "_reserved_4")]
    reserved_4: Option<Vec<u8>>,
    signature: Signature,
}

pub(super) fn read(value: serde_json::Value) -> Result<Evidence, EvidenceError> {
    let evidence: SnpEvidence = serde_json::from_value(value).map_err(json_error)?;
    let report = assemble(&evidence.attestation_report)?;
    // Of the chain only the endorsement key is taken. CA certificates in it are the sender's, and
    // the verifier has its own.
    let veks = evidence
        .cert_chain
        .into_iter()
        .flatten()
        .filter(|entry| matches!(entry.cert_type.as_str(), Some("VCEK" | "VLEK")))
        .flat_map(|entry| super::veks_in(&entry.data))
        .collect();
    Ok(Evidence { veks, ..Evidence::of_report(Form::CocoJson, &report) }.sorted())
}

/// Offset in the report, length in bytes, name for messages, bytes.
type Part<'a> = (usize, usize, &'static str, &'a [u8]);

fn assemble(f: &Fields) -> Result<Vec<u8>, EvidenceError> {
    // The newer crate writes the firmware's version as one structure, the older as three numbers;
    // in a report the build comes first.
    let firmware = |v: &Option<Version>, [build, minor, major]: [u8; 3]| match v {
        Some(v) => [v.build, v.minor, v.major],
        None => [build, minor, major],
    };
    let current = firmware(&f.current, [f.current_build, f.current_minor, f.current_major]);
    let committed =
        firmware(&f.committed, [f.committed_build, f.committed_minor, f.committed_major]);
    // Reports of version 2 have none of the three, and zeros in their place.
    let cpuid = [f.cpuid_fam_id, f.cpuid_mod_id, f.cpuid_step].map(Option::unwrap_or_default);
    let parts: [Part<'_>; 29] = [
        (0x00, 4, "version", &f.version.to_le_bytes()),
        (0x04, 4, "guest_svn", &f.guest_svn.to_le_bytes()),
        (0x08, 8, "policy", &f.policy.to_le_bytes()),
        (0x10, 16, "family_id", &f.family_id),
        (0x20, 16, "image_id", &f.image_id),
        (0x30, 4, "vmpl", &f.vmpl.to_le_bytes()),
        (0x34, 4, "sig_algo", &f.sig_algo.to_le_bytes()),
        (0x38, 8, "current_tcb", &f.current_tcb.bytes()),
        (0x40, 8, "plat_info", &f.plat_info.to_le_bytes()),
        (0x48, 4, "key_info", &f.key_info.to_le_bytes()),
        (0x4C, 4, "_reserved_0", &f.reserved_0.to_le_bytes()),
        (0x50, 64, "report_data", &f.report_data),
        (0x90, 48, "measurement", &f.measurement),
        (0xC0, 32, "host_data", &f.host_data),
        (0xE0, 48, "id_key_digest", &f.id_key_digest),
        (0x110, 48, "author_key_digest", &f.author_key_digest),
        (0x140, 32, "report_id", &f.report_id),
        (0x160, 32, "report_id_ma", &f.report_id_ma),
        (0x180, 8, "reported_tcb", &f.reported_tcb.bytes()),
        (0x188, 3, "cpuid", &cpuid),
        (0x1A0, 64, "chip_id", &f.chip_id),
        (0x1E0, 8, "committed_tcb", &f.committed_tcb.bytes()),
        (0x1E8, 4, "current", &with_reserved(current, f.reserved_2)),
        (0x1EC, 4, "committed", &with_reserved(committed, f.reserved_3)),
        (0x1F0, 8, "launch_tcb", &f.launch_tcb.bytes()),
        (0x1F8, 8, "launch_mit_vector", &f.launch_mit_vector.unwrap_or(0).to_le_bytes()),
        (0x200, 8, "current_mit_vector", &f.current_mit_vector.unwrap_or(0).to_le_bytes()),
        (0x2A0, 72, "signature.r", &f.signature.r),
        (0x2E8, 72, "signature.s", &f.signature.s),
    ];
    // The old layout's ranges hold what has become a field since.
    let old = [
        (0x188, 24, "_reserved_1", f.reserved_1.as_deref()),
        (0x1F8, 168, "_reserved_4", f.reserved_4.as_deref()),
        (0x330, 368, "signature._reserved", f.signature.reserved.as_deref()),
    ];
    // Absent ranges are left zero. Those that are there come last, over the fields of the new
    // layout that lie in them: a sender of the old layout has none of these, so what it reserved is
    // what was signed.
    let old =
        old.into_iter().filter_map(|(at, length, name, bytes)| Some((at, length, name, bytes?)));
    put_together(parts.into_iter().chain(old))
}

/// A report of these parts, later ones over earlier ones; zeros where no part is.
fn put_together<'a>(parts: impl Iterator<Item = Part<'a>>) -> Result<Vec<u8>, EvidenceError> {
    let mut report = vec![0; REPORT_SIZE];
    // Each length is checked before a byte is written: a field too short would leave a neighbour's
    // bytes to be taken for it, and the signature's failure would tell nobody why.
    for (offset, length, name, bytes) in parts {
        if bytes.len() != length {
            let found = bytes.len();
            return Err(EvidenceError::Json(format!("`{name}` has {found} bytes, not {length}")));
        }
        // The offsets are those of the table above, all inside a report.
        if let Some(to) = offset.checked_add(length).and_then(|end| report.get_mut(offset..end)) {
            to.copy_from_slice(bytes);
        }
    }
    Ok(report)
}

fn with_reserved([build, minor, major]: [u8; 3], reserved: u8) -> [u8; 4] {
    [build, minor, major, reserved]
}
