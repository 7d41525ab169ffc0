//! Verification of a log, line by line, in memory that does not grow with it.

use super::problem::{Problem, ProblemKind};
use super::record::{Entry, LogId, Record};
use super::sign::PublicKey;
use crate::lattice::{Bytes, hex};

/// Most problems kept; further ones are counted.
const MAX_PROBLEMS: usize = 100;

/// A record that is known from elsewhere, usually a head. Its hash covers every record before it,
/// the log's identity first: with it in the log, these are there as they were written. It says
/// nothing of what came after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownHead {
    /// The number of its record.
    pub seq: u64,
    /// The hash of its record.
    pub hash: [u8; 32],
}

/// A clock that went back between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockBack {
    /// Line number of the later record.
    pub line: u64,
    /// By how many microseconds it is earlier than the one before it.
    pub micros: u64,
}

/// The result of a verification, as far as the log was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogReport {
    /// Which log it says it is.
    pub log: Option<LogId>,
    /// Lines read, whole ones and a torn end.
    pub lines: u64,
    /// Good records: lines that are what their hash was made of.
    pub records: u64,
    /// Decisions among the good records.
    pub decisions: u64,
    /// Records of what running guests were denied.
    pub denials: u64,
    /// Good heads among the good records.
    pub heads: u64,
    /// The number of the last good head, and its hash.
    pub last_head: Option<KnownHead>,
    /// The number of the last good record, and its hash.
    pub last: Option<KnownHead>,
    /// Good records after the last good head: chained, but not signed.
    pub unsigned: u64,
    /// Whether the last record is a head that closes the log.
    pub closed: bool,
    /// Torn last lines that a program has removed, as the log says.
    pub recovered: u64,
    /// Records that were taken over without a head that vouched for them, as the log says.
    pub adopted: u64,
    /// How often a record's time is before that of the record before it, and where first. Clocks
    /// are set back by their owners and by attackers alike: it is to be known, not wrong in itself.
    pub clock_back: u64,
    /// The first place where a clock went back.
    pub first_back: Option<ClockBack>,
    /// The key of the heads, the expected one or the first head's own.
    pub key: Option<[u8; 32]>,
    /// What is wrong; the first hundred.
    pub problems: Vec<Problem>,
    /// How much more is wrong.
    pub more_problems: u64,
}

impl LogReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}

/// A verification under way, fed line by line.
#[derive(Debug, Default)]
pub struct Verifier {
    report: LogReport,
    key: Option<PublicKey>,
    /// Whether the key is the caller's and not the log's own word.
    key_expected: bool,
    known: Option<KnownHead>,
    known_seen: bool,
    expected: u64,
    prev: [u8; 32],
    /// The line before was no record: what this one follows from is not known.
    lost: bool,
    last_time: u64,
}

impl Verifier {
    /// A verification with the key that the heads must have, and a head that must be there. Without
    /// a key the first head's is taken: then the log is shown to be one piece, but not whose.
    #[must_use]
    pub fn new(key: Option<PublicKey>, known: Option<KnownHead>) -> Self {
        Self { key, key_expected: key.is_some(), known, ..Self::default() }
    }

    fn problem(&mut self, kind: ProblemKind) {
        if self.report.problems.len() < MAX_PROBLEMS {
            self.report.problems.push(Problem { line: self.report.lines, kind });
        } else {
            self.report.more_problems = self.report.more_problems.saturating_add(1);
        }
    }

    /// Takes the next line, without its line feed. Returns the record when the line is one.
    pub fn line(&mut self, line: &[u8]) -> Option<Record> {
        self.report.lines = self.report.lines.saturating_add(1);
        // Only a head at the very end closes a log; every further line takes that back.
        self.report.closed = false;
        let (record, hash) = match Record::parse(line) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.problem(ProblemKind::NotARecord(error));
                // What the line was is unknown: go on after it as if it had been the one expected.
                self.expected = self.expected.saturating_add(1);
                self.lost = true;
                return None;
            }
        };
        self.place(&record);
        self.clock(record.time);
        self.expected = record.seq.saturating_add(1);
        (self.prev, self.lost) = (hash, false);
        self.report.records = self.report.records.saturating_add(1);
        let here = KnownHead { seq: record.seq, hash };
        self.report.last = Some(here);
        self.known_seen |= self.known == Some(here);
        // A head known from elsewhere has to be met exactly, number and hash.
        self.count(&record, here);
        Some(record)
    }

    /// Whether the record is the one that comes next.
    fn place(&mut self, record: &Record) {
        let (expected, found) = (self.expected, record.seq);
        let begins = matches!(record.entry, Entry::Begin { .. });
        // The identity has to be the first line, and nowhere else.
        if self.report.lines == 1 && !begins {
            self.problem(ProblemKind::NotBegun);
        } else if self.report.lines > 1 && begins {
            self.problem(ProblemKind::BegunAgain);
        }
        // The number tells whether something is missing or was there before; only when it fits does
        // the hash decide. After a line that could not be read there is no hash to follow from, and
        // that fault has been told.
        if found > expected {
            self.problem(ProblemKind::Missing { expected, found });
        } else if found < expected {
            self.problem(ProblemKind::Repeated { expected, found });
        } else if record.prev != self.prev && !self.lost {
            self.problem(ProblemKind::Unchained);
        }
    }

    fn clock(&mut self, time: u64) {
        let micros = self.last_time.saturating_sub(time);
        if micros > 0 {
            self.report.clock_back = self.report.clock_back.saturating_add(1);
            let line = self.report.lines;
            self.report.first_back.get_or_insert(ClockBack { line, micros });
        }
        self.last_time = time;
    }

    fn count(&mut self, record: &Record, here: KnownHead) {
        // Unsigned until a head comes that covers it.
        self.report.unsigned = self.report.unsigned.saturating_add(1);
        match &record.entry {
            Entry::Begin { log } => {
                self.report.log.get_or_insert(*log);
            }
            Entry::Decision(_) => self.report.decisions = self.report.decisions.saturating_add(1),
            Entry::Denials(_) => self.report.denials = self.report.denials.saturating_add(1),
            Entry::Recovered { .. } => {
                self.report.recovered = self.report.recovered.saturating_add(1);
            }
            Entry::Adopted { records } => {
                self.report.adopted = self.report.adopted.saturating_add(*records);
            }
            Entry::Open => {}
            Entry::Head { log, closed, key, .. } => self.head(record, here, (*log, *closed, *key)),
        }
    }

    fn head(&mut self, record: &Record, here: KnownHead, said: (LogId, bool, [u8; 32])) {
        let (log, closed, key) = said;
        // Without an expected key the first head's is taken, and every further head has to have the
        // same.
        let expected = *self.key.get_or_insert(PublicKey(key));
        self.report.key = Some(expected.0);
        // Key, log, signature: each fault is another message, from the plainest on.
        if expected.0 != key {
            self.problem(ProblemKind::OtherKey);
        } else if self.report.log != Some(log) {
            self.problem(ProblemKind::OtherLog);
        } else if !record.is_head_by(&expected, log) {
            self.problem(ProblemKind::BadSignature);
        } else {
            // The first head stands right behind the identity, which its writer has just written.
            // One further on vouches for what somebody else may have written, unless that was
            // adopted by name.
            if self.report.heads == 0 && record.seq != 1 && self.report.adopted == 0 {
                self.problem(ProblemKind::LateHead);
            }
            self.report.heads = self.report.heads.saturating_add(1);
            self.report.unsigned = 0;
            self.report.closed = closed;
            self.report.last_head = Some(here);
        }
    }

    /// Takes the end of the file: `rest` is what follows the last line feed.
    #[must_use]
    pub fn finish(mut self, rest: &[u8]) -> LogReport {
        if self.report.lines == 0 && rest.is_empty() {
            self.problem(ProblemKind::Empty);
        }
        // An expected key means that the log was to be signed at all. With the last head everything
        // before it is vouched for; what follows it is not.
        if self.report.heads == 0 && self.key_expected {
            self.problem(ProblemKind::NotSigned);
        } else if self.report.heads > 0 && self.report.unsigned > 0 {
            self.problem(ProblemKind::UnsignedEnd(self.report.unsigned));
        }
        // Without a line feed no line is whole, whatever it says.
        if !rest.is_empty() {
            self.report.lines = self.report.lines.saturating_add(1);
            self.report.closed = false;
            self.problem(ProblemKind::Torn);
        }
        if self.known.is_some() && !self.known_seen {
            self.problem(ProblemKind::KnownHeadMissing);
        }
        self.report
    }
}

impl std::fmt::Display for KnownHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, hex(&self.hash))
    }
}

impl std::str::FromStr for KnownHead {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "expected a head as NUMBER:HASH, with 64 hexadecimal digits";
        let (seq, hash) = text.split_once(':').ok_or(WANTED)?;
        let hash = Bytes::from_hex(hash).ok_or(WANTED)?;
        let hash = hash.as_slice().try_into().map_err(|_| WANTED)?;
        Ok(Self { seq: seq.parse().map_err(|_| WANTED)?, hash })
    }
}
