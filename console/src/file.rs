//! A console file of a bounded size.
//!
//! A guest writes as much as it likes, so the file is set aside once it is full: its content goes
//! to `PATH.1`, in place of what was there, and the file begins anew. Both are open from the start,
//! since a locked process opens and renames nothing; so the content is copied, first whole, then
//! the file is cut. Whoever is killed in between leaves bytes twice, never not at all.

use super::error::ConsoleError;
use rustix::fs::{FileType, Mode, OFlags, fstat, ftruncate};
use rustix::io::{Errno, pread, pwrite, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Bytes that are copied at a time.
const COPY: usize = 16 * 1024;
/// How often, before whoever stays with the VM looks at something else: a file may be of any size,
/// and times and signals do not wait for its copy.
const COPIES: usize = 16;

/// How far a file was set aside.
#[derive(Debug, Clone, Copy)]
struct Copied {
    from: u64,
    to: u64,
}

/// A file that never grows beyond its limit, and the one before it.
#[derive(Debug)]
pub struct BoundedFile {
    path: PathBuf,
    file: OwnedFd,
    before: OwnedFd,
    size: u64,
    limit: u64,
    /// It is full, and its content on its way.
    copied: Option<Copied>,
}

impl BoundedFile {
    /// Opens the file, to append to it, and `PATH.1`; makes those that are not there.
    ///
    /// # Errors
    /// [`ConsoleError`]; what is no regular file is refused.
    pub fn open(path: &Path, limit: u64) -> Result<Self, ConsoleError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND;
        let (file, size) = open_regular(path, flags)?;
        let name = Self::set_aside_as(path);
        // This name is ours, not the user's: a link that somebody planted there is not followed.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
        let (before, _) = open_regular(&name, flags)?;
        Ok(Self { path: path.to_owned(), file, before, size, limit, copied: None })
    }

    /// Where a full file goes.
    #[must_use]
    pub fn set_aside_as(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".1");
        name.into()
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Both descriptors: of the file, and of the one before it.
    #[must_use]
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.file.as_fd(), self.before.as_fd()]
    }

    /// To how many bytes each of them can grow.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Appends what fits. A file in which nothing does is first set aside, a piece at each call;
    /// until that is done nothing is appended, and `None` says so.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn write(&mut self, bytes: &[u8]) -> Result<Option<usize>, Errno> {
        if self.size >= self.limit && !self.set_aside()? {
            return Ok(None);
        }
        let room = usize::try_from(self.limit - self.size.min(self.limit)).unwrap_or(usize::MAX);
        let bytes = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
        let written = write(&self.file, bytes)?;
        self.size = self.size.saturating_add(written as u64);
        Ok(Some(written))
    }

    /// Copies some of it; true when that was the last.
    fn set_aside(&mut self) -> Result<bool, Errno> {
        let mut buffer = [0; COPY];
        let mut copied = match self.copied {
            Some(copied) => copied,
            None => {
                ftruncate(&self.before, 0)?;
                // A file that was there before and is larger keeps its newest bytes.
                Copied { from: self.size.saturating_sub(self.limit), to: 0 }
            }
        };
        for _ in 0..COPIES {
            let read = pread(&self.file, &mut buffer[..], copied.from)?;
            if read == 0 {
                ftruncate(&self.file, 0)?;
                (self.size, self.copied) = (0, None);
                return Ok(true);
            }
            let mut rest = buffer.get(..read).unwrap_or(&[]);
            while !rest.is_empty() {
                let written = pwrite(&self.before, rest, copied.to)?;
                copied.to += written as u64;
                rest = rest.get(written.max(1)..).unwrap_or(&[]);
            }
            copied.from += read as u64;
            self.copied = Some(copied);
        }
        Ok(false)
    }
}

impl AsFd for BoundedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Opens a regular file, and nothing else: a FIFO would wait for its reader, a device would be
/// operated. What is there is looked at before it is opened for writing, and again afterwards.
fn open_regular(path: &Path, flags: OFlags) -> Result<(OwnedFd, u64), ConsoleError> {
    let wrong = |source: std::io::Error| ConsoleError::File { path: path.to_owned(), source };
    let refuse = |mode| {
        let kind = match FileType::from_raw_mode(mode) {
            FileType::RegularFile => return Ok(()),
            FileType::Fifo => "a FIFO",
            FileType::Directory => "a directory",
            FileType::Socket => "a socket",
            FileType::Symlink => "a symbolic link",
            _ => "a device",
        };
        Err(wrong(std::io::Error::other(format!("it is {kind}, not a file"))))
    };
    let there = if flags.contains(OFlags::NOFOLLOW) {
        rustix::fs::lstat(path)
    } else {
        rustix::fs::stat(path)
    };
    match there {
        Ok(there) => refuse(there.st_mode)?,
        Err(Errno::NOENT) => {}
        Err(e) => return Err(wrong(e.into())),
    }
    // Somebody may have replaced it meanwhile, so opening does not wait either.
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file =
        rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)).map_err(|e| wrong(e.into()))?;
    let stat = fstat(&file).map_err(|e| wrong(e.into()))?;
    refuse(stat.st_mode)?;
    Ok((file, u64::try_from(stat.st_size).unwrap_or(0)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::BoundedFile;
    use std::fs;
    use std::path::PathBuf;

    struct Place(PathBuf);
    impl Place {
        fn new(test: &str) -> Self {
            let name = format!("casemate-console-{test}-{}", std::process::id());
            let place = std::env::temp_dir().join(name);
            fs::create_dir_all(&place).unwrap();
            Self(place)
        }
    }
    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn write_all(file: &mut BoundedFile, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let written = file.write(bytes).unwrap();
            bytes = &bytes[written.unwrap_or(0)..];
        }
    }

    /// Protects the disk: however much a guest writes, two files of the limit are all. Cannot tell
    /// what a file system needs beside them.
    #[test]
    fn a_guest_that_writes_without_end_fills_two_files_with_its_newest_bytes() {
        let place = Place::new("limit");
        let path = place.0.join("log");
        let mut file = BoundedFile::open(&path, 10_000).unwrap();
        let bytes: Vec<u8> = (0..=248).cycle().take(35_000).collect();
        bytes.chunks(777).for_each(|chunk| write_all(&mut file, chunk));
        let (before, now) = (fs::read(place.0.join("log.1")).unwrap(), fs::read(&path).unwrap());
        assert_eq!((before.len(), now.len()), (10_000, 5_000));
        assert!([before, now].concat() == bytes[20_000..]);
    }

    /// Protects times and signals from a file that takes long to copy: no call copies more than a
    /// piece, however large the file is, and every byte arrives.
    #[test]
    fn a_large_file_is_set_aside_a_piece_at_a_time() {
        let place = Place::new("pieces");
        let path = place.0.join("log");
        let old: Vec<u8> = (0..=250).cycle().take(3 * super::COPY * super::COPIES + 1).collect();
        fs::write(&path, &old).unwrap();
        let mut file = BoundedFile::open(&path, old.len() as u64).unwrap();
        let mut calls = 0;
        while file.write(b"new").unwrap().is_none() {
            calls += 1;
            let copied = fs::metadata(place.0.join("log.1")).unwrap().len();
            assert!(copied <= (calls * super::COPY * super::COPIES) as u64);
        }
        assert_eq!(calls, 3);
        assert!(fs::read(place.0.join("log.1")).unwrap() == old);
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_file_that_was_there_is_appended_to_and_keeps_its_newest_bytes() {
        let place = Place::new("append");
        let path = place.0.join("log");
        fs::write(&path, "0123456789").unwrap();
        let mut file = BoundedFile::open(&path, 4).unwrap();
        write_all(&mut file, b"ab");
        assert_eq!(fs::read(place.0.join("log.1")).unwrap(), b"6789");
        assert_eq!(fs::read(&path).unwrap(), b"ab");
    }

    #[test]
    fn what_is_no_file_is_refused_and_a_planted_link_is_not_followed() {
        let place = Place::new("kinds");
        let open = |name: &str| {
            let error = BoundedFile::open(&place.0.join(name), 4096).unwrap_err();
            error.to_string()
        };
        let fifo = place.0.join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
        assert!(open("fifo").contains("a FIFO, not a file"), "{}", open("fifo"));
        assert!(open("").contains("a directory"));
        assert!(BoundedFile::open(std::path::Path::new("/dev/zero"), 4096).is_err());
        let kept = place.0.join("kept");
        fs::write(&kept, "kept").unwrap();
        std::os::unix::fs::symlink(&kept, place.0.join("log.1")).unwrap();
        assert!(open("log").contains("symbolic link"), "{}", open("log"));
        assert_eq!(fs::read(&kept).unwrap(), b"kept");
    }
}
