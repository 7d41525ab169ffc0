//! Writing a decision log.
//!
//! One buffer serves all lines: a record costs its text, its hash and one `write`.

use super::LogError;
use super::recover::tail;
use casemate_policy::log::{Chain, DecisionRecord, Entry, KnownHead, SigningKey};
use casemate_policy::{Decision, Facts, Point};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// When a signed head is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadPolicy {
    /// After so many records.
    pub records: u64,
    /// With the first record after so many seconds.
    pub seconds: u64,
}

impl Default for HeadPolicy {
    fn default() -> Self {
        Self { records: 1024, seconds: 10 }
    }
}

/// What was found when an existing log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Number of the next record: zero for a new log.
    pub next: u64,
    /// Bytes of a torn last line that were removed.
    pub dropped: u64,
}

/// An open decision log.
#[derive(Debug)]
pub struct DecisionLog {
    file: File,
    path: PathBuf,
    chain: Chain,
    key: Option<SigningKey>,
    heads: HeadPolicy,
    since_head: u64,
    last_head: u64,
    /// The line being written; kept for its memory.
    line: String,
    /// Where the newest head is kept beside the log.
    head_file: Option<PathBuf>,
}

/// Microseconds since 1970-01-01; zero before.
fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

impl DecisionLog {
    /// Opens or creates a log. A torn last line is removed, and the log says so. Without a key the log is
    /// chained, but not signed.
    ///
    /// # Errors
    /// When the file cannot be used, is in use, or its last whole line is no record.
    pub fn open(
        path: &Path,
        key: Option<SigningKey>,
        heads: HeadPolicy,
    ) -> Result<(Self, Recovery), LogError> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file = options.open(path).map_err(LogError::io(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LogError::Locked(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(LogError::io(path)(source)),
        }
        let end = tail(&file, path)?;
        if end.torn > 0 {
            file.set_len(end.whole).map_err(LogError::io(path))?;
        }
        let recovery = Recovery { next: end.chain.seq(), dropped: end.torn };
        let mut log = Self {
            file,
            path: path.to_owned(),
            chain: end.chain,
            key,
            heads,
            since_head: 0,
            last_head: now(),
            line: String::with_capacity(1024),
            head_file: None,
        };
        log.append(now(), Entry::Open)?;
        if end.torn > 0 {
            log.append(now(), Entry::Recovered { dropped: end.torn })?;
        }
        Ok((log, recovery))
    }

    /// Keeps the newest head in this file, too, as `casemate log verify --head-file` takes it. On storage that whoever can
    /// write the log cannot write, it shows when the log is cut off.
    ///
    /// # Errors
    /// When the file cannot be written, or is no regular file: each head replaces it.
    pub fn keep_head(&mut self, path: &Path) -> Result<(), LogError> {
        if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            let why = std::io::Error::new(ErrorKind::InvalidInput, "not a regular file");
            return Err(LogError::io(path)(why));
        }
        self.head_file = Some(path.to_owned());
        self.write_head_file()
    }

    fn write_head_file(&self) -> Result<(), LogError> {
        let Some(path) = &self.head_file else { return Ok(()) };
        let (seq, hash) = self.last();
        let mut temporary = path.clone().into_os_string();
        temporary.push(format!(".new-{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        std::fs::write(&temporary, format!("{}\n", KnownHead { seq, hash }))
            .map_err(LogError::io(&temporary))?;
        std::fs::rename(&temporary, path).map_err(LogError::io(path))
    }

    /// Writes the line in the buffer.
    fn write(&mut self, after: Chain) -> Result<(), LogError> {
        self.file.write_all(self.line.as_bytes()).map_err(LogError::io(&self.path))?;
        self.chain = after;
        Ok(())
    }

    fn append(&mut self, time: u64, entry: Entry) -> Result<(), LogError> {
        let after = self.chain.append_to(&mut self.line, time, entry);
        self.write(after)?;
        self.since_head = self.since_head.saturating_add(1);
        let late =
            time.saturating_sub(self.last_head) >= self.heads.seconds.saturating_mul(1_000_000);
        if self.since_head >= self.heads.records || late {
            self.head(time, false)?;
            if late {
                self.file.sync_data().map_err(LogError::io(&self.path))?;
            }
        }
        Ok(())
    }

    fn head(&mut self, time: u64, closed: bool) -> Result<(), LogError> {
        self.since_head = 0;
        self.last_head = time;
        if let Some(key) = &self.key {
            let after = self.chain.append_head_to(&mut self.line, time, closed, key);
            self.write(after)?;
        }
        self.write_head_file()
    }

    /// Logs a decision of the policy with this hash.
    ///
    /// # Errors
    /// When the file cannot be written; then the decision must not be acted on.
    pub fn decision(
        &mut self,
        policy: [u8; 32],
        point: Point,
        facts: &Facts,
        decision: &Decision,
    ) -> Result<(), LogError> {
        self.append(now(), Entry::Decision(DecisionRecord::new(policy, point, facts, decision)))
    }

    /// Logs a decision that is a record already.
    ///
    /// # Errors
    /// When the file cannot be written; then the decision must not be acted on.
    pub fn record(&mut self, record: DecisionRecord) -> Result<(), LogError> {
        self.append(now(), Entry::Decision(record))
    }

    /// Number and hash of the last record, as `casemate log verify --head` takes them.
    #[must_use]
    pub fn last(&self) -> (u64, [u8; 32]) {
        (self.chain.seq().saturating_sub(1), self.chain.last_hash())
    }

    /// Closes the log with a signed head, and waits until it is on the disk.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn close(mut self) -> Result<(), LogError> {
        self.head(now(), true)?;
        self.file.sync_data().map_err(LogError::io(&self.path))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
