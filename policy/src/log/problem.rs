//! What can be wrong with a log.

use super::parse::ParseError;

/// What is wrong with a line, or with the log as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProblemKind {
    /// The line is no record, or was edited.
    NotARecord(ParseError),
    /// There is no line at all.
    Empty,
    /// The first record is not the log's identity.
    NotBegun,
    /// An identity in the middle: the beginning of another log.
    BegunAgain,
    /// Records are missing before this one.
    Missing {
        /// The number that should have come.
        expected: u64,
        /// The number that came instead.
        found: u64,
    },
    /// The record was there before: repeated or moved.
    Repeated {
        /// The number that should have come.
        expected: u64,
        /// The number that came instead.
        found: u64,
    },
    /// The number is right, but the record does not follow from the one before.
    Unchained,
    /// The signature of a head is not valid.
    BadSignature,
    /// A head is signed with another key than the one expected.
    OtherKey,
    /// A head was made for another log.
    OtherLog,
    /// The first head does not stand over the first record alone, and nobody said that they took
    /// over what is before it: whoever could write the file may have written that.
    LateHead,
    /// Nothing is signed, and a key was expected.
    NotSigned,
    /// So many records at the end of a signed log are signed by nobody.
    UnsignedEnd(u64),
    /// The file ends in the middle of a line.
    Torn,
    /// The head that is known from elsewhere is not in the log.
    KnownHeadMissing,
}

impl std::fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotARecord(error) => write!(f, "{error}"),
            Self::Empty => f.write_str(
                "there is no record: this is no log yet, or one that was cut to nothing",
            ),
            Self::NotBegun => f.write_str(
                "the log does not begin with its identity: its beginning is missing, or another \
                 version wrote it",
            ),
            Self::BegunAgain => f.write_str("another log begins here"),
            Self::Missing { expected, found } => write!(
                f,
                "record {expected} should be here, but {found} is: records were dropped or moved"
            ),
            Self::Repeated { expected, found } => write!(
                f,
                "record {expected} should be here, but {found} is: a record was repeated or moved"
            ),
            Self::Unchained => f.write_str("the record does not follow from the one before it"),
            Self::BadSignature => f.write_str("the signature of this head is not valid"),
            Self::OtherKey => f.write_str("this head is signed with another key"),
            Self::OtherLog => f.write_str("this head was made for another log"),
            Self::LateHead => f.write_str(
                "the first signed head is not over the first record: whoever could write the file may \
                 have written what is before it",
            ),
            Self::NotSigned => {
                f.write_str("nothing in the log is signed with the key that was expected")
            }
            Self::UnsignedEnd(records) => write!(
                f,
                "the last {records} records are signed by nobody: a program was killed while it \
                 wrote, or somebody else wrote them"
            ),
            Self::Torn => {
                f.write_str("the last line is not whole: a crash in mid-write, or cut off")
            }
            Self::KnownHeadMissing => f.write_str(
                "the head that is known from elsewhere is not in the log: cut off or replaced",
            ),
        }
    }
}

/// One problem, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line number, from 1; 0 for the file as a whole.
    pub line: u64,
    /// What is wrong there.
    pub kind: ProblemKind,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.kind),
            line => write!(f, "line {line}: {}", self.kind),
        }
    }
}
