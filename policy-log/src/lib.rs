//! The file of the decision log. Records, chain and verification are in [`casemate_policy::log`]; here are the file,
//! its lock, recovery after a crash, and the keys.
//!
//! Every record is one `write` of one line to a file opened for appending, so a process that is killed
//! leaves whole lines, and at most one torn last line, which the next start removes and says so in the log.
//! Data reaches the disk with each head that falls due by time, and when the log is closed; a power failure
//! can cost what came after. One writer at a time: the file is locked.

mod key;
mod recover;
mod writer;

pub use key::{generate_key, read_key, read_public_key};
pub use writer::{DecisionLog, HeadPolicy, Recovery};

use std::path::PathBuf;

/// Why a decision log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Another program has the log open.
    #[error("{0}: another program is writing this log")]
    Locked(PathBuf),
    /// The last line is whole, but no record: going on would hide it.
    #[error(
        "{path}: the last line is no record ({why}); run `casemate log verify` on it and start a new file"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: casemate_policy::log::ParseError,
    },
    /// A key file does not hold a key.
    #[error("{0}: expected 64 hexadecimal digits")]
    BadKey(PathBuf),
}

impl LogError {
    fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
