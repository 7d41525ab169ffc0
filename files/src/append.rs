//! Appending: a regular file that lines are added to, by several programs at once perhaps.

use crate::error::{FileError, Kind};
use crate::read::kind;
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::path::Path;

/// Opens a regular file to append to, which only its owner can read when it is made here.
///
/// # Errors [`FileError::Unfit`] for anything but a regular file, at once: a link is not followed,
/// a FIFO without a reader is not waited for, a device is not operated.
pub fn append(path: &Path) -> Result<File, FileError> {
    let fault = |error: Errno| FileError::io("write", path)(error.into());
    let unfit = |found| {
        let (doing, wanted) = ("write", Kind::File);
        FileError::Unfit { doing, path: path.to_owned(), found, wanted }
    };
    let fit = |there: &Stat| match kind(there.st_mode) {
        Kind::File => Ok(()),
        found => Err(unfit(found)),
    };
    // Before it is opened and afterwards, as for reading: the path may lead elsewhere by then.
    match rustix::fs::lstat(path) {
        Ok(there) => fit(&there)?,
        Err(Errno::NOENT) => {}
        Err(error) => return Err(fault(error)),
    }
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let opened = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600));
    let opened = opened.map_err(|error| match error {
        Errno::LOOP => unfit(Kind::Link),
        other => fault(other),
    })?;
    fit(&rustix::fs::fstat(&opened).map_err(fault)?)?;
    Ok(File::from(opened))
}
