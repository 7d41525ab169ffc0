//! A report of the security processor, by configfs-tsm (Documentation/ABI/testing/configfs-tsm of
//! Linux): for PID 1 alone. It is mounted for the one report and gone behind it, since a workload
//! that found it could speak as PID 1.

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::{create_dir, read, read_to_string, remove_dir, write};
use std::io::{Error, ErrorKind, Result};

const CONFIGFS: &str = "/sys/kernel/config";
const REPORTS: &str = "/sys/kernel/config/tsm/report";
const OURS: &str = "/sys/kernel/config/tsm/report/casemate";
/// The one provider whose reports mean anything to a verifier of SEV-SNP.
const PROVIDER: &str = "sev_guest";

/// A report with this REPORT_DATA, and behind it the certificates that the host has for it. No byte
/// in a guest that has no security processor: there is nothing to prove then, and whoever opens the
/// result is told so.
///
/// # Errors
/// Where there is one and it gives no report.
pub fn report(data: &[u8; 64]) -> Result<Vec<u8>> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount("configfs", CONFIGFS, "configfs", flags, None) {
        Ok(()) | Err(Errno::BUSY) => {}
        // Not in this kernel, and no module of it loaded.
        Err(Errno::NODEV | Errno::NOENT) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    }
    let report = mounted(data);
    let _ = remove_dir(OURS);
    unmount(CONFIGFS, UnmountFlags::DETACH)?;
    report
}

fn mounted(data: &[u8; 64]) -> Result<Vec<u8>> {
    if !std::path::Path::new(REPORTS).exists() {
        return Ok(Vec::new());
    }
    match create_dir(OURS) {
        Ok(()) => {}
        // No provider: not a confidential guest.
        Err(e) if e.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    }
    let file = |name: &str| format!("{OURS}/{name}");
    let number = || read_to_string(file("generation"));
    if read_to_string(file("provider"))?.trim_end() != PROVIDER {
        return Err(Error::new(ErrorKind::Unsupported, "reports are not SEV-SNP's"));
    }
    write(file("inblob"), data)?;
    let before = number()?;
    let mut report = read(file("outblob"))?;
    // Linux 6.12 has no certificates of the host; reading none is an error or nothing.
    report.extend(read(file("auxblob")).unwrap_or_default());
    if number()? != before {
        return Err(Error::other("somebody else asked for a report meanwhile"));
    }
    Ok(report)
}
