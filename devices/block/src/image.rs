//! An image, opened and looked at before any process is made for it.

use crate::facts::{Facts, SERIAL};
use crate::lock::lock;
use casemate_foreign_text as foreign;
use casemate_sandbox::{Layers, Limits};
use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Mode, OFlags, Stat, StatxFlags, fallocate, fstat, ftruncate,
    open, seek, statx,
};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What is wanted of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// It is opened for reading only, and the device offers nothing that writes.
    pub read_only: bool,
    /// Past the host's page cache (`O_DIRECT`).
    pub direct: bool,
    /// Serial number: up to [`SERIAL`] printable ASCII characters.
    pub serial: String,
    /// Queues, each with a thread.
    pub queues: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { read_only: false, direct: false, serial: String::new(), queues: 1 }
    }
}

/// What to do about an image that cannot be opened, where there is something.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => ": `truncate -s 1G FILE` makes one that is empty",
        io::ErrorKind::PermissionDenied => ": let this user read and write it, or use another one",
        _ => "",
    }
}

/// Why an image cannot be used. Each message names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It cannot be opened.
    #[error("disk image {}: {source}{}", shown(path), remedy(source))]
    Open {
        /// The image, as it was named.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It cannot be written to, and nobody said that it need not.
    #[error(
        "disk image {} is not writable ({reason}): say read_only, or change its mode",
        shown(path)
    )]
    NotWritable {
        /// The image, as it was named.
        path: PathBuf,
        /// What the kernel said to opening it for writing.
        reason: io::Error,
    },
    /// It is neither a file nor a block device.
    #[error("disk image {} is {what}, not a file or a block device", shown(path))]
    Kind {
        /// The image, as it was named.
        path: PathBuf,
        /// The kind of file it is instead.
        what: &'static str,
    },
    /// It holds no sector.
    #[error("disk image {} is empty: give it a size (`truncate -s 1G`)", shown(path))]
    Empty {
        /// The image, as it was named.
        path: PathBuf,
    },
    /// It is not a whole number of blocks.
    #[error(
        "disk image {} has {bytes} bytes, which is not a multiple of {block}: \
         lengthen it (`truncate -s %{block}`)",
        shown(path)
    )]
    OddSize {
        /// The image, as it was named.
        path: PathBuf,
        /// How long it is.
        bytes: u64,
        /// Bytes of a block.
        block: u32,
    },
    /// It is larger than any disk.
    #[error("disk image {} has {bytes} bytes: more than a disk can have", shown(path))]
    TooLarge {
        /// The image, as it was named.
        path: PathBuf,
        /// How long it is.
        bytes: u64,
    },
    /// Another VM has it.
    #[error(
        "disk image {} is in use by another VM (it is locked): end that one, or use another image",
        shown(path)
    )]
    Locked {
        /// The image, as it was named.
        path: PathBuf,
    },
    /// Readers have it.
    #[error(
        "disk image {} is locked by a program that reads it, which any user who may read it can run: end that one, \
         or take the disk read-only; let only its owner read it (chmod 600)",
        shown(path)
    )]
    Read {
        /// The file.
        path: PathBuf,
    },
    /// Its file system cannot lock.
    #[error("disk image {} cannot be locked against a second VM: {source}", shown(path))]
    Lock {
        /// The image, as it was named.
        path: PathBuf,
        /// What the kernel said to locking it.
        #[source]
        source: io::Error,
    },
    /// It cannot be read past the page cache.
    #[error(
        "disk image {}: its file system has no direct I/O ({why}): leave `direct` out",
        shown(path)
    )]
    NoDirect {
        /// The image, as it was named.
        path: PathBuf,
        /// What of direct I/O its file system lacks.
        why: &'static str,
    },
    /// The serial number is too long, or not printable.
    #[error(
        "serial number {} of disk image {}: at most {SERIAL} printable ASCII characters",
        foreign::value(serial),
        shown(path)
    )]
    Serial {
        /// The image that would have it.
        path: PathBuf,
        /// The number as it was given.
        serial: String,
    },
}

fn shown(path: &Path) -> impl std::fmt::Display {
    foreign::value(path.display().to_string())
}

/// An image: open, of a known size, locked against a second VM.
#[derive(Debug)]
pub struct Image {
    file: OwnedFd,
    facts: Facts,
}

impl Image {
    /// Opens an image and looks at what was opened.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn open(path: &Path, options: &Options) -> Result<Self, ImageError> {
        let serial = serial(&options.serial).ok_or_else(|| ImageError::Serial {
            path: path.into(),
            serial: options.serial.clone(),
        })?;
        let file = open_file(path, options)?;
        let stat = fstat(&file).map_err(|e| failed(path, e))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if let Some(what) = no_image(kind) {
            return Err(ImageError::Kind { path: path.into(), what });
        }
        lock(&file, !options.read_only).map_err(|source| match source.kind() {
            // Who writes keeps readers out, too: where those are let in, nobody writes.
            io::ErrorKind::WouldBlock if !options.read_only && lock(&file, false).is_ok() => {
                ImageError::Read { path: path.into() }
            }
            io::ErrorKind::WouldBlock => ImageError::Locked { path: path.into() },
            _ => ImageError::Lock { path: path.into(), source },
        })?;
        let block_size = if options.direct { direct_block(path, &file)? } else { 512 };
        let bytes = size(path, &file, kind, &stat)?;
        let sectors = sectors(path, bytes, block_size)?;
        let writable = !options.read_only;
        let is_file = kind == FileType::RegularFile;
        let facts = Facts {
            sectors,
            block_size,
            queues: options.queues,
            read_only: options.read_only,
            direct: options.direct,
            // A block device that cannot says so when it is asked; both calls are the kernel's for
            // any of them (blkdev_fallocate).
            discard: writable && (!is_file || can(&file, bytes, PUNCH)),
            write_zeroes: writable && (!is_file || can(&file, bytes, ZERO)),
            serial,
        };
        Ok(Self { file, facts })
    }

    /// The open file: what the device process is given. Its lock lasts until the last copy is
    /// closed.
    #[must_use]
    pub const fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// What the device will say of itself.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The same image, opened once more: another open file description, which no lock is on. `path`
    /// is how the image was named, for errors.
    ///
    /// A write-back that fails is told once to each open file description, by the next fsync
    /// through it (`errseq_check_and_advance`, from `file_check_and_advance_wb_err` in
    /// mm/filemap.c). So whoever takes the image over from a process that may have been told, and
    /// has died of it, needs one of its own: one that was opened before the other served.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn open_again(&self, path: &Path) -> Result<OwnedFd, ImageError> {
        let failed = |e: Errno| failed(path, e);
        // What is open is meant, whatever is at its path by now.
        let link = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let flags = flags(self.facts.read_only, self.facts.direct);
        let again = open(link, flags, Mode::empty()).map_err(failed)?;
        let of = |file: &OwnedFd| fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
        if of(&again).map_err(failed)? != of(&self.file).map_err(failed)? {
            return Err(failed(Errno::STALE));
        }
        Ok(again)
    }

    /// The open image, to be given to its process, and what is known of it.
    #[must_use]
    pub fn into_parts(self) -> (OwnedFd, Facts) {
        (self.file, self.facts)
    }
}

/// Makes a hole, and leaves the file as long as it is.
const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);
/// Zeros that have their place on the disk.
const ZERO: FallocateFlags = FallocateFlags::ZERO_RANGE.union(FallocateFlags::KEEP_SIZE);

fn failed(path: &Path, e: impl Into<io::Error>) -> ImageError {
    ImageError::Open { path: path.into(), source: e.into() }
}

fn flags(read_only: bool, direct: bool) -> OFlags {
    let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
    // NONBLOCK: opening a FIFO must not wait for its other end. It means nothing to files and block
    // devices.
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    if direct { flags | OFlags::DIRECT } else { flags }
}

fn open_file(path: &Path, options: &Options) -> Result<OwnedFd, ImageError> {
    open(path, flags(options.read_only, options.direct), Mode::empty()).map_err(|e| match e {
        Errno::ACCESS | Errno::PERM | Errno::ROFS if !options.read_only => {
            ImageError::NotWritable { path: path.into(), reason: e.into() }
        }
        Errno::ISDIR => ImageError::Kind { path: path.into(), what: "a directory" },
        Errno::INVAL if options.direct => {
            ImageError::NoDirect { path: path.into(), why: "open refuses O_DIRECT" }
        }
        e => failed(path, e),
    })
}

/// What a thing is that is no image.
const fn no_image(kind: FileType) -> Option<&'static str> {
    match kind {
        FileType::RegularFile | FileType::BlockDevice => None,
        FileType::Directory => Some("a directory"),
        FileType::Fifo => Some("a FIFO"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice => Some("a character device"),
        _ => Some("something else"),
    }
}

/// What direct reads and writes must be aligned to, where it is a block that a disk can have.
fn direct_block(path: &Path, file: &OwnedFd) -> Result<u32, ImageError> {
    let no = |why| ImageError::NoDirect { path: path.into(), why };
    let found =
        statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).map_err(|e| failed(path, e))?;
    if found.stx_mask & StatxFlags::DIOALIGN.bits() == 0 || found.stx_dio_offset_align == 0 {
        return Err(no("statx does not know an alignment"));
    }
    // A driver's buffers are aligned to 512 bytes at least; more cannot be asked of it.
    match (found.stx_dio_mem_align, found.stx_dio_offset_align) {
        (..=512, ..=512) => Ok(512),
        (..=4096, ..=4096) => Ok(4096),
        _ => Err(no("its alignment is more than 4096 bytes")),
    }
}

fn size(path: &Path, file: &OwnedFd, kind: FileType, stat: &Stat) -> Result<u64, ImageError> {
    if kind == FileType::RegularFile {
        return u64::try_from(stat.st_size).map_err(|e| failed(path, io::Error::other(e)));
    }
    // A block device's size is where its end is (lseek(2)).
    seek(file, rustix::fs::SeekFrom::End(0)).map_err(|e| failed(path, e))
}

fn sectors(path: &Path, bytes: u64, block: u32) -> Result<u64, ImageError> {
    let path = PathBuf::from(path);
    match bytes {
        0 => Err(ImageError::Empty { path }),
        _ if !bytes.is_multiple_of(block.into()) => Err(ImageError::OddSize { path, bytes, block }),
        // preadv takes an offset of 63 bits.
        _ if i64::try_from(bytes).is_err() => Err(ImageError::TooLarge { path, bytes }),
        _ => Ok(bytes / 512),
    }
}

/// The serial number of this text, filled up with zeros; None where it is too long, or holds what
/// is no printable ASCII character.
#[must_use]
pub fn serial(text: &str) -> Option<[u8; SERIAL]> {
    let mut serial = [0; SERIAL];
    let fits = text.len() <= SERIAL && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| serial.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from))?;
    Some(serial)
}

/// Whether a file can do it: tried just behind its end, where there is nothing to lose. Zeros leave
/// a block there, which setting the size that it has gives back; a hole would not, since ext4 makes
/// none behind the end (`ext4_punch_hole`).
fn can(file: &OwnedFd, bytes: u64, what: FallocateFlags) -> bool {
    let able = fallocate(file, what, bytes.next_multiple_of(4096), 4096).is_ok();
    if able && what == ZERO {
        let _ = ftruncate(file, bytes);
    }
    able
}

/// The layers of a block device's process: all of them, and files do not grow beyond the image.
#[must_use]
pub fn layers(name: &str, facts: &Facts) -> Layers {
    let limits = Limits { file_size: Some(facts.bytes()), ..Limits::NO_CORE };
    Layers::new(name).limits(limits)
}
