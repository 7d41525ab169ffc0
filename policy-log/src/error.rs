//! Why a decision log cannot be used.

use casemate_files::FileError;
use casemate_foreign_text::value;
use casemate_policy::log::{KnownHead, LogId, ParseError};
use std::path::{Path, PathBuf};

/// Why a decision log cannot be used. Every message is one line that names the file.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system refused.
    #[error("{}: {source}", value(path.display()))]
    Io {
        /// The file as it was named.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A file beside the log cannot be read or written, or a new log cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// Others were writing all the time that was waited.
    #[error(
        "{}: other programs were writing this log for {seconds} s: wait for them, or use a log of \
         its own",
        value(path.display())
    )]
    Busy {
        /// The log as it was named.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// The file is no log. It was not touched.
    #[error(
        "{}: this is no decision log ({why}), and it was left as it is: name another file",
        value(path.display())
    )]
    NotALog {
        /// The file as it was named.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A record that has to be relied on is damaged, or does not follow from the one before.
    #[error(
        "{}: record {seq} {what}, so the log was changed: see `casemate log verify`, keep the file, \
         and start a new one",
        value(path.display())
    )]
    Damaged {
        /// The file as it was named.
        path: PathBuf,
        /// The number that the record should have.
        seq: u64,
        /// What is wrong with it.
        what: String,
    },
    /// No head of the key vouches for the end of the log.
    #[error(
        "{}: record {seq}, the last, is signed by nobody: whoever can write the file may have \
         written it. Look at it with `casemate log verify` and `show`; --adopt takes it over, which \
         the log then says",
        value(path.display())
    )]
    Unvouched {
        /// The file as it was named.
        path: PathBuf,
        /// Number of the last record that it has.
        seq: u64,
    },
    /// The last head is signed with another key.
    #[error(
        "{}: the log is signed with another key: give that one, or start a new log",
        value(path.display())
    )]
    OtherKey {
        /// The file as it was named.
        path: PathBuf,
    },
    /// A signed log, and no key to go on with it.
    #[error(
        "{}: the log is signed, and what is added without its key nobody can vouch for: give \
         --log-key",
        value(path.display())
    )]
    KeyNeeded {
        /// The file as it was named.
        path: PathBuf,
    },
    /// The head file names a record that the log does not have.
    #[error(
        "{}: the log was cut off or replaced: {} knows record {} of it, which is not there. Keep \
         both files; a new log needs a head file of its own",
        value(path.display()), value(head.display()), known.seq
    )]
    Cut {
        /// The log as it was named.
        path: PathBuf,
        /// The head file as it was named.
        head: PathBuf,
        /// The record that the head file names.
        known: KnownHead,
    },
    /// A log that is there, and a head file that is not.
    #[error(
        "{}: the log is there, and its head file {} is not: without it nobody can tell whether the \
         log was cut off. --adopt makes a new one",
        value(path.display()), value(head.display())
    )]
    HeadMissing {
        /// The log as it was named.
        path: PathBuf,
        /// The head file as it was named.
        head: PathBuf,
    },
    /// A record that this very program wrote is not in the log any more.
    #[error(
        "{}: the log was cut off or replaced while it was in use: record {seq}, which was written to \
         it, is not there. Keep the file",
        value(path.display())
    )]
    Lost {
        /// The log as it was named.
        path: PathBuf,
        /// The last record that was written.
        seq: u64,
    },
    /// Somebody wrote to the log, or cut it, while it was locked.
    #[error(
        "{}: another program changed the log while this one had it: nothing was added",
        value(path.display())
    )]
    Changed {
        /// The log as it was named.
        path: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("{}: expected {wanted}", value(path.display()))]
    BadFile {
        /// The file as it was named.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
}

impl LogError {
    /// Whether what the user named is at fault; else the system is.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        !matches!(self, Self::Io { .. } | Self::Busy { .. } | Self::Changed { .. })
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn errno(path: &Path) -> impl FnOnce(rustix::io::Errno) -> Self + use<> {
        let path = path.to_owned();
        move |errno| Self::Io { path, source: errno.into() }
    }

    pub(crate) fn no_log(path: &Path, why: impl Into<String>) -> Self {
        Self::NotALog { path: path.to_owned(), why: why.into() }
    }

    pub(crate) fn damaged(path: &Path, seq: u64, what: &ParseError) -> Self {
        Self::Damaged { path: path.to_owned(), seq, what: format!("is none ({what})") }
    }
}

/// Why a head says nothing of this log.
pub(crate) fn other_log(found: LogId) -> String {
    format!("is a head of another log, {found}")
}
