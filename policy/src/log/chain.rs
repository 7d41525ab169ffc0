//! The end of a log, to which records are added.

use super::record::{Entry, Record};
use super::sign::SigningKey;

/// The number and the `prev` hash of the next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain {
    seq: u64,
    prev: [u8; 32],
}

impl Chain {
    /// An empty log.
    #[must_use]
    pub const fn new() -> Self {
        Self { seq: 0, prev: [0; 32] }
    }

    /// The chain after a record with this number and hash.
    #[must_use]
    pub const fn after(seq: u64, hash: [u8; 32]) -> Self {
        Self { seq: seq.saturating_add(1), prev: hash }
    }

    /// Number of the next record.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Hash of the last record; zeros for none.
    #[must_use]
    pub const fn last_hash(&self) -> [u8; 32] {
        self.prev
    }

    /// The line of the next record, line feed included, and the chain after it. `time` in microseconds.
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

    /// [`Chain::append`] into `line`, whose contents are replaced: a writer that keeps it allocates nothing for a line.
    #[must_use]
    pub fn append_to(self, line: &mut String, time: u64, entry: Entry) -> Self {
        let record = Record { seq: self.seq, time, prev: self.prev, entry };
        let hash = record.write_line(line);
        line.push('\n');
        Self::after(self.seq, hash)
    }

    /// [`Chain::append_head`] into `line`.
    #[must_use]
    pub fn append_head_to(
        self,
        line: &mut String,
        time: u64,
        closed: bool,
        key: &SigningKey,
    ) -> Self {
        let public = key.public().0;
        let mut record = Record {
            seq: self.seq,
            time,
            prev: self.prev,
            entry: Entry::Head { closed, key: public, signature: [0; 64] },
        };
        let signature = key.sign(&record.signed_message());
        record.entry = Entry::Head { closed, key: public, signature };
        let hash = record.write_line(line);
        line.push('\n');
        Self::after(self.seq, hash)
    }
}
