//! The decision log: its records, the hash chain over them, signed heads, verification, replay.
//!
//! One record is one line of JSON in one canonical form. Each line ends with the SHA-256 of all
//! that is before it in the line, and names the hash of the line before it, so that an edited,
//! dropped, repeated or moved line is found. A chain alone can be made anew by whoever can write
//! the file. So a writer with a key signs (Ed25519) a head after each record, in the same write,
//! and never extends what no head of its own vouches for; whatever is found behind the last head
//! was written by somebody else, or by a program that was killed in mid-write.
//!
//! The first record is the log's random identity, which each head repeats: a head of one log says
//! nothing of another. What no log can show of itself is that it was put back to an older state,
//! because a file cut off right after a head is whole in itself: keep the newest head elsewhere
//! (another machine, the REPORT_DATA of a later report, the HOST_DATA of a child) and give it to
//! the verifier as [`KnownHead`].
//!
//! Nothing here reads a clock or a file: times, lines and keys are values.

mod chain;
mod decision;
mod denials;
mod parse;
mod problem;
mod record;
mod redact;
mod replay;
mod sign;
mod verify;

pub use chain::Chain;
pub use decision::DecisionRecord;
pub use denials::DenialsRecord;
pub use parse::ParseError;
pub use problem::{Problem, ProblemKind};
pub use record::{Entry, LogId, MAX_LINE, Record};
pub use redact::REDACTION;
pub use replay::Replayed;
pub use sign::{PublicKey, SigningKey};
pub use verify::{ClockBack, KnownHead, LogReport, Verifier};
