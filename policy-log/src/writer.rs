//! Writing a decision log.
//!
//! One buffer serves all lines: a record costs its text, its hash, with a key a signature, and one
//! `write`.

use crate::LogError;
use crate::place::LogFile;
use crate::vouch::Vouched;
use casemate_files::Access;
use casemate_policy::log::{Chain, DecisionRecord, Entry, KnownHead, LogId};
use casemate_policy::{Decision, Facts, Point};
use std::fs::File;
use std::io::Write;

/// An open decision log, locked for others.
#[derive(Debug)]
pub struct DecisionLog {
    file: File,
    place: LogFile,
    chain: Chain,
    /// What the file has when nobody else has written to it.
    length: u64,
    /// The lines being written; kept for its memory.
    lines: String,
}

impl DecisionLog {
    /// Goes on with a log that is vouched for: removes a torn line, says what was found, keeps the
    /// head.
    pub(crate) fn extend(
        place: LogFile,
        file: File,
        vouched: &Vouched,
        new: bool,
    ) -> Result<Self, LogError> {
        if vouched.torn > 0 {
            file.set_len(vouched.whole).map_err(LogError::io(&place.path))?;
        }
        let (chain, length) = (vouched.chain, vouched.whole);
        let mut log = Self { file, place, chain, length, lines: String::with_capacity(4096) };
        if vouched.is_untouched(new) {
            log.keep_head()?;
            return Ok(log);
        }
        let mut entries = vec![Entry::Open];
        if vouched.torn > 0 {
            entries.push(Entry::Recovered { dropped: vouched.torn });
        }
        if let Some(records) = vouched.adopted {
            entries.push(Entry::Adopted { records });
        }
        log.append(entries, false)?;
        Ok(log)
    }

    /// Begins a log in an empty file.
    pub(crate) fn fill(
        place: LogFile,
        file: File,
        lines: &str,
        chain: Chain,
    ) -> Result<Self, LogError> {
        let mut log = Self { file, place, chain, length: 0, lines: lines.to_owned() };
        log.write(chain)?;
        log.keep_head()?;
        Ok(log)
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
        let length = self.file.metadata().map_err(LogError::io(path))?.len();
        if length != self.length {
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
        let Some(path) = &self.place.head else { return Ok(()) };
        let text = format!("{}\n", self.last());
        Ok(casemate_files::replace(path, text.as_bytes(), Access::Usual)?)
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
        self.record(DecisionRecord::new(policy, point, facts, decision))
    }

    /// Logs a decision that is a record already.
    ///
    /// # Errors
    /// When the file cannot be written; then the decision must not be acted on.
    pub fn record(&mut self, record: DecisionRecord) -> Result<(), LogError> {
        self.append(vec![Entry::Decision(record)], false)
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

    /// Closes the log, with a key by a head that says so, and waits until it is on the disk.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn close(mut self) -> Result<(), LogError> {
        if self.place.key.is_some() {
            self.append(Vec::new(), true)?;
        }
        self.file.sync_data().map_err(LogError::io(&self.place.path))
    }
}
