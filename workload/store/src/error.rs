//! Why a store does not do what it is asked.

use crate::{Counter, MAX_SECRET, MAX_TEXT, Side};
use casemate_foreign_text::value;
use std::io;
use std::path::PathBuf;

/// Why a store does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder or a file in it cannot be opened.
    #[error("{}: {source}", value(.path.display()))]
    Open {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder or a file in it is not what a store is kept in.
    #[error("{}: {why}", value(.path.display()))]
    Place {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: &'static str,
    },
    /// Another process has the store.
    #[error("{}: another process uses this store: end it first", value(.path.display()))]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// There is no store in this folder.
    #[error("there is no store yet: create it first")]
    Missing,
    /// There is one already.
    #[error("there is a store already: it is not written over")]
    Exists,
    /// The system refuses to read or write a file of the store.
    #[error("the store's file {} cannot be {what}: {source}", .side.name())]
    Io {
        /// Which of the two files.
        side: Side,
        /// `read` or `written`.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The header cannot be opened with this key.
    #[error(
        "this key does not open the store's file {}: it is another key's, or its header was \
         changed",
        .side.name()
    )]
    Key {
        /// Which of the two files.
        side: Side,
    },
    /// The file was changed by somebody without the key, or its medium has lost something.
    #[error(
        "the store's file {} is damaged or was changed, at byte {at}: {what}. Nothing of it is \
         used; put back a copy, and know that counts go back to that copy's",
        .side.name()
    )]
    Damaged {
        /// Which of the two files.
        side: Side,
        /// Offset of what does not fit.
        at: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// What should name a secret is no resource path.
    #[error("{why}: a secret is named repository/type/tag")]
    Name {
        /// What is wrong with it.
        why: &'static str,
    },
    /// A name of a grant or counter that is empty or too long.
    #[error("a name of a grant or counter has 1 to {MAX_TEXT} bytes")]
    Text,
    /// A secret beyond the bound.
    #[error("a secret has at most {MAX_SECRET} bytes")]
    TooLong,
    /// No room: the store is kept in memory, too.
    #[error("the store is full: revoke versions that are not needed any more")]
    Full,
    /// The disk has no room for the change.
    #[error("the store's disk is full and nothing was changed: make room, and ask again")]
    NoRoom,
    /// No secret of this name.
    #[error("there is no such secret")]
    NoSecret,
    /// The secret has no such version.
    #[error("the secret has no such version")]
    NoVersion,
    /// The version was revoked, or all of them.
    #[error("the secret was revoked")]
    Revoked,
    /// The grant was used as often as is admitted.
    #[error("the grant was used {count} times, and {most} are admitted")]
    UsedUp {
        /// How often it was used.
        count: u64,
        /// How often it may be.
        most: u64,
    },
    /// More living sessions than can be remembered.
    #[error("too many sessions have taken uses and are not over yet: ask again later")]
    TooManySessions,
    /// The counter is not where the caller thinks.
    #[error("the counter is not where this step begins: {}", at(.0.as_ref()))]
    CounterMoved(Option<Counter>),
    /// The step leads to no higher version.
    #[error("a step of a counter leads to a higher version")]
    CounterBack,
    /// The kernel gives no random bytes.
    #[error("the kernel gives no random bytes: {0}")]
    Random(io::Error),
    /// A write failed before: what is in memory may not be on the disk.
    #[error("the store could not be written and answers nothing until it is opened again: {0}")]
    Failed(String),
}

fn at(counter: Option<&Counter>) -> String {
    counter.map_or_else(|| "it has made none".into(), |at| format!("it is at {}", at.version))
}
