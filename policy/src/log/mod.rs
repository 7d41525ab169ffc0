//! The decision log: its records, the hash chain over them, signed heads, and verification.
//!
//! One record is one line of JSON in one canonical form. Each line ends with the SHA-256 of all that is before
//! it in the line, and names the hash of the line before it, so that an edited, dropped, repeated or moved
//! line is found. A chain alone can be made anew by whoever can write the file; so every few records a
//! head signs the chain up to it with Ed25519. What comes after the last head is chained but not signed,
//! and a file cut off right after a head is whole in itself: keep the newest head elsewhere (a later
//! report's REPORT_DATA, a child's HOST_DATA, another machine) and give it to the verifier as [`KnownHead`], which then
//! finds a file that was cut off before it.
//!
//! Nothing here reads a clock or a file: times, lines and keys are values.

mod chain;
mod record;
mod sign;
mod verify;

pub use chain::Chain;
pub use record::{DecisionRecord, Entry, MAX_LINE, ParseError, Record};
pub use sign::{PublicKey, SigningKey};
pub use verify::{KnownHead, LogReport, Problem, ProblemKind, Verifier};
