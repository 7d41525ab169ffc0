//! Verification of a log, line by line, in memory that does not grow with it.

use super::record::{Entry, ParseError, Record};
use super::sign::PublicKey;
use crate::lattice::hex;

/// Most problems kept.
const MAX_PROBLEMS: usize = 100;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProblemKind {
    /// The line is no record, or was edited.
    NotARecord(ParseError),
    /// Records are missing before this one.
    Missing {
        /// The number that should have come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// The record was there before: repeated or moved.
    Repeated {
        /// The number that should have come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// The number is right, but the record does not follow from the one before.
    Unchained,
    /// The signature of a head is not valid.
    BadSignature,
    /// A head is signed with another key than the one expected.
    OtherKey,
    /// The file ends in the middle of a line.
    Torn,
    /// The head that is known from elsewhere is not in the log.
    KnownHeadMissing,
}

impl std::fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotARecord(error) => write!(f, "{error}"),
            Self::Missing { expected, found } => {
                write!(
                    f,
                    "record {expected} should be here, but {found} is: records were dropped or moved"
                )
            }
            Self::Repeated { expected, found } => {
                write!(
                    f,
                    "record {expected} should be here, but {found} is: a record was repeated or moved"
                )
            }
            Self::Unchained => f.write_str("the record does not follow from the one before it"),
            Self::BadSignature => f.write_str("the signature of this head is not valid"),
            Self::OtherKey => f.write_str("this head is signed with another key"),
            Self::Torn => {
                f.write_str("the last line is not whole: a crash in mid-write, or cut off")
            }
            Self::KnownHeadMissing => f.write_str(
                "the head that is known from elsewhere is not in the log: cut off or replaced",
            ),
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line number, from 1.
    pub line: u64,
    /// What is wrong.
    pub kind: ProblemKind,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.kind)
    }
}

/// A record that is known from elsewhere, usually a head. Its hash covers every record before it: with it in the log, these
/// are there as they were written. It says nothing of what came after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownHead {
    /// The number of its record.
    pub seq: u64,
    /// The hash of its record.
    pub hash: [u8; 32],
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogReport {
    /// Lines read.
    pub lines: u64,
    /// Good records.
    pub records: u64,
    /// Decisions among them.
    pub decisions: u64,
    /// Good heads among them.
    pub heads: u64,
    /// The number of the last good head, and its hash.
    pub last_head: Option<KnownHead>,
    /// Good records after the last good head: chained, but not signed.
    pub unsigned: u64,
    /// Whether the last record is a head that closes the log.
    pub closed: bool,
    /// Torn last lines that a program has removed, as the log says.
    pub recovered: u64,
    /// The key of the heads.
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

/// A verification under way.
#[derive(Debug, Default)]
pub struct Verifier {
    report: LogReport,
    key: Option<PublicKey>,
    known: Option<KnownHead>,
    known_seen: bool,
    expected: u64,
    prev: [u8; 32],
}

impl Verifier {
    /// A verification with the key that the heads must have, and a head that must be there. Without a key
    /// the first head's is taken: then the log is shown to be one piece, but not whose.
    #[must_use]
    pub fn new(key: Option<PublicKey>, known: Option<KnownHead>) -> Self {
        Self { key, known, ..Self::default() }
    }

    fn problem(&mut self, kind: ProblemKind) {
        if self.report.problems.len() < MAX_PROBLEMS {
            self.report.problems.push(Problem { line: self.report.lines, kind });
        } else {
            self.report.more_problems += 1;
        }
    }

    /// Takes the next line, without its line feed. Returns the record when the line is one.
    pub fn line(&mut self, line: &[u8]) -> Option<Record> {
        self.report.lines += 1;
        self.report.closed = false;
        let (record, hash) = match Record::parse(line) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.problem(ProblemKind::NotARecord(error));
                // What the line was is unknown: go on after it as if it had been the one expected.
                self.expected += 1;
                self.prev = [0xff; 32];
                return None;
            }
        };
        let (expected, found) = (self.expected, record.seq);
        if found > expected {
            self.problem(ProblemKind::Missing { expected, found });
        } else if found < expected {
            self.problem(ProblemKind::Repeated { expected, found });
        } else if record.prev != self.prev && self.prev != [0xff; 32] {
            self.problem(ProblemKind::Unchained);
        }
        self.expected = found.saturating_add(1);
        self.prev = hash;
        self.report.records += 1;
        self.known_seen |= self.known == Some(KnownHead { seq: record.seq, hash });
        self.count(&record, hash);
        Some(record)
    }

    fn count(&mut self, record: &Record, hash: [u8; 32]) {
        self.report.unsigned += 1;
        match &record.entry {
            Entry::Decision(_) => self.report.decisions += 1,
            Entry::Recovered { .. } => self.report.recovered += 1,
            Entry::Open => {}
            Entry::Head { closed, key, signature } => {
                let expected = *self.key.get_or_insert(PublicKey(*key));
                self.report.key = Some(expected.0);
                if expected.0 != *key {
                    self.problem(ProblemKind::OtherKey);
                } else if !expected.verify(&record.signed_message(), signature) {
                    self.problem(ProblemKind::BadSignature);
                } else {
                    self.report.heads += 1;
                    self.report.unsigned = 0;
                    self.report.closed = *closed;
                    let head = KnownHead { seq: record.seq, hash };
                    self.report.last_head = Some(head);
                }
            }
        }
    }

    /// Takes the end of the file: `rest` is what follows the last line feed.
    #[must_use]
    pub fn finish(mut self, rest: &[u8]) -> LogReport {
        if !rest.is_empty() {
            self.report.lines += 1;
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
        let hash = crate::lattice::Bytes::from_hex(hash).ok_or(WANTED)?;
        let hash = hash.as_slice().try_into().map_err(|_| WANTED)?;
        Ok(Self { seq: seq.parse().map_err(|_| WANTED)?, hash })
    }
}
