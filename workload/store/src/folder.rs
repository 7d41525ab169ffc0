//! The two files of a store in a folder that is the broker's own.

use crate::{Disk, Side, StoreError};
use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Mode, OFlags, Stat, fstat, mkdir, open, openat, statat,
};
use rustix::io::Errno;
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Both files of a store, open, and no other process has them. What it needs is open from here on:
/// it names nothing again.
///
/// The lock is on a third file, and belongs to its open file description: it ends with the process,
/// however that ends.
#[derive(Debug)]
pub struct Folder {
    files: [File; 2],
    lock: File,
}

const LOCK: &str = "lock";

impl Folder {
    /// Makes the folder, if it is not there, and the files in it, and takes them.
    ///
    /// # Errors
    /// [`StoreError`] when it is another user's, open to others, or used by another process.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        match mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(opening(path, errno)),
        }
        let folder = open_folder(path)?;
        let taken = Self::take(path, &folder, OFlags::CREATE)?;
        // The names of the files are on the disk before anything that they hold.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let synced = rustix::fs::fsync(&folder).and_then(|()| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::fsync(open(parent, flags, Mode::empty())?)
        });
        synced.map_err(|errno| opening(path, errno))?;
        Ok(taken)
    }

    /// Takes the files of a store that is there.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is none; else as [`Folder::create`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = open_folder(path)?;
        // The last of its files to be made: a folder whose making was cut off has no store.
        if let Err(Errno::NOENT) = statat(&folder, Side::B.name(), AtFlags::SYMLINK_NOFOLLOW) {
            return Err(StoreError::Missing);
        }
        Self::take(path, &folder, OFlags::empty())
    }

    fn take(path: &Path, folder: &OwnedFd, more: OFlags) -> Result<Self, StoreError> {
        let lock = open_file(path, folder, LOCK, more)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Busy { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(StoreError::Open { path: path.join(LOCK), source });
            }
        }
        let [a, b] = Side::BOTH.map(|side| open_file(path, folder, side.name(), more));
        Ok(Self { files: [a?, b?], lock })
    }

    /// The files of a store that another process has taken: `a`, `b` and the one that is locked, as
    /// [`Folder::descriptors`] has them. The lock stays as long as one of the two has that open.
    #[must_use]
    pub fn received([a, b, lock]: [OwnedFd; 3]) -> Self {
        Self { files: [a.into(), b.into()], lock: lock.into() }
    }

    /// `a`, `b` and the file that is locked, for a process that is to have the store.
    #[must_use]
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        let [a, b] = &self.files;
        [a.as_fd(), b.as_fd(), self.lock.as_fd()]
    }

    fn file(&mut self, side: Side) -> &mut File {
        let [a, b] = &mut self.files;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }
}

fn opening(path: &Path, errno: Errno) -> StoreError {
    StoreError::Open { path: path.to_owned(), source: errno.into() }
}

fn open_folder(path: &Path) -> Result<OwnedFd, StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Err(StoreError::Missing),
        other => other.map_err(|errno| opening(path, errno))?,
    };
    let there = fstat(&folder).map_err(|errno| opening(path, errno))?;
    own(&there).map_err(|why| StoreError::Place { path: path.to_owned(), why })?;
    Ok(folder)
}

fn open_file(path: &Path, folder: &OwnedFd, name: &str, more: OFlags) -> Result<File, StoreError> {
    let full: PathBuf = path.join(name);
    // Looked at before it is opened: opening a device can operate it. Nobody else can write in the
    // folder, so it is the same one then.
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => {
            let why = own(&there).and_then(|()| regular(&there));
            why.map_err(|why| StoreError::Place { path: full.clone(), why })?;
        }
        Err(Errno::NOENT) if more.contains(OFlags::CREATE) => {}
        Err(errno) => return Err(opening(&full, errno)),
    }
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | more;
    let opened = openat(folder, name, flags, Mode::RUSR | Mode::WUSR);
    opened.map(File::from).map_err(|errno| opening(&full, errno))
}

fn own(there: &Stat) -> Result<(), &'static str> {
    if there.st_uid != rustix::process::geteuid().as_raw() {
        return Err("it belongs to another user: a store is the broker's own");
    }
    if there.st_mode & 0o077 != 0 {
        return Err("others than its owner may use it: take their rights away (chmod go=)");
    }
    Ok(())
}

fn regular(there: &Stat) -> Result<(), &'static str> {
    if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile {
        return Err("this is no file: a store makes its files itself");
    }
    if there.st_nlink != 1 {
        return Err("it has a second name: a store's files have one");
    }
    Ok(())
}

impl Disk for Folder {
    fn read(&mut self, side: Side, most: u64) -> io::Result<Vec<u8>> {
        let file = self.file(side);
        io::Seek::rewind(file)?;
        let length = file.metadata()?.len();
        let mut bytes = Vec::new();
        if length <= most {
            bytes.reserve_exact(usize::try_from(length).unwrap_or(0));
            file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        }
        if length > most || u64::try_from(bytes.len()).is_ok_and(|len| len > most) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn write(&mut self, side: Side, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(side).write_all_at(bytes, at)
    }

    fn reserve(&mut self, side: Side, from: u64, to: u64) -> io::Result<()> {
        // The length stays what was written: it is part of what a reader is told.
        let flags = FallocateFlags::KEEP_SIZE;
        let length = to.saturating_sub(from);
        match rustix::fs::fallocate(self.file(side), flags, from, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            done => done.map_err(io::Error::from),
        }
    }

    fn cut(&mut self, side: Side) -> io::Result<()> {
        self.file(side).set_len(0)
    }

    fn sync(&mut self, side: Side) -> io::Result<()> {
        // Of a file that has grown its length is part of what fdatasync waits for.
        self.file(side).sync_data()
    }
}
