//! The files of a log on the side of paths: found or made, looked at, opened, locked.
//!
//! What is done with them needs descriptors only ([`LogFiles::begin`]), so it can be done by a
//! process that cannot open anything. For that the head file is written in place, never replaced:
//! whoever has it open has it for good. Its line has one length, less than a page of the page
//! cache, so a writer that is killed leaves the old line or the new one.

use crate::LogError;
use crate::place::LogFile;
use casemate_policy::log::SigningKey;
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::{File, TryLockError};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two looks at a log that others have.
const PAUSE: Duration = Duration::from_millis(10);
/// How often the file of a log may be another one than the one that was opened.
const TRIES: u32 = 16;

/// The files of a log, open. The lock on it goes with the descriptors, whichever process has them.
#[derive(Debug)]
pub struct LogFiles {
    pub(crate) place: LogFile,
    pub(crate) log: File,
    pub(crate) lock: File,
    pub(crate) head: Option<File>,
    /// The identity of a log that has to be begun.
    pub(crate) id: [u8; 16],
    made: Made,
}

/// What was not there before. It is removed again if nothing comes to be in it.
#[derive(Debug, Default)]
pub(crate) struct Made {
    log: bool,
    head: bool,
    lock: bool,
}

impl LogFile {
    /// Opens the files of the log, which are made if they are not there, and waits until nobody
    /// else has it. Nothing is read or written yet: [`LogFiles::begin`] does that, in this process
    /// or in another one.
    ///
    /// # Errors
    /// [`LogError`] when they cannot be used, or are in use for too long.
    pub fn files(self) -> Result<LogFiles, LogError> {
        let until = Instant::now() + self.wait;
        // What is no log gets no lock beside it either.
        self.existing()?;
        let (lock, made_lock) = self.lock_file(until)?;
        let mut made = Made { lock: made_lock, ..Made::default() };
        for _ in 0..TRIES {
            let there = self.existing().inspect_err(|_| made.remove(&self))?;
            // Who rotates logs may have moved it away meanwhile.
            let Some(log) = there.filter(|log| is_at(log, &self.path).unwrap_or(false)) else {
                let new = make(&self.path, Mode::from_raw_mode(0o600));
                made.log = new.inspect_err(|_| made.remove(&self))?;
                continue;
            };
            // Not before: who had the log until now may just have made it.
            let head = self.head_file().inspect_err(|_| made.remove(&self))?;
            let (head, made_head) = head.map_or((None, false), |(file, made)| (Some(file), made));
            made.head = made_head;
            return Ok(LogFiles { id: random(&self.path)?, place: self, log, lock, head, made });
        }
        Err(LogError::Changed { path: self.path })
    }

    /// The log as far as the file says, opened; `None` when there is no file.
    fn existing(&self) -> Result<Option<File>, LogError> {
        open_there(&self.path, OFlags::APPEND, LogError::no_log)
    }

    /// The file beside the log, locked, and whether it was just made.
    fn lock_file(&self, until: Instant) -> Result<(File, bool), LogError> {
        let path = self.lock_path();
        let mut made = false;
        for _ in 0..TRIES {
            let Some(file) = open_there(&path, OFlags::empty(), |path, _| unfit_lock(path))? else {
                made = make(&path, Mode::from_raw_mode(0o600))?;
                continue;
            };
            if made {
                self.open_to_writers(&file);
            }
            lock(&file, self, until)?;
            // A program that made it for nothing removes it again.
            if is_at(&file, &path)? {
                return Ok((file, made));
            }
        }
        Err(LogError::Changed { path })
    }

    /// Lets those have the lock who can write the log, where its owner has let others do that. What
    /// cannot be had, because this user is not in the log's group, they are told by the system.
    fn open_to_writers(&self, lock: &File) {
        let Ok(log) = rustix::fs::stat(&self.path) else { return };
        let writers = log.st_mode & 0o022;
        if writers != 0 {
            let group = rustix::fs::Gid::from_raw(log.st_gid);
            let _ = rustix::fs::fchown(lock, None, Some(group));
            let _ = rustix::fs::fchmod(lock, Mode::from_raw_mode(0o600 | writers | writers << 1));
        }
    }

    fn lock_path(&self) -> PathBuf {
        lock_path(&self.path)
    }

    /// The head file, and whether it was just made.
    fn head_file(&self) -> Result<Option<(File, bool)>, LogError> {
        let Some(path) = &self.head else { return Ok(None) };
        let mut made = false;
        for _ in 0..TRIES {
            match open_there(path, OFlags::empty(), |path, _| unfit(path))? {
                Some(file) => return Ok(Some((file, made))),
                None => made = make(path, Mode::from_raw_mode(0o666))?,
            }
        }
        Err(LogError::Changed { path: path.clone() })
    }

    pub(crate) fn without_key(&self) -> Self {
        let (path, head) = (self.path.clone(), self.head.clone());
        Self { path, head, key: None, ..*self }
    }
}

impl LogFiles {
    /// Files that another process has opened and locked; `place` says what they are called and what
    /// is relied on.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn received(
        place: LogFile,
        log: OwnedFd,
        lock: OwnedFd,
        head: Option<OwnedFd>,
    ) -> Result<Self, LogError> {
        let id = random(&place.path)?;
        let (log, lock, head) = (log.into(), lock.into(), head.map(File::from));
        Ok(Self { place, log, lock, head, id, made: Made::default() })
    }

    /// Signs heads with this key, and relies on heads of it.
    pub fn sign_with(&mut self, key: SigningKey) {
        self.place.key = Some(key);
    }

    /// What they are called, and what is relied on.
    #[must_use]
    pub const fn place(&self) -> &LogFile {
        &self.place
    }

    /// The open file of the log.
    #[must_use]
    pub fn log(&self) -> BorrowedFd<'_> {
        self.log.as_fd()
    }

    /// The file that is locked.
    #[must_use]
    pub fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// The open head file, if there is one.
    #[must_use]
    pub fn head(&self) -> Option<BorrowedFd<'_>> {
        self.head.as_ref().map(AsFd::as_fd)
    }

    /// What was made here, which from now on is the caller's to remove.
    pub(crate) fn take_made(&mut self) -> Made {
        std::mem::take(&mut self.made)
    }

    /// Removes those that were made here, if nothing is in them: nobody will use them.
    pub fn give_up(self) {
        self.made.remove(&self.place);
    }
}

impl Made {
    /// The lock is still held: whoever waits for it looks then whether it is still there.
    pub(crate) fn remove(&self, place: &LogFile) {
        let is_empty = |path: &Path| rustix::fs::lstat(path).is_ok_and(|there| there.st_size == 0);
        if self.log && is_empty(&place.path) {
            let _ = std::fs::remove_file(&place.path);
        }
        if let Some(head) = place.head.as_deref().filter(|head| self.head && is_empty(head)) {
            let _ = std::fs::remove_file(head);
        }
        if self.lock {
            let _ = std::fs::remove_file(place.lock_path());
        }
    }
}

/// Whether `file` is what this path leads to.
fn is_at(file: &File, path: &Path) -> Result<bool, LogError> {
    let own = rustix::fs::fstat(file).map_err(LogError::errno(path))?;
    let there = rustix::fs::lstat(path);
    Ok(there.is_ok_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)))
}

/// Waits until nobody else has the log.
pub(crate) fn lock(file: &File, place: &LogFile, until: Instant) -> Result<(), LogError> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(LogError::io(&place.path)(source)),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                let seconds = place.wait.as_secs();
                return Err(LogError::Busy { path: place.path.clone(), seconds });
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
        }
    }
}

/// Opens a file for reading and writing; `None` when there is none. A link is not followed: it may
/// have been planted, and what it leads to would be written to.
fn open_there(
    path: &Path,
    more: OFlags,
    unfit: fn(&Path, &'static str) -> LogError,
) -> Result<Option<File>, LogError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = match rustix::fs::open(path, flags | OFlags::NOCTTY | more, Mode::empty()) {
        Ok(opened) => opened,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => return Err(unfit(path, "it is a link")),
        Err(errno) => return Err(LogError::errno(path)(errno)),
    };
    let there = rustix::fs::fstat(&opened).map_err(LogError::errno(path))?;
    if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile {
        return Err(unfit(path, "it is not a regular file"));
    }
    Ok(Some(File::from(opened)))
}

/// Of what cannot be a head file.
fn unfit(path: &Path) -> LogError {
    LogError::BadFile { path: path.to_owned(), wanted: "a regular file, and no link to one" }
}

/// The file beside a log that its writers lock.
#[must_use]
pub fn lock_path(log: &Path) -> PathBuf {
    let mut path = log.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// Of what cannot be locked.
fn unfit_lock(path: &Path) -> LogError {
    LogError::BadFile { path: path.to_owned(), wanted: "a regular file, which is locked" }
}

/// Makes an empty file; false when somebody else was first.
fn make(path: &Path, mode: Mode) -> Result<bool, LogError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, mode) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(errno) => Err(LogError::errno(path)(errno)),
    }
}

fn random(path: &Path) -> Result<[u8; 16], LogError> {
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
        .map_err(LogError::errno(path))?;
    Ok(id)
}
