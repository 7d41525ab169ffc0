//! Images of disks, opened and locked before anything is decided about them.

use crate::config::Disk;
use casemate_device_block::{Image as DiskImage, ImageError, Options};
use casemate_initdata::{MAX_DISK, from_disk, host_data, to_disk};
use casemate_policy::{DeviceFact, DeviceKind as Kind, INITDATA_DISK};
use rustix::fs::{SealFlags, fcntl_get_seals};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// A disk of the configuration, open.
#[derive(Debug)]
pub(super) struct OpenDisk {
    pub(super) name: String,
    pub(super) image: DiskImage,
    /// The image as its standby has it, where there is to be one: see
    /// [`DiskImage::open_again`]. The lock is on the other.
    pub(super) standby: Option<OwnedFd>,
    /// What was opened, as the kernel names it: the policy's word is about this, not about the
    /// path that was written, which may lead through links. Or what stands for initdata.
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

/// Opens and locks every image. `launched` is HOST_DATA of a confidential guest.
///
/// # Errors
/// [`DiskError`] for the first that cannot be used.
pub(super) fn open(
    disks: &[Disk],
    launched: Option<&[u8; 32]>,
) -> Result<Vec<OpenDisk>, DiskError> {
    disks.iter().map(|disk| OpenDisk::open(disk, launched)).collect()
}

/// Whether a disk is the guest's initdata and nothing else, which is no file of the host's: bytes
/// in memory that nobody can change any more, all of them the disk of one document, and of a
/// confidential guest that document is the one that HOST_DATA is the SHA-256 of.
///
/// This asks for what the disk is and not for who made it, so no word in a configuration makes
/// another disk pass for it. Only files of memfd_create(2) can have these seals, and what is sealed
/// is the file, through whichever descriptor it was opened (fcntl(2), F_GET_SEALS).
fn is_initdata(disk: BorrowedFd<'_>, launched: Option<&[u8; 32]>) -> bool {
    let sealed = SealFlags::SEAL | SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
    if !fcntl_get_seals(disk).is_ok_and(|seals| seals.contains(sealed)) {
        return false;
    }
    let Ok(disk) = disk.try_clone_to_owned().map(File::from) else { return false };
    let Ok(size) = disk.metadata().map(|file| file.len()) else { return false };
    let Some(size) = usize::try_from(size).ok().filter(|size| *size <= MAX_DISK + 4096) else {
        return false;
    };
    let mut bytes = vec![0; size];
    if disk.read_exact_at(&mut bytes, 0).is_err() {
        return false;
    }
    let Ok(document) = from_disk(&bytes) else { return false };
    to_disk(document).is_ok_and(|whole| whole == bytes)
        && launched.is_none_or(|launched| host_data(document.as_bytes()) == *launched)
}

impl OpenDisk {
    fn open(disk: &Disk, launched: Option<&[u8; 32]>) -> Result<Self, DiskError> {
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
        let path = match is_initdata(image.file().as_fd(), launched) {
            true => Some(INITDATA_DISK.to_owned()),
            false => std::fs::read_link(link).ok().and_then(|path| path.to_str().map(String::from)),
        };
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

#[cfg(test)]
mod tests {
    use super::{is_initdata, open};
    use crate::config::{RawConfig, RawDisk};
    use casemate_initdata::{host_data, to_disk};
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::{AsFd, AsRawFd};

    const ALL: [SealFlags; 4] =
        [SealFlags::WRITE, SealFlags::GROW, SealFlags::SHRINK, SealFlags::SEAL];

    fn in_memory(bytes: &[u8], seals: &[SealFlags]) -> File {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create("casemate-initdata", flags).unwrap());
        file.write_all(bytes).unwrap();
        fcntl_add_seals(&file, seals.iter().copied().collect()).unwrap();
        file
    }

    /// Protects a policy's `initdata` from every disk that is not this guest's: the word admits a
    /// disk without a path. Cannot tell what the guest does with it.
    #[test]
    fn only_the_sealed_disk_of_the_document_launched_with_is_initdata() {
        let text = "version = \"0.1.0\"\n";
        let disk = to_disk(text).unwrap();
        let launched = host_data(text.as_bytes());
        let is = |bytes: &[u8], seals: &[SealFlags], launched| {
            is_initdata(in_memory(bytes, seals).as_fd(), launched)
        };
        assert!(is(&disk, &ALL, Some(&launched)));
        assert!(is(&disk, &ALL, None), "of an unprotected guest nothing is proven");
        assert!(!is(&disk, &ALL, Some(&[0; 32])), "another document than was launched with");
        for left_out in ALL {
            let seals: Vec<_> = ALL.into_iter().filter(|seal| *seal != left_out).collect();
            assert!(!is(&disk, &seals, Some(&launched)), "{left_out:?}");
        }
        let mut behind = disk.clone();
        *behind.last_mut().unwrap() = 1;
        let longer = [&disk[..], &[0; 4096]].concat();
        let huge = vec![0; 1 << 20];
        for other in [&behind, &longer, &huge, &b"casemate-ini".to_vec(), &Vec::new()] {
            assert!(!is(other, &ALL, Some(&launched)));
        }
        let path = std::env::temp_dir().join(format!("casemate-open-disk-{}", std::process::id()));
        std::fs::write(&path, &disk).unwrap();
        assert!(!is_initdata(File::open(&path).unwrap().as_fd(), None), "a file of the host");
        std::fs::remove_file(path).unwrap();
    }

    /// What the policy is told: the word, or the kernel's name for the file.
    #[test]
    fn a_disk_of_initdata_has_no_path_and_another_disk_in_memory_has_the_kernels_name() {
        let disk = to_disk("version = \"0.1.0\"\n").unwrap();
        for (seals, path) in [(&ALL[..], "initdata"), (&[], "/memfd:casemate-initdata (deleted)")] {
            let file = in_memory(&disk, seals);
            let raw = RawConfig {
                kernel: Some("vmlinuz".into()),
                disk: vec![RawDisk {
                    path: Some(format!("/proc/self/fd/{}", file.as_raw_fd()).into()),
                    read_only: true,
                    standby: Some(false),
                    ..RawDisk::default()
                }],
                protection: Some("none".into()),
                ..RawConfig::default()
            };
            let opened = open(&raw.validate().unwrap().disks, None).unwrap();
            assert_eq!(opened[0].fact().path, Some(path));
        }
    }
}
