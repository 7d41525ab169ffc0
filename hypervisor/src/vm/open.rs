//! Opening what a VM needs from the host, with errors that say what to do.

use crate::config::VmConfig;
use crate::launch::Outline;
use crate::launch::linux::Files;
use casemate_files::FileError;
use casemate_foreign_text::value;
use ring::digest::{Context, SHA256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest kernel or initrd.
const MAX_FILE: u64 = 4 << 30;

/// Why something cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file that the configuration names, and why it cannot be read.
    #[error("`{field}`: {source}")]
    File {
        /// The key of the configuration that names it.
        field: &'static str,
        /// The reason, with the path.
        #[source]
        source: FileError,
    },
    /// Reading it failed after it was opened.
    #[error("`{field}`: cannot read {}: {source}", value(path))]
    Read {
        /// The key of the configuration that names it.
        field: &'static str,
        /// The file as it was named.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file too large for a guest.
    #[error("`{field}`: {} is larger than {} GiB", value(path), MAX_FILE >> 30)]
    TooLarge {
        /// The key of the configuration that names it.
        field: &'static str,
        /// The file as it was named.
        path: String,
    },
    /// More memory than the host has.
    #[error(
        "`memory`: {asked} MiB are more than the host's {host} MiB: ask for less (a number alone is MiB)"
    )]
    Memory {
        /// MiB that the VM is to have.
        asked: u64,
        /// MiB that this host has.
        host: u64,
    },
    /// This machine has no KVM, or no driver for it.
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
        matches!(
            self,
            Self::File { .. } | Self::Read { .. } | Self::TooLarge { .. } | Self::Memory { .. }
        )
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

/// Reads the kernel, and of the initrd only what measuring needs: it is hashed as it is read.
///
/// # Errors
/// [`OpenError`].
pub fn outline(config: &VmConfig) -> Result<(Vec<u8>, Option<Outline>), OpenError> {
    let kernel = read("kernel", &config.kernel)?;
    let initrd = config.initrd.as_deref().map(|path| hash("initrd", path)).transpose()?;
    Ok((kernel, initrd))
}

/// An open file of the configuration.
struct Source<'a> {
    field: &'static str,
    path: &'a Path,
    file: File,
    size: u64,
}

impl<'a> Source<'a> {
    fn open(field: &'static str, path: &'a Path) -> Result<Self, OpenError> {
        // A FIFO or a device would be waited for or read without end: what was opened is a file.
        let wrong = |source| OpenError::File { field, source };
        let file = casemate_files::open(path).map_err(wrong)?;
        let size = file.metadata().map_err(|source| OpenError::Read {
            field,
            path: path.display().to_string(),
            source,
        });
        let source = Self { field, path, size: size?.len(), file };
        // What says that it is too large is not read to find out.
        source.check(source.size)?;
        Ok(source)
    }

    fn wrong(&self, source: io::Error) -> OpenError {
        OpenError::Read { field: self.field, path: self.path.display().to_string(), source }
    }

    /// `size` is what was read: a file that grows meanwhile is not read for ever.
    fn check(&self, size: u64) -> Result<(), OpenError> {
        if size <= MAX_FILE {
            return Ok(());
        }
        Err(OpenError::TooLarge { field: self.field, path: self.path.display().to_string() })
    }
}

fn read(field: &'static str, path: &Path) -> Result<Vec<u8>, OpenError> {
    let source = Source::open(field, path)?;
    let mut bytes = Vec::new();
    let size = usize::try_from(source.size.min(MAX_FILE)).unwrap_or(0);
    bytes.try_reserve_exact(size).map_err(|_| source.wrong(io::ErrorKind::OutOfMemory.into()))?;
    (&source.file).take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| source.wrong(e))?;
    source.check(bytes.len() as u64)?;
    Ok(bytes)
}

/// Read at a time: stays in the processor's cache until it is hashed.
const CHUNK: usize = 256 * 1024;

fn hash(field: &'static str, path: &Path) -> Result<Outline, OpenError> {
    let source = Source::open(field, path)?;
    let (mut context, mut size, mut chunk) = (Context::new(&SHA256), 0, vec![0; CHUNK]);
    loop {
        let len = match (&source.file).read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => len,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(source.wrong(e)),
        };
        context.update(chunk.get(..len).unwrap_or(&[]));
        size += len as u64;
        source.check(size)?;
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(context.finish().as_ref());
    Ok(Outline { size, sha256 })
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
