//! Writing: a file appears under its name whole, or what was there stays.

use crate::error::{FileError, Kind};
use crate::read::{kind, names_descriptor};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Tries at a temporary name; each is 64 random bits, so a second is for a miracle or an attack.
const TRIES: u32 = 8;

/// Who may read a new file. One that is replaced keeps its permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its owner only: mode 0600.
    Owner,
    /// Whom the umask allows: mode 0666 less that.
    Usual,
}

/// Puts a file with these bytes under this name, in place of the regular file that may be there.
///
/// Readers see the old bytes or the new ones. A process that is killed leaves the old ones and,
/// where the file system has `O_TMPFILE`, no temporary file but in the instant between two system
/// calls. Nothing is forced to the disk: after a power cut either may be there.
///
/// # Errors [`FileError::Unfit`] when there is something else than a regular file: a link is not
/// followed and not replaced.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let folder = Folder::of(path)?;
    // A file that is replaced keeps its permissions; anything else with the name is refused. This
    // look decides only which permissions, and which message: the rename below replaces whatever
    // has the name by then, never through it.
    let new = match folder.there()? {
        None => New { bytes, mode: access.mode(), exact: false },
        Some((Kind::File, mode)) => New { bytes, mode, exact: true },
        Some((found, _)) => return Err(folder.unfit(found)),
    };
    let file = folder.nameless(&new)?;
    let temporary = folder.named(file.as_ref(), &new)?;
    // One step for every reader: rename(2) replaces the name atomically, and not through a link.
    let done = rustix::fs::renameat(&folder.open, &temporary, &folder.open, &folder.name);
    done.map_err(|error| {
        folder.remove(&temporary);
        folder.refused(error)
    })
}

/// Puts a file with these bytes under a name that nothing has yet.
///
/// # Errors [`FileError::Io`] of kind `AlreadyExists` when something is there, a link included.
pub fn create(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let folder = Folder::of(path)?;
    let new = New { bytes, mode: access.mode(), exact: false };
    let file = folder.nameless(&new)?;
    if let Some(file) = &file {
        match folder.link(file, &folder.name) {
            Err(Errno::NOENT) => {}
            done => return done.map_err(|e| folder.refused(e)),
        }
    }
    let temporary = folder.named(None, &new)?;
    // A second name, and the first removed: unlike a rename this fails when the name is taken.
    let done =
        rustix::fs::linkat(&folder.open, &temporary, &folder.open, &folder.name, AtFlags::empty());
    folder.remove(&temporary);
    done.map_err(|e| folder.refused(e))
}

/// Writes to what a user names for output: a file is replaced or made, see [`replace`]; `-`, a
/// descriptor in `/dev/fd`, a pipe or a device is written to, since a file in its place would take
/// it away.
///
/// # Errors [`FileError`] with the path.
pub fn write_output(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let fault = FileError::io("write", path);
    if path == Path::new("-") || path == Path::new("/dev/stdout") {
        let mut out = std::io::stdout().lock();
        return out.write_all(bytes).and_then(|()| out.flush()).map_err(fault);
    }
    // Of a descriptor that was given, what it leads to counts; of any other name, the name itself,
    // so that a link is left to `replace`, which refuses it.
    let given = names_descriptor(path) || path == Path::new("/dev/stderr");
    let there = if given { rustix::fs::stat(path) } else { rustix::fs::lstat(path) };
    match there.map(|there| kind(there.st_mode)) {
        Ok(Kind::Pipe | Kind::Device) => {}
        // A file that the shell opened for us (`>(…)`, `3>file`) is written where it stands: a new
        // file beside it would be another than the one that was opened.
        Ok(Kind::File) if given => {}
        _ => return replace(path, bytes, access),
    }
    let links = if given { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY | links;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(opened) => File::from(opened).write_all(bytes).map_err(fault),
        Err(error) => Err(fault(error.into())),
    }
}

impl Access {
    const fn mode(self) -> Mode {
        match self {
            Self::Owner => Mode::from_raw_mode(0o600),
            Self::Usual => Mode::from_raw_mode(0o666),
        }
    }
}

/// The folder that a file is to be in, held open: what its path means may change meanwhile.
struct Folder<'a> {
    open: OwnedFd,
    name: PathBuf,
    path: &'a Path,
}

impl<'a> Folder<'a> {
    fn of(path: &'a Path) -> Result<Self, FileError> {
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            let found = Kind::Directory;
            let (doing, path, wanted) = ("write", path.to_owned(), Kind::File);
            return Err(FileError::Unfit { doing, path, found, wanted });
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::openat(CWD, parent, flags, Mode::empty())
            .map_err(|e| FileError::io("write", path)(e.into()))?;
        Ok(Self { open, name: name.into(), path })
    }

    fn refused(&self, error: Errno) -> FileError {
        FileError::io("write", self.path)(error.into())
    }

    fn unfit(&self, found: Kind) -> FileError {
        FileError::Unfit { doing: "write", path: self.path.to_owned(), found, wanted: Kind::File }
    }

    /// What has the name now, links not followed, and its permissions.
    fn there(&self) -> Result<Option<(Kind, Mode)>, FileError> {
        match rustix::fs::statat(&self.open, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            // Only the nine bits that say who may read and write: set-user-ID and the like are not
            // carried over.
            Ok(there) => {
                let permissions = Mode::from_raw_mode(there.st_mode & 0o777);
                Ok(Some((kind(there.st_mode), permissions)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// The bytes in a file without a name, which the kernel removes with its last descriptor; none
    /// where the file system has no such files.
    fn nameless(&self, new: &New<'_>) -> Result<Option<File>, FileError> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.open, ".", flags, new.mode) {
            Ok(opened) => self.fill(opened, new).map(Some),
            // Not supported here (EOPNOTSUPP), or by a kernel that takes the flag for O_DIRECTORY
            // (EISDIR), see open(2).
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => Ok(None),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Gives the bytes a temporary name, and returns it.
    fn named(&self, nameless: Option<&File>, new: &New<'_>) -> Result<PathBuf, FileError> {
        let mut last = Errno::EXIST;
        // A name that is taken is no error but the next try: somebody else's temporary file is left
        // alone.
        for _ in 0..TRIES {
            let name = temporary_name().map_err(|e| self.refused(e))?;
            let done = match nameless {
                Some(file) => self.link(file, &name),
                None => match self.fresh(&name, new.mode) {
                    Ok(opened) => {
                        let filled = self.fill(opened, new);
                        return filled.map(|_| name.clone()).inspect_err(|_| self.remove(&name));
                    }
                    Err(error) => Err(error),
                },
            };
            match done {
                Ok(()) => return Ok(name),
                // Without /proc a file cannot be given a name this way.
                Err(Errno::NOENT) if nameless.is_some() => return self.named(None, new),
                Err(Errno::EXIST) => last = Errno::EXIST,
                Err(error) => return Err(self.refused(error)),
            }
        }
        Err(self.refused(last))
    }

    fn link(&self, file: &File, name: &Path) -> Result<(), Errno> {
        // The way by /proc needs no privilege, where AT_EMPTY_PATH wants CAP_DAC_READ_SEARCH
        // (open(2), O_TMPFILE).
        let from = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, from, &self.open, name, AtFlags::SYMLINK_FOLLOW)
    }

    /// EXCL: a name that is there, a link included, is an error and never followed.
    fn fresh(&self, name: &Path, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::openat(&self.open, name, flags, mode)
    }

    fn fill(&self, opened: OwnedFd, new: &New<'_>) -> Result<File, FileError> {
        let mut file = File::from(opened);
        // The umask has had its say when the file was made; permissions that are to be kept are set
        // again, whatever it was, and before a byte is in the file.
        if new.exact {
            rustix::fs::fchmod(&file, new.mode).map_err(|e| self.refused(e))?;
        }
        file.write_all(new.bytes).map_err(FileError::io("write", self.path))?;
        Ok(file)
    }

    fn remove(&self, name: &Path) {
        // It was for nothing; that it stays then is all that can be wrong.
        let _ = rustix::fs::unlinkat(&self.open, name, AtFlags::empty());
    }
}

/// What a new file is to be.
struct New<'a> {
    bytes: &'a [u8],
    mode: Mode,
    /// The mode is somebody's choice; otherwise the umask has its say.
    exact: bool,
}

fn temporary_name() -> Result<PathBuf, Errno> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!(".casemate-{:016x}.new", u64::from_ne_bytes(random)).into())
}

#[cfg(test)]
mod tests {
    use super::{Folder, New};
    use rustix::fs::{AtFlags, Mode};

    /// What a file system without nameless files is given. Cannot tell that such a one says so.
    #[test]
    fn without_nameless_files_a_fresh_name_is_filled_or_removed() {
        let path = std::env::temp_dir().join(format!("casemate-fresh-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let file = path.join("file");
        let folder = Folder::of(&file).unwrap();
        let new = New { bytes: b"bytes", mode: Mode::from_raw_mode(0o640), exact: true };
        let name = folder.named(None, &new).unwrap();
        assert_eq!(std::fs::read(path.join(&name)).unwrap(), b"bytes");
        let (_, mode) = Folder { name: name.clone(), ..folder }.there().unwrap().unwrap();
        assert_eq!(mode, Mode::from_raw_mode(0o640));
        let folder = Folder::of(&file).unwrap();
        folder.remove(&name);
        assert!(folder.there().unwrap().is_none());
        rustix::fs::unlinkat(rustix::fs::CWD, &path, AtFlags::REMOVEDIR).unwrap();
    }
}
