//! What the security processor's firmware says of itself, by /dev/sev: SNP_PLATFORM_STATUS and
//! GET_ID2.
//!
//! Structures and numbers: Linux `include/uapi/linux/psp-sev.h`; meanings: SEV-SNP Firmware ABI
//! Specification (AMD 56860), SNP_PLATFORM_STATUS. The structures are ours, not the crate `sev`'s,
//! whose feature `snp` brings certificates and elliptic curves along for two ioctls. Tried in the
//! virtual SNP host, a MODEL, which has no GET_ID2.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `SEV_ISSUE_CMD`: `_IOWR('S', 0x0, struct sev_issue_cmd)` of 16 bytes.
const SEV_ISSUE_CMD: u32 = 0xc010_5300;
const SEV_GET_ID2: u32 = 8;
const SNP_PLATFORM_STATUS: u32 = 9;
/// `state` of a platform that SNP_INIT has initialised.
const INITIALISED: u8 = 1;
/// `ALIAS_CHECK_COMPLETE` beside `IS_RMP_INIT`: since its last reset the platform has looked for
/// addresses that lead to the same memory. Firmware that does not know of the check leaves it zero.
const ALIASES_CHECKED: u8 = 2;
/// Length of the identifier of one chip.
const ID: usize = 64;

/// `struct sev_issue_cmd` of linux/psp-sev.h, which is packed.
#[repr(C, packed)]
struct Command {
    command: u32,
    data: u64,
    error: u32,
}

/// `struct sev_user_data_snp_status` of linux/psp-sev.h.
#[repr(C, packed)]
#[derive(Default)]
struct Status {
    api_major: u8,
    api_minor: u8,
    state: u8,
    rmp: u8,
    build: u32,
    flags: u32,
    guests: u32,
    current_tcb: [u8; 8],
    reported_tcb: [u8; 8],
}

/// `struct sev_user_data_get_id2` of linux/psp-sev.h.
#[repr(C, packed)]
struct GetId2 {
    address: u64,
    length: u32,
}

/// The platform as its firmware reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnpPlatform {
    /// Whether SNP is initialised.
    pub initialised: bool,
    /// Whether memory was checked for aliases; not so where the firmware does not report it.
    pub aliases_checked: bool,
    /// API version: major, minor.
    pub api: (u8, u8),
    /// Build of the firmware.
    pub build: u32,
    /// The TCB that reports are signed under. The firmware keeps it at or below the committed one
    /// (SNP_SET_CONFIG), so what holds for it holds for that.
    pub reported_tcb: [u8; 8],
    /// The chip's identifier, where there is one chip and the kernel gives it.
    pub chip: Option<[u8; ID]>,
}

/// Asks the platform; `None` where there is no /dev/sev.
///
/// # Errors
/// The kernel's reason: no permission, or a kernel without the command.
pub fn snp_platform() -> io::Result<Option<SnpPlatform>> {
    let dev_sev = match File::open("/dev/sev") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut status = Status::default();
    issue(&dev_sev, SNP_PLATFORM_STATUS, (&raw mut status) as u64)?;
    Ok(Some(SnpPlatform {
        initialised: status.state == INITIALISED,
        aliases_checked: status.rmp & ALIASES_CHECKED != 0,
        api: (status.api_major, status.api_minor),
        build: status.build,
        reported_tcb: status.reported_tcb,
        chip: chip(&dev_sev),
    }))
}

/// The identifier of the only chip: GET_ID gives one of each socket, and which of two a guest will
/// run on nobody knows.
fn chip(dev_sev: &File) -> Option<[u8; ID]> {
    let mut ids = [0u8; 2 * ID];
    let length = u32::try_from(ids.len()).unwrap_or(0);
    let mut get = GetId2 { address: ids.as_mut_ptr() as u64, length };
    issue(dev_sev, SEV_GET_ID2, (&raw mut get) as u64).ok()?;
    let (first, second) = ids.split_first_chunk::<ID>()?;
    let is_set = |id: &[u8]| id.iter().any(|byte| *byte != 0);
    (is_set(first) && !is_set(second)).then_some(*first)
}

fn issue(dev_sev: &File, command: u32, data: u64) -> io::Result<()> {
    let request = SEV_ISSUE_CMD as libc::Ioctl;
    let mut command = Command { command, data, error: 0 };
    // SAFETY: the kernel reads and writes the command, and at `data` the structure of that command,
    // which the callers in this file own and which outlives the call. For GET_ID2 it also writes at
    // most `length` bytes at `address`, which is an array of that length of the caller's.
    let result = unsafe { libc::ioctl(dev_sev.as_raw_fd(), request, &raw mut command) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::{Command, GetId2, Status};

    /// The kernel's sizes. Cannot tell whether the members are where the kernel has them: the test
    /// in the virtual SNP host reads a version through them.
    #[test]
    fn structures_have_the_kernels_sizes() {
        let sizes = [size_of::<Command>(), size_of::<Status>(), size_of::<GetId2>()];
        assert_eq!(sizes, [16, 32, 12]);
    }
}
