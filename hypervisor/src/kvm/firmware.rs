//! What the security processor's firmware and KVM say when a launch command fails, in sentences.
//!
//! Codes: SEV-SNP Firmware ABI Specification, chapter "Status Codes" (Linux
//! `include/uapi/linux/psp-sev.h`).

use std::fmt;

/// The step of a launch that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchPhase {
    /// KVM_SEV_INIT2: the VM becomes a confidential one.
    Init,
    /// KVM_SEV_SNP_ENABLE_REQ_CERTS: extended requests come to us.
    Certificates,
    /// KVM_SEV_SNP_LAUNCH_START, with the guest policy.
    Start,
    /// KVM_SEV_SNP_LAUNCH_UPDATE, for each page.
    Update,
    /// KVM_SEV_SNP_LAUNCH_FINISH, with ID block and HOST_DATA.
    Finish,
}

impl fmt::Display for LaunchPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Init => "KVM_SEV_INIT2",
            Self::Certificates => "KVM_SEV_SNP_ENABLE_REQ_CERTS",
            Self::Start => "SNP_LAUNCH_START",
            Self::Update => "SNP_LAUNCH_UPDATE",
            Self::Finish => "SNP_LAUNCH_FINISH",
        })
    }
}

/// A launch command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareError {
    /// The step of the launch that failed.
    pub phase: LaunchPhase,
    /// Page address and kind, for an update.
    pub page: Option<(u64, &'static str)>,
    /// The errno of the ioctl.
    pub errno: i32,
    /// The firmware's status; 0 when it was not asked.
    pub status: u32,
}

impl std::error::Error for FirmwareError {}

impl fmt::Display for FirmwareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.phase)?;
        if let Some((gpa, kind)) = self.page {
            write!(f, " for the {kind} page at {gpa:#x}")?;
        }
        match status_text(self.status) {
            Some((name, text)) => {
                write!(f, ": the firmware says {name} ({:#x}): {text}", self.status)?;
            }
            None if self.status != 0 => {
                write!(
                    f,
                    ": the firmware's status is {:#x}, which this version does not know",
                    self.status
                )?;
            }
            None => {
                let error = std::io::Error::from_raw_os_error(self.errno);
                write!(f, ": KVM refused it without asking the firmware ({error})")?;
            }
        }
        match usual_cause(self.phase, self.errno, self.status) {
            Some(cause) => write!(f, "; usual cause: {cause}"),
            None => Ok(()),
        }
    }
}

fn status_text(status: u32) -> Option<(&'static str, &'static str)> {
    Some(match status {
        0x01 => ("INVALID_PLATFORM_STATE", "the platform is not initialised for SNP"),
        0x02 => ("INVALID_GUEST_STATE", "the guest is in the wrong state for this command"),
        0x03 => ("INVALID_CONFIG", "the platform's configuration is invalid"),
        0x04 => ("INVALID_LENGTH", "a buffer is too small"),
        0x05 => ("ALREADY_OWNED", "the platform has an owner already"),
        0x06 => ("INVALID_CERTIFICATE", "a certificate is invalid"),
        0x07 => ("POLICY_FAILURE", "the guest policy does not allow it on this platform"),
        0x08 => ("INACTIVE", "the guest is not active"),
        0x09 => ("INVALID_ADDRESS", "an address is invalid"),
        0x0a => ("BAD_SIGNATURE", "a signature of the ID block does not verify"),
        0x0b => ("BAD_MEASUREMENT", "the launch digest is not that of the ID block"),
        0x0c => ("ASID_OWNED", "the address-space identifier is in use"),
        0x0d => ("INVALID_ASID", "the address-space identifier is not for SNP guests"),
        0x0e => ("WBINVD_REQUIRED", "caches must be written back first"),
        0x0f => ("DF_FLUSH_REQUIRED", "the data fabric must be flushed first"),
        0x10 => ("INVALID_GUEST", "the guest handle is invalid"),
        0x11 => ("INVALID_COMMAND", "the firmware does not know the command"),
        0x12 => ("ACTIVE", "the guest is active already"),
        0x13 => ("HWERROR_PLATFORM", "a hardware error of the platform"),
        0x14 => ("HWERROR_UNSAFE", "a hardware error; the platform is not safe to use"),
        0x15 => ("UNSUPPORTED", "the firmware does not support the feature"),
        0x16 => ("INVALID_PARAM", "a parameter is invalid"),
        0x17 => ("RESOURCE_LIMIT", "the firmware is out of a resource"),
        0x18 => ("SECURE_DATA_INVALID", "the firmware's stored data is damaged"),
        0x1a => ("INVALID_PAGE_SIZE", "the RMP entry has another page size"),
        0x1b => ("INVALID_PAGE_STATE", "the page is in the wrong state in the RMP"),
        0x1c => ("INVALID_MDATA_ENTRY", "a metadata entry is invalid"),
        0x1d => ("INVALID_PAGE_OWNER", "the page belongs to another guest"),
        0x1e => ("AEAD_OFLOW", "the guest's message counter is used up"),
        0x20 => ("RMP_INIT_REQUIRED", "the RMP must be initialised"),
        0x21 => ("BAD_SVN", "the firmware is older than the platform allows"),
        0x22 => ("BAD_VERSION", "a version is not supported"),
        0x23 => ("SHUTDOWN_REQUIRED", "the platform must be shut down first"),
        0x24 => ("UPDATE_FAILED", "a firmware update failed"),
        0x25 => ("RESTORE_REQUIRED", "the firmware's state must be restored"),
        0x26 => ("RMP_INIT_FAILED", "the RMP could not be initialised"),
        0x27 => ("INVALID_KEY", "a key is invalid"),
        _ => return None,
    })
}

fn usual_cause(phase: LaunchPhase, errno: i32, status: u32) -> Option<&'static str> {
    Some(match (phase, status, errno) {
        (LaunchPhase::Init, 0, libc::EINVAL) => {
            "VMSA features that this host does not offer (`snp.vmsa_features`)"
        }
        (LaunchPhase::Init, 0, libc::EBUSY) => {
            "all address-space identifiers for SNP guests are in use"
        }
        (LaunchPhase::Start, 0, libc::EINVAL) => {
            "policy bits that this kernel does not support (Linux 6.12 needs SMT allowed and no single socket; `snp.policy`)"
        }
        (LaunchPhase::Start, 0x07, _) => {
            "a minimum ABI version or feature in `snp.policy` that the platform lacks"
        }
        (LaunchPhase::Start, 0x01, _) => {
            "SNP was not initialised: see the kernel log for ccp and SEV"
        }
        (LaunchPhase::Update, 0, _) => "the page is not private, or was launched already",
        (LaunchPhase::Update, 0x16, _) => {
            "a CPUID table that the firmware does not accept for this processor"
        }
        (LaunchPhase::Update, 0x1b, _) => "a stale RMP entry left by another guest",
        (LaunchPhase::Finish, 0x0b, _) => {
            "the ID block was made for another configuration: compare with `casemate measure`"
        }
        (LaunchPhase::Finish, 0x0a, _) => "ID block or author signature made with another key",
        (LaunchPhase::Finish, 0x07, _) => "the ID block's policy differs from `snp.policy`",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_name_phase_page_status_and_cause() {
        let error = FirmwareError {
            phase: LaunchPhase::Update,
            page: Some((0x5000, "cpuid")),
            errno: libc::EIO,
            status: 0x16,
        };
        let text = error.to_string();
        for part in
            ["SNP_LAUNCH_UPDATE", "cpuid page at 0x5000", "INVALID_PARAM (0x16)", "usual cause"]
        {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn every_status_gives_one_line_without_control_characters() {
        for status in 0..=0x40 {
            for phase in
                [LaunchPhase::Init, LaunchPhase::Start, LaunchPhase::Update, LaunchPhase::Finish]
            {
                let text = FirmwareError { phase, page: None, errno: 22, status }.to_string();
                assert!(!text.is_empty() && !text.contains('\n'), "{text}");
            }
        }
    }
}
