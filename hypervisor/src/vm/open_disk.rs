//! Images of disks, opened and locked before anything is decided about them.

use crate::config::Disk;
use casemate_device_block::{Image as DiskImage, ImageError, Options};
use casemate_policy::{DeviceFact, DeviceKind as Kind};
use std::os::fd::{AsRawFd, OwnedFd};

/// A disk of the configuration, open.
#[derive(Debug)]
pub(super) struct OpenDisk {
    pub(super) name: String,
    pub(super) image: DiskImage,
    /// The image as its standby has it, where there is to be one: see
    /// [`DiskImage::open_again`]. The lock is on the other.
    pub(super) standby: Option<OwnedFd>,
    /// What was opened, as the kernel names it: the policy's word is about this, not about the
    /// path that was written, which may lead through links.
    path: String,
}

/// A disk whose image cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("disk `{name}`: {source}")]
pub struct DiskError {
    name: String,
    #[source]
    source: ImageError,
}

/// Opens and locks every image.
///
/// # Errors
/// [`DiskError`] for the first that cannot be used.
pub(super) fn open(disks: &[Disk]) -> Result<Vec<OpenDisk>, DiskError> {
    disks.iter().map(OpenDisk::open).collect()
}

impl OpenDisk {
    fn open(disk: &Disk) -> Result<Self, DiskError> {
        let options = Options {
            read_only: disk.read_only,
            direct: disk.direct,
            serial: disk.serial.clone(),
            queues: disk.queues,
        };
        let name = disk.name.clone();
        let wrong = |source| DiskError { name: name.clone(), source };
        let image = DiskImage::open(&disk.path, &options).map_err(wrong)?;
        let again = || image.open_again(&disk.path).map_err(wrong);
        let standby = disk.standby.then(again).transpose()?;
        // A path that is no text, or that nobody can tell, is an empty one: no rule but `any`
        // admits it.
        let link = format!("/proc/self/fd/{}", image.file().as_raw_fd());
        let path = std::fs::read_link(link).ok().and_then(|path| path.to_str().map(String::from));
        let (name, path) = (disk.name.clone(), path.unwrap_or_default());
        Ok(Self { name, image, standby, path })
    }

    /// What the policy is told.
    pub(super) fn fact(&self) -> DeviceFact<'_> {
        DeviceFact {
            kind: Kind::Block,
            path: Some(&self.path),
            read_only: self.image.facts().read_only,
            foreign: false,
            queues: self.image.facts().queues.into(),
        }
    }

    /// Its size in MiB, a begun one counted.
    pub(super) fn mib(&self) -> u64 {
        self.image.facts().bytes().div_ceil(1 << 20)
    }
}
