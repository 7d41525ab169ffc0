//! The end of a log, to which records are added.

use super::record::{Entry, LogId, Record};
use super::sign::SigningKey;

/// The last time that a line can say: 9999-12-31T23:59:59.999999Z. What a broken clock says beyond
/// is this, so that no clock makes a record that nobody can read.
const LAST_TIME: u64 = crate::utc::LAST * 1_000_000 + 999_999;

/// Which log it is, and the number and the `prev` hash of its next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    log: LogId,
    seq: u64,
    prev: [u8; 32],
}

impl Chain {
    /// A log without records yet. `log` is random, so that no two logs have one identity.
    #[must_use]
    pub const fn new(log: LogId) -> Self {
        Self { log, seq: 0, prev: [0; 32] }
    }

    /// The chain of a log after its record with this number and hash.
    #[must_use]
    pub const fn after(log: LogId, seq: u64, hash: [u8; 32]) -> Self {
        Self { log, seq: seq.saturating_add(1), prev: hash }
    }

    /// The identity of the log, which is in its first record and in every head.
    #[must_use]
    pub const fn log(&self) -> LogId {
        self.log
    }

    /// Number of the next record, counted from 0.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Hash of the last record; zeros for a log without records.
    #[must_use]
    pub const fn last_hash(&self) -> [u8; 32] {
        self.prev
    }

    /// The first record of a log, line feed included: its identity.
    #[must_use]
    pub fn begin(self, time: u64) -> (String, Self) {
        self.append(time, Entry::Begin { log: self.log })
    }

    /// The line of the next record, line feed included, and the chain after it. `time` is in
    /// microseconds since 1970-01-01.
    #[must_use]
    pub fn append(self, time: u64, entry: Entry) -> (String, Self) {
        let mut line = String::with_capacity(640);
        let after = self.append_to(&mut line, time, entry);
        (line, after)
    }

    /// Like [`Chain::append`], of a head signed with `key`.
    #[must_use]
    pub fn append_head(self, time: u64, closed: bool, key: &SigningKey) -> (String, Self) {
        let mut line = String::with_capacity(640);
        let after = self.append_head_to(&mut line, time, closed, key);
        (line, after)
    }

    /// [`Chain::append`] to the end of `lines`: a writer that keeps the text allocates nothing for
    /// a record.
    #[must_use]
    pub fn append_to(self, lines: &mut String, time: u64, entry: Entry) -> Self {
        // A clock that says more is broken; the record must be readable all the same.
        let time = time.min(LAST_TIME);
        let record = Record { seq: self.seq, time, prev: self.prev, entry };
        let hash = record.append_line(lines);
        lines.push('\n');
        Self::after(self.log, self.seq, hash)
    }

    /// [`Chain::append_head`] to the end of `lines`.
    #[must_use]
    pub fn append_head_to(
        self,
        lines: &mut String,
        time: u64,
        closed: bool,
        key: &SigningKey,
    ) -> Self {
        let (log, public) = (self.log, key.public().0);
        let time = time.min(LAST_TIME);
        // Signed is the line without its signature and hash; the signature then goes into the line,
        // and the hash is over both.
        let unsigned = Entry::Head { log, closed, key: public, signature: [0; 64] };
        let mut record = Record { seq: self.seq, time, prev: self.prev, entry: unsigned };
        let signature = key.sign(&record.signed_message());
        record.entry = Entry::Head { log, closed, key: public, signature };
        let hash = record.append_line(lines);
        lines.push('\n');
        Self::after(self.log, self.seq, hash)
    }
}
