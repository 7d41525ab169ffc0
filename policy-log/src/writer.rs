//! Writing a decision log.
//!
//! One buffer serves all lines: a record costs its text, its hash, with a key a signature, and one
//! `write`.
//!
//! A writer has the log for a session at a time. Between two, others may write; a session begins by
//! looking at the log again, as an opening does, and knows one thing more: the last record that
//! this writer wrote itself.

use crate::LogError;
use crate::files::lock;
use crate::look::{length, look_again};
use crate::place::LogFile;
use crate::vouch::Vouched;
use casemate_policy::log::{Chain, DecisionRecord, DenialsRecord, Entry, KnownHead, LogId};
use casemate_policy::{Decision, Facts, Point};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Instant;

/// An open decision log, locked for others until it is released.
#[derive(Debug)]
pub struct DecisionLog {
    file: File,
    /// What is locked.
    lock: File,
    head: Option<File>,
    place: LogFile,
    chain: Chain,
    /// What the file has when nobody else has written to it.
    length: u64,
    /// The lines being written; kept for its memory.
    lines: String,
}

/// Bytes of a head file: the longest number, a colon, a hash. A shorter number is followed by
/// blanks.
const HEAD: usize = 20 + 1 + 64;

impl DecisionLog {
    /// Goes on with a log that is vouched for: removes a torn line, says what was found, keeps the
    /// head.
    pub(crate) fn extend(
        place: LogFile,
        (file, lock): (File, File),
        head: Option<File>,
        vouched: &Vouched,
    ) -> Result<Self, LogError> {
        let (chain, length) = (vouched.chain, vouched.whole);
        let lines = String::with_capacity(4096);
        let mut log = Self { file, lock, head, place, chain, length, lines };
        let mut entries = vec![Entry::Open];
        entries.extend(log.take_torn_line(vouched)?);
        if let Some(records) = vouched.adopted {
            entries.push(Entry::Adopted { records });
        }
        log.append(entries, false)?;
        Ok(log)
    }

    /// Begins a log in an empty file.
    pub(crate) fn fill(
        place: LogFile,
        (file, lock): (File, File),
        head: Option<File>,
        lines: &str,
        chain: Chain,
    ) -> Result<Self, LogError> {
        let lines = lines.to_owned();
        let mut log = Self { file, lock, head, place, chain, length: 0, lines };
        log.write(chain)?;
        log.keep_head()?;
        Ok(log)
    }

    /// Removes a torn line, and gives the record that says so.
    fn take_torn_line(&mut self, vouched: &Vouched) -> Result<Option<Entry>, LogError> {
        if vouched.torn == 0 {
            return Ok(None);
        }
        self.file.set_len(vouched.whole).map_err(LogError::io(&self.place.path))?;
        Ok(Some(Entry::Recovered { dropped: vouched.torn }))
    }

    /// Adds records and, with a key, the head over them, in one write.
    fn append(&mut self, entries: Vec<Entry>, closed: bool) -> Result<(), LogError> {
        let time = (self.place.clock)();
        self.lines.clear();
        let mut after = self.chain;
        for entry in entries {
            after = after.append_to(&mut self.lines, time, entry);
        }
        if let Some(key) = &self.place.key {
            after = after.append_head_to(&mut self.lines, time, closed, key);
        }
        self.write(after)?;
        self.keep_head()
    }

    /// Writes the lines in the buffer, or nothing of them.
    fn write(&mut self, after: Chain) -> Result<(), LogError> {
        let path = &self.place.path;
        // The lock binds only who asks for it. A line of somebody else's in between would break the
        // chain, and this writer would sign what follows.
        if length(&self.file, path)? != self.length {
            return Err(LogError::Changed { path: path.clone() });
        }
        if let Err(source) = self.file.write_all(self.lines.as_bytes()) {
            // A part of a line would be a torn end that nobody tore.
            let _ = self.file.set_len(self.length);
            return Err(LogError::io(path)(source));
        }
        self.length = self.length.saturating_add(u64::try_from(self.lines.len()).unwrap_or(0));
        self.chain = after;
        Ok(())
    }

    /// Keeps the newest head beside the log. After the log, never before it: a head file that is
    /// behind is found in the log, one that is ahead would stop every start.
    fn keep_head(&self) -> Result<(), LogError> {
        let (Some(file), Some(path)) = (&self.head, &self.place.head) else { return Ok(()) };
        let line = format!("{:<HEAD$}\n", self.last().to_string());
        file.write_all_at(line.as_bytes(), 0).map_err(LogError::io(path))?;
        // Of a longer one, which somebody else has written.
        file.set_len(u64::try_from(line.len()).unwrap_or(0)).map_err(LogError::io(path))
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
        self.record(DecisionRecord::new(policy, point, facts, decision)).map(|_| ())
    }

    /// Logs a decision that is a record already, and gives its number.
    ///
    /// # Errors
    /// When the file cannot be written; then the decision must not be acted on.
    pub fn record(&mut self, record: DecisionRecord) -> Result<u64, LogError> {
        let number = self.chain.seq();
        self.append(vec![Entry::Decision(record)], false)?;
        Ok(number)
    }

    /// Logs decisions that are records already, in one write with one head.
    ///
    /// # Errors
    /// When the file cannot be written; then none of them must be acted on.
    pub fn records(&mut self, records: Vec<DecisionRecord>) -> Result<(), LogError> {
        if records.is_empty() {
            return Ok(());
        }
        self.append(records.into_iter().map(Entry::Decision).collect(), false)
    }

    /// Waits until what was logged is on the disk.
    ///
    /// # Errors
    /// When the system says that it may not be.
    pub fn sync(&self) -> Result<(), LogError> {
        self.file.sync_data().map_err(LogError::io(&self.place.path))
    }

    /// Logs denials of a running guest, as a session of its own: the log must have been released.
    ///
    /// # Errors
    /// When others have the log for too long, nobody vouches for it any more, or it cannot be
    /// written.
    pub fn denials(&mut self, records: Vec<DenialsRecord>) -> Result<(), LogError> {
        lock(&self.lock, &self.place, Instant::now() + self.place.wait)?;
        let vouched = look_again(&self.file, self.head.as_ref(), &self.place, self.last())?;
        (self.chain, self.length) = (vouched.chain, vouched.whole);
        let mut entries: Vec<Entry> = self.take_torn_line(&vouched)?.into_iter().collect();
        entries.extend(records.into_iter().map(Entry::Denials));
        self.append(entries, true)?;
        self.give_back()
    }

    /// Number and hash of the last record, as `casemate log verify --head` takes them.
    #[must_use]
    pub fn last(&self) -> KnownHead {
        KnownHead { seq: self.chain.seq().saturating_sub(1), hash: self.chain.last_hash() }
    }

    /// The identity of the log.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.chain.log()
    }

    /// Ends a session: with a key by a head that says that the log is closed. Waits until the log
    /// is on the disk, and lets others have it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn release(&mut self) -> Result<(), LogError> {
        if self.place.key.is_some() {
            self.append(Vec::new(), true)?;
        }
        self.give_back()
    }

    fn give_back(&self) -> Result<(), LogError> {
        self.sync()?;
        self.lock.unlock().map_err(LogError::io(&self.place.path))
    }

    /// Closes the log, see [`DecisionLog::release`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn close(mut self) -> Result<(), LogError> {
        self.release()
    }
}
