//! Opening what a VM needs from the host, with errors that say what to do.

use crate::config::VmConfig;
use crate::launch::linux::Files;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest kernel or initrd.
const MAX_FILE: u64 = 4 << 30;

/// Why something cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file that the configuration names.
    #[error("`{field}`: cannot read {path}: {source}")]
    File {
        /// The key.
        field: &'static str,
        /// The path.
        path: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A file too large for a guest.
    #[error("`{field}`: {path} is larger than {} GiB", MAX_FILE >> 30)]
    TooLarge {
        /// The key.
        field: &'static str,
        /// The path.
        path: String,
    },
    /// More memory than the host has.
    #[error("`memory`: {asked} MiB are more than the host's {host} MiB: ask for less")]
    Memory {
        /// MiB.
        asked: u64,
        /// MiB.
        host: u64,
    },
    /// No KVM.
    #[error("/dev/kvm is not there: this machine has no KVM (see `casemate host`)")]
    NoKvm,
    /// KVM is not for us.
    #[error("/dev/kvm may not be opened by this user: add it to the group that owns the device")]
    KvmPermission,
    /// Another trouble with KVM.
    #[error("cannot open /dev/kvm: {0}")]
    Kvm(#[source] io::Error),
}

impl OpenError {
    /// Whether the user's input is at fault, not the host.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Self::File { .. } | Self::TooLarge { .. } | Self::Memory { .. })
    }
}

/// Opens /dev/kvm.
///
/// # Errors
/// [`OpenError`].
pub fn dev_kvm() -> Result<File, OpenError> {
    File::options().read(true).write(true).open("/dev/kvm").map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => OpenError::NoKvm,
        io::ErrorKind::PermissionDenied => OpenError::KvmPermission,
        _ => OpenError::Kvm(e),
    })
}

/// Opens /dev/sev for launch commands; reading is all that KVM asks of it.
///
/// # Errors
/// The kernel's reason.
pub fn dev_sev() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/sev").or_else(|e| match e.kind() {
        io::ErrorKind::PermissionDenied => File::open("/dev/sev"),
        _ => Err(e),
    })
}

/// Reads kernel and initrd.
///
/// # Errors
/// [`OpenError`].
pub fn files(config: &VmConfig) -> Result<Files, OpenError> {
    let kernel = read("kernel", &config.kernel)?;
    let initrd = config.initrd.as_deref().map(|path| read("initrd", path)).transpose()?;
    Ok(Files { kernel, initrd })
}

fn read(field: &'static str, path: &Path) -> Result<Vec<u8>, OpenError> {
    let path_text = || path.display().to_string();
    let wrong = |source| OpenError::File { field, path: path_text(), source };
    let file = File::open(path).map_err(wrong)?;
    let meta = file.metadata().map_err(wrong)?;
    if !meta.is_file() {
        return Err(wrong(io::Error::other("it is not a file")));
    }
    let mut bytes = Vec::new();
    let size = usize::try_from(meta.len().min(MAX_FILE)).unwrap_or(0);
    bytes.try_reserve_exact(size).map_err(|_| wrong(io::ErrorKind::OutOfMemory.into()))?;
    // A file that grows meanwhile must not be read for ever.
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(OpenError::TooLarge { field, path: path_text() });
    }
    Ok(bytes)
}

/// Checks that the host has as much memory as the guest is to get.
///
/// # Errors
/// [`OpenError::Memory`].
pub fn check_memory(asked: u64) -> Result<(), OpenError> {
    let info = rustix::system::sysinfo();
    let host = info.totalram.saturating_mul(u64::from(info.mem_unit));
    if asked > host {
        return Err(OpenError::Memory { asked: asked >> 20, host: host >> 20 });
    }
    Ok(())
}
