//! Evidence of SEV-SNP as the real client sends it: the report taken apart, field by field, with
//! the names that crate sev gives them (6.3 of the client and 7.1 of the server have the same 28).
//!
//! A broker reads it with `attestation::evidence`; this writer is for a guest that wants to be
//! understood by Trustee as well. Certificates are left out: KVM of Linux 6.12 gives a guest none,
//! the real client then sends `null`, and a broker looks for them itself.

use crate::{KbsError, What};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Bytes of a report.
const SIZE: usize = 1184;
/// The first family whose security patch levels begin with those of FMC: Turin's.
const TURIN_FAMILY: u8 = 0x1A;

/// The evidence of a report, without certificates.
///
/// # Errors
/// [`KbsError`] when the report does not have 1184 bytes.
pub fn snp_evidence(report: &[u8]) -> Result<Box<RawValue>, KbsError> {
    let what = What::Attestation;
    let report = Bytes::<SIZE>::try_from(report)
        .map_err(|_| KbsError::value(what, "a report that does not have 1184 bytes"))?;
    let version = report.u32(0);
    // The processor is named from version 3 on; before, none with FMC was there.
    let named = |at: usize| if version >= 3 { json!(report.u8(at)) } else { Value::Null };
    let fmc = version >= 3 && report.u8(0x188) >= TURIN_FAMILY;
    // Offsets as in the table "attestation report" of AMD 56860.
    let mut fields = json!({
        "version": version,
        "guest_svn": report.u32(0x04),
        "policy": report.u64(0x08),
        "family_id": report.part(0x10, 16),
        "image_id": report.part(0x20, 16),
        "vmpl": report.u32(0x30),
        "sig_algo": report.u32(0x34),
        "current_tcb": report.tcb(0x38, fmc),
        "plat_info": report.u64(0x40),
        "key_info": report.u32(0x48),
        "report_data": report.part(0x50, 64),
        "measurement": report.part(0x90, 48),
        "host_data": report.part(0xC0, 32),
        "id_key_digest": report.part(0xE0, 48),
        "author_key_digest": report.part(0x110, 48),
        "report_id": report.part(0x140, 32),
        "report_id_ma": report.part(0x160, 32),
        "reported_tcb": report.tcb(0x180, fmc),
        "cpuid_fam_id": named(0x188),
        "cpuid_mod_id": named(0x189),
        "cpuid_step": named(0x18A),
        "chip_id": report.part(0x1A0, 64),
        "committed_tcb": report.tcb(0x1E0, fmc),
        "current": report.firmware(0x1E8),
        "committed": report.firmware(0x1EC),
        "launch_tcb": report.tcb(0x1F0, fmc),
        "signature": { "r": report.part(0x2A0, 72), "s": report.part(0x2E8, 72) },
    });
    // Mitigation vectors are of version 5; before, their place is reserved and zero.
    if let Some(fields) = fields.as_object_mut().filter(|_| version >= 5) {
        fields.insert("launch_mit_vector".into(), json!(report.u64(0x1F8)));
        fields.insert("current_mit_vector".into(), json!(report.u64(0x200)));
    }
    let evidence = json!({ "attestation_report": fields, "cert_chain": null });
    RawValue::from_string(evidence.to_string())
        .map_err(|error| crate::read::malformed(what, &error))
}

/// Bytes of a known number, read at constant offsets within them.
struct Bytes<const N: usize>([u8; N]);

impl<const N: usize> TryFrom<&[u8]> for Bytes<N> {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self)
    }
}

impl<const N: usize> Bytes<N> {
    /// Every caller names a place within a report; beyond it there would be zeros.
    fn array<const L: usize>(&self, at: usize) -> [u8; L] {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; L])
    }

    fn u8(&self, at: usize) -> u8 {
        let [byte] = self.array(at);
        byte
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    fn part(&self, at: usize, length: usize) -> &[u8] {
        at.checked_add(length).and_then(|end| self.0.get(at..end)).unwrap_or_default()
    }

    /// Security patch levels: Turin's begin with those of FMC, and have others in other places.
    fn tcb(&self, at: usize, fmc: bool) -> Value {
        let levels: [u8; 8] = self.array(at);
        match (fmc, levels) {
            (false, [bootloader, tee, _, _, _, _, snp, microcode]) => json!({
                "fmc": null, "bootloader": bootloader, "tee": tee,
                "snp": snp, "microcode": microcode,
            }),
            (true, [fmc, bootloader, tee, snp, _, _, _, microcode]) => json!({
                "fmc": fmc, "bootloader": bootloader, "tee": tee,
                "snp": snp, "microcode": microcode,
            }),
        }
    }

    fn firmware(&self, at: usize) -> Value {
        let [build, minor, major] = self.array(at);
        json!({ "major": major, "minor": minor, "build": build })
    }
}
