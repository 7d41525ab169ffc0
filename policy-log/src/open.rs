//! Opening a log: making a new one, or waiting for one that is there and looking at it.

use crate::LogError;
use crate::place::LogFile;
use crate::vouch::{Trust, Vouched, vouch};
use crate::writer::DecisionLog;
use casemate_files::Access;
use casemate_policy::log::{Chain, KnownHead, LogId, SigningKey};
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two looks at a log that others have.
const PAUSE: Duration = Duration::from_millis(10);
/// How often the file of a log may be another one than the one that was opened.
const TRIES: u32 = 16;
/// Longest head file: a number, a hash and white space around them.
const MAX_HEAD: u64 = 4096;

/// What was found when a log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Number of the next record after those that were there: zero for a new log.
    pub next: u64,
    /// Bytes of a torn last line that were removed.
    pub dropped: u64,
    /// Records that were taken over without a head that vouches for them.
    pub adopted: u64,
}

impl LogFile {
    /// The log as far as the file says, opened and locked; `None` when there is no file.
    fn existing(&self, until: Instant) -> Result<Option<File>, LogError> {
        for _ in 0..TRIES {
            let Some(file) = open(&self.path)? else { return Ok(None) };
            self.lock(&file, until)?;
            // While this one waited, the file may have been moved away, by who rotates logs.
            let own = rustix::fs::fstat(&file).map_err(LogError::errno(&self.path))?;
            match rustix::fs::lstat(&self.path) {
                Ok(there) if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino) => {
                    return Ok(Some(file));
                }
                _ => {}
            }
        }
        Err(LogError::Changed { path: self.path.clone() })
    }

    fn lock(&self, file: &File, until: Instant) -> Result<(), LogError> {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(source)) => return Err(LogError::io(&self.path)(source)),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    let seconds = self.wait.as_secs();
                    return Err(LogError::Busy { path: self.path.clone(), seconds });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Makes a log that was not there, whole under its name: identity and, with a key, the head
    /// over it.
    fn create(&self) -> Result<(), LogError> {
        let (lines, _) = self.first_lines()?;
        Ok(casemate_files::create(&self.path, lines.as_bytes(), Access::Owner)?)
    }

    fn first_lines(&self) -> Result<(String, Chain), LogError> {
        let mut id = [0; 16];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
            .map_err(LogError::errno(&self.path))?;
        let time = (self.clock)();
        let (mut lines, mut chain) = Chain::new(LogId(id)).begin(time);
        if let Some(key) = &self.key {
            chain = chain.append_head_to(&mut lines, time, false, key);
        }
        Ok((lines, chain))
    }

    /// What the head file names; `None` when there is none.
    fn known(&self) -> Result<Option<KnownHead>, LogError> {
        let Some(head) = &self.head else { return Ok(None) };
        match read_head(head) {
            Err(LogError::File(error)) if error.is_missing() => Ok(None),
            other => other.map(Some),
        }
    }

    fn cut(&self, known: KnownHead) -> LogError {
        let head = self.head.clone().unwrap_or_default();
        LogError::Cut { path: self.path.clone(), head, known }
    }

    /// Opens the log, which is made if it is not there.
    ///
    /// # Errors
    /// [`LogError`] when it cannot be used, is in use for too long, or nobody vouches for it. Then
    /// nothing was changed.
    pub fn open(self) -> Result<(DecisionLog, Recovery), LogError> {
        let until = Instant::now() + self.wait;
        for _ in 0..TRIES {
            let Some(file) = self.existing(until)? else {
                // The head file says that there was a log.
                if let Some(known) = self.known()? {
                    return Err(self.cut(known));
                }
                match self.create() {
                    // Somebody else was first: it is their log that is used.
                    Err(LogError::File(error)) if is_taken(&error) => continue,
                    Err(error) => return Err(error),
                    Ok(()) => {}
                }
                let Some(file) = self.existing(until)? else { continue };
                return self.use_file(file, true);
            };
            return self.use_file(file, false);
        }
        Err(LogError::Changed { path: self.path })
    }

    /// `new`: this program has just made it, so there is nothing to say of its opening.
    fn use_file(self, file: File, new: bool) -> Result<(DecisionLog, Recovery), LogError> {
        let length = file.metadata().map_err(LogError::io(&self.path))?.len();
        let known = self.known()?;
        if length == 0 {
            // A file that was made for the log, or what is left of one that was cut to nothing.
            return match known {
                Some(known) => Err(self.cut(known)),
                None => self.fill_empty(file),
            };
        }
        let known = self.head.as_deref().zip(known);
        let key = self.key.as_ref().map(SigningKey::public);
        let trust = Trust { key, known, adopt: self.adopt };
        let vouched = vouch(&file, &self.path, length, &trust)?;
        // A log that has nothing but its beginning may be one that another program has just made
        // and not yet locked: it has no head file yet, and nothing in it that could have been cut
        // off.
        let fresh = vouched.chain.seq() <= if self.key.is_some() { 2 } else { 1 };
        if let Some(head) = self.head.as_deref().filter(|_| known.is_none())
            && !(fresh || self.adopt)
        {
            let (path, head) = (self.path.clone(), head.to_owned());
            return Err(LogError::HeadMissing { path, head });
        }
        let recovery = Recovery {
            next: if new { 0 } else { vouched.chain.seq() },
            dropped: vouched.torn,
            adopted: vouched.adopted.unwrap_or(0),
        };
        let log = DecisionLog::extend(self, file, &vouched, new)?;
        Ok((log, recovery))
    }

    fn fill_empty(self, file: File) -> Result<(DecisionLog, Recovery), LogError> {
        let (lines, chain) = self.first_lines()?;
        let log = DecisionLog::fill(self, file, &lines, chain)?;
        Ok((log, Recovery::default()))
    }
}

impl Vouched {
    /// A new log has an identity and nothing else to say.
    pub(crate) fn is_untouched(&self, new: bool) -> bool {
        new && self.torn == 0 && self.adopted.is_none()
    }
}

fn is_taken(error: &casemate_files::FileError) -> bool {
    use casemate_files::FileError::Io;
    matches!(error, Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists)
}

/// Opens the file for reading and appending; `None` when there is none. A link is not followed: it
/// may have been planted, and what it leads to would be written to.
fn open(path: &Path) -> Result<Option<File>, LogError> {
    let flags =
        OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = match rustix::fs::open(path, flags | OFlags::NOCTTY, Mode::empty()) {
        Ok(opened) => opened,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => return Err(LogError::no_log(path, "it is a link")),
        Err(errno) => return Err(LogError::errno(path)(errno)),
    };
    let there = rustix::fs::fstat(&opened).map_err(LogError::errno(path))?;
    if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile {
        return Err(LogError::no_log(path, "it is not a regular file"));
    }
    Ok(Some(File::from(opened)))
}

/// What a head file names, as [`LogFile::head`] is kept.
///
/// # Errors
/// When it cannot be read or is none.
pub fn read_head(path: &Path) -> Result<KnownHead, LogError> {
    let wanted = "a head as NUMBER:HASH";
    let bytes = casemate_files::read(path, MAX_HEAD)?;
    let bad = || LogError::BadFile { path: path.to_owned(), wanted };
    std::str::from_utf8(&bytes).map_err(|_| bad())?.trim().parse().map_err(|_| bad())
}
