//! SnpEvidence as the guest attester of Confidential Containers sends it: a report taken apart.
//!
//! The report travels as fields, so its bytes are put together again before they are verified. What JSON
//! does not carry (reserved bytes) is zero; if it was not, the signature does not verify, which is safe.

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
    snp: u8,
    microcode: u8,
}

impl Tcb {
    /// With FMC the layout is Turin's.
    fn bytes(&self) -> [u8; 8] {
        let Self { bootloader, tee, snp, microcode, .. } = *self;
        match self.fmc {
            None => [bootloader, tee, 0, 0, 0, 0, snp, microcode],
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
    key_info: u32,
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
    chip_id: Vec<u8>,
    committed_tcb: Tcb,
    current: Version,
    committed: Version,
    launch_tcb: Tcb,
    #[serde(default)]
    launch_mit_vector: Option<u64>,
    #[serde(default)]
    current_mit_vector: Option<u64>,
    signature: Signature,
}

pub(super) fn read(value: serde_json::Value) -> Result<Evidence, EvidenceError> {
    let evidence: SnpEvidence = serde_json::from_value(value).map_err(json_error)?;
    let report = assemble(&evidence.attestation_report)?;
    let vek = evidence.cert_chain.into_iter().flatten().find_map(|entry| {
        matches!(entry.cert_type.as_str(), Some("VCEK" | "VLEK"))
            .then(|| super::vek_in(&entry.data))
    });
    Ok(Evidence { form: Form::CocoJson, report, vek })
}

fn assemble(f: &Fields) -> Result<Vec<u8>, EvidenceError> {
    let firmware = |v: &Version| vec![v.build, v.minor, v.major];
    let cpuid = [f.cpuid_fam_id, f.cpuid_mod_id, f.cpuid_step].map(Option::unwrap_or_default);
    // Offset, length, name, bytes.
    let parts: [(usize, usize, &str, &[u8]); 29] = [
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
        (0x1E8, 3, "current", &firmware(&f.current)),
        (0x1EC, 3, "committed", &firmware(&f.committed)),
        (0x1F0, 8, "launch_tcb", &f.launch_tcb.bytes()),
        (0x1F8, 8, "launch_mit_vector", &f.launch_mit_vector.unwrap_or(0).to_le_bytes()),
        (0x200, 8, "current_mit_vector", &f.current_mit_vector.unwrap_or(0).to_le_bytes()),
        (0x2A0, 72, "signature.r", &f.signature.r),
        (0x2E8, 72, "signature.s", &f.signature.s),
        (0x4C, 4, "reserved", &[0; 4]),
    ];
    let mut report = vec![0; REPORT_SIZE];
    for (offset, length, name, bytes) in parts {
        if bytes.len() != length {
            let found = bytes.len();
            return Err(EvidenceError::Json(format!("`{name}` has {found} bytes, not {length}")));
        }
        if let Some(to) = offset.checked_add(length).and_then(|end| report.get_mut(offset..end)) {
            to.copy_from_slice(bytes);
        }
    }
    Ok(report)
}
