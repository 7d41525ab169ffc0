//! Console bytes that nobody will read.

use casemate_foreign_text::value;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why bytes of the guest's output were lost.
#[derive(Debug)]
pub enum Cause {
    /// The reader took nothing for this long.
    TooSlow(Duration),
    /// The reader has closed its end.
    ReaderGone,
    /// The host cannot write: a full disk, a file at its limit.
    CannotWrite {
        /// Where the bytes were to go.
        to: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// The VM was ended, and nobody waits for a reader then.
    Ended,
}

/// How many bytes, and why the first of them was lost. After a first loss nothing more is written:
/// a gap that nobody can see would be worse than an end.
#[derive(Debug)]
pub struct Loss {
    /// Why they were lost.
    pub cause: Cause,
    /// How many bytes were lost.
    pub bytes: u64,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of the guest's output were lost: {}", self.bytes, self.cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSlow(wait) => write!(f, "its reader took nothing for {wait:?}"),
            Self::ReaderGone => f.write_str("its reader has closed its end"),
            Self::CannotWrite { to, error } => write!(f, "cannot write to {}: {error}", value(to)),
            Self::Ended => f.write_str("the VM was ended before its reader took them"),
        }
    }
}
