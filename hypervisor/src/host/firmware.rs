//! The security processor's firmware, asked through /dev/sev: which version, which TCB, how it is
//! configured.
//!
//! The calls and structures are those of crate `sev`, which knows how each generation packs a TCB.
//! KVM's own structures for a launch are not (see `kvm::firmware`): that crate's launcher has
//! another layout of LAUNCH_FINISH than Linux 6.11 and newer, and it returns no firmware error with
//! a page's number.

use super::{Finding, Verdict};
use sev::firmware::host::{Firmware, SnpPlatformStatus, TcbVersion};
use std::path::Path;

/// What the firmware says of itself; nothing without /dev/sev, whose absence is told elsewhere.
pub(super) fn findings(dev_sev: &Path) -> Vec<Finding> {
    if !dev_sev.exists() {
        return Vec::new();
    }
    match status() {
        Ok(status) => told(&status),
        Err(why) => {
            let why = format!("SNP_PLATFORM_STATUS: {why}");
            vec![Finding::new("SNP firmware", Verdict::Note, "does not answer", why)]
        }
    }
}

fn status() -> Result<SnpPlatformStatus, String> {
    let mut firmware = Firmware::open().map_err(|e| e.to_string())?;
    firmware.snp_platform_status().map_err(|e| format!("{e:?}"))
}

fn told(status: &SnpPlatformStatus) -> Vec<Finding> {
    let (major, minor) = status.version;
    let found = format!("{major}.{minor} build {}, {} guests", status.build_id, status.guest_count);
    let ready = status.state != 0 && status.is_rmp_init.is_rmp_init();
    let verdict = if ready { Verdict::Ok } else { Verdict::Note };
    let why = "launches guests and signs their reports; without an initialised RMP it does neither";
    let mut findings = vec![Finding::new("SNP firmware", verdict, found, why)];
    findings.push(tcb(&status.platform_tcb_version, &status.reported_tcb_version));
    findings.push(aliases(status));
    let policy = &status.platform_policy;
    if policy.mask_chip_id() || policy.mask_chip_key() {
        let found = if policy.mask_chip_key() { "VCEK not used" } else { "chip id hidden" };
        let why = "a verifier cannot find this chip's certificate by its report: it must come with the evidence, or \
                   be a VLEK";
        findings.push(Finding::new("SNP configuration", Verdict::Note, found, why));
    }
    if policy.vlek_en() {
        let why = "reports can be signed by the provider's key instead of the chip's";
        findings.push(Finding::new("VLEK", Verdict::Ok, "loaded", why));
    }
    findings
}

/// A reported TCB below the platform's is a choice of the host's owner; reports are signed with the
/// key of the reported one, so certificates are those of it (AMD 56860, SNP_CONFIG).
fn tcb(platform: &TcbVersion, reported: &TcbVersion) -> Finding {
    if platform == reported {
        let why = "what reports name, and what a certificate is for";
        return Finding::new("SNP TCB", Verdict::Ok, levels(platform), why);
    }
    let found = format!("reports {}, runs {}", levels(reported), levels(platform));
    let why = "reports name a lower TCB than this machine has: `snphost config` sets it, SNP_COMMIT ends it";
    Finding::new("SNP TCB", Verdict::Note, found, why)
}

fn levels(tcb: &TcbVersion) -> String {
    let TcbVersion { fmc, bootloader, tee, snp, microcode } = tcb;
    let fmc = fmc.map_or_else(String::new, |fmc| format!("fmc {fmc} "));
    format!("{fmc}bootloader {bootloader} tee {tee} snp {snp} microcode {microcode}")
}

/// Without the check, memory modules that lie about their size can let the host replay a guest's
/// pages (AMD-SB-3015).
fn aliases(status: &SnpPlatformStatus) -> Finding {
    let checked = status.is_rmp_init.alias_check_complete();
    let (verdict, found) =
        if checked { (Verdict::Ok, "done") } else { (Verdict::Note, "not done, or not reported") };
    let why = "the firmware looks for addresses that lead to the same memory (AMD-SB-3015): firmware 1.55.22 (Milan) \
               or 1.55.38 (Genoa) reports it";
    Finding::new("alias check", verdict, found, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reported_tcb_below_the_platforms_is_said_with_both() {
        let high = TcbVersion::new(None, 4, 0, 22, 213);
        let low = TcbVersion::new(None, 3, 0, 20, 209);
        let same = tcb(&high, &high);
        assert_eq!(
            (same.verdict, same.found.as_str()),
            (Verdict::Ok, "bootloader 4 tee 0 snp 22 microcode 213")
        );
        let lower = tcb(&high, &low);
        assert_eq!(lower.verdict, Verdict::Note);
        assert!(
            lower.found.contains("snp 20") && lower.found.contains("snp 22"),
            "{}",
            lower.found
        );
    }

    #[test]
    fn without_the_device_nothing_is_claimed_of_firmware() {
        assert!(findings(Path::new("/nonexistent")).is_empty());
    }
}
