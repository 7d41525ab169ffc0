//! Reading: a regular file within a bound, or what a user meant by a path on a command line.

use crate::error::{FileError, Kind};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What may be found under a path besides a regular file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meant {
    /// A regular file and nothing else.
    File,
    /// A regular file, or `/dev/null`.
    Input,
    /// Either of these, or a pipe.
    Descriptor,
}

/// Whether it is `/dev/null`, whatever its path. Source: Documentation/admin-guide/devices.txt.
fn is_null(there: &Stat) -> bool {
    (rustix::fs::major(there.st_rdev), rustix::fs::minor(there.st_rdev)) == (1, 3)
}

/// Opens a regular file for reading. Links are followed; what they lead to is what counts.
///
/// # Errors [`FileError::Unfit`] for anything but a regular file, at once: a FIFO without a writer
/// is not waited for.
pub fn open(path: &Path) -> Result<File, FileError> {
    open_as(path, Meant::File)
}

/// The bytes of a regular file of at most `limit` bytes.
///
/// # Errors As [`open`]; [`FileError::TooLarge`] after `limit` bytes and one more, which are not
/// kept.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    whole(open(path)?, path, limit)
}

/// The text of a regular file of at most `limit` bytes.
///
/// # Errors As [`read`]; [`FileError::NotText`] for what is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    text(read(path, limit)?, path)
}

/// The bytes of what a user names: a regular file; `/dev/null`, which is an empty one; `-` for
/// standard input; a pipe that the shell
/// made, such as that of `<(command)`, which is a name in `/dev/fd`.
///
/// # Errors As [`read`].
pub fn read_input(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    if path == Path::new("-") {
        return whole(std::io::stdin().lock(), path, limit);
    }
    let meant = if names_descriptor(path) { Meant::Descriptor } else { Meant::Input };
    whole(open_as(path, meant)?, path, limit)
}

/// The text of what a user names, see [`read_input`].
///
/// # Errors As [`read_text`].
pub fn read_input_text(path: &Path, limit: u64) -> Result<String, FileError> {
    text(read_input(path, limit)?, path)
}

/// Whether a path names a descriptor that this process was given. A pipe there has been meant by
/// whoever gave it; a FIFO in a folder may be anybody's, and nobody may ever write to it.
pub(crate) fn names_descriptor(path: &Path) -> bool {
    let given = ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"];
    path == Path::new("/dev/stdin")
        || path.parent().is_some_and(|p| given.iter().any(|g| p == Path::new(g)))
}

fn open_as(path: &Path, meant: Meant) -> Result<File, FileError> {
    let fault = |error: Errno| FileError::io("read", path)(error.into());
    let fit = |there: &Stat| match kind(there.st_mode) {
        Kind::File => Ok(()),
        Kind::Pipe if meant == Meant::Descriptor => Ok(()),
        Kind::Device if meant != Meant::File && is_null(there) => Ok(()),
        found => {
            let (doing, wanted) = ("read", Kind::File);
            Err(FileError::Unfit { doing, path: path.to_owned(), found, wanted })
        }
    };
    // Before it is opened, since opening some devices operates them (a watchdog starts, a tape
    // rewinds). This look alone would prove nothing: the path may lead elsewhere a moment later.
    fit(&rustix::fs::stat(path).map_err(fault)?)?;
    // NONBLOCK: should it be a FIFO by now, open returns instead of waiting for a writer (fifo(7)).
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(fault)?;
    let there = rustix::fs::fstat(&opened).map_err(fault)?;
    fit(&there)?;
    // A pipe that is meant is waited for. A regular file keeps the flag, which has no meaning for
    // most: but there are some that wait for what is still to happen (/proc/kmsg, trace_pipe), and
    // a link may lead there.
    if kind(there.st_mode) == Kind::Pipe {
        rustix::fs::fcntl_setfl(&opened, OFlags::empty()).map_err(fault)?;
    }
    Ok(File::from(opened))
}

/// What a mode of stat(2) says that there is. Character and block devices are one kind: neither is
/// read here.
pub(crate) fn kind(mode: u32) -> Kind {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link,
        FileType::Fifo => Kind::Pipe,
        FileType::Socket => Kind::Socket,
        _ => Kind::Device,
    }
}

fn whole(from: impl Read, path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    // One byte more than is allowed tells a file of exactly the limit from a longer one, and a file
    // that grows, or a device, never fills the memory. Its size is not asked for: it may be another
    // by the time it is read.
    from.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(FileError::io("read", path))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        Ok(bytes)
    } else {
        Err(FileError::TooLarge { path: path.to_owned(), limit })
    }
}

fn text(bytes: Vec<u8>, path: &Path) -> Result<String, FileError> {
    String::from_utf8(bytes).map_err(|source| FileError::NotText { path: path.to_owned(), source })
}
