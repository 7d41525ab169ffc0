//! The file of the decision log. Records, chain and verification are in [`casemate_policy::log`];
//! here are the file, who may write to it when, what is vouched for before it is extended, and the
//! keys.
//!
//! A new log begins with its identity and, with a key, the head over it, in one `write`. Every
//! record after that is one `write` to a file opened for appending, with a key of the record
//! **and** its head, so a process that is killed leaves at most one torn last line, which the next
//! start removes and says so in the log. A write that fails, as on a full disk, is taken back. Data
//! reaches the disk when the log is closed; a power failure can cost what came after.
//!
//! What a writer relies on it checks first ([`LogFile::open`]): with a key, that the last record is
//! a head of this key for this log; with a head file, that the record it names is in the log, and
//! all from there to the end follows from it. It reads the first record and the end of the file,
//! whatever its length. What it cannot vouch for it refuses; it never repairs what is no log.
//!
//! One writer at a time: a file beside the log is locked, which no reader of the log can open, and
//! others wait for a while.
//!
//! Opening the files ([`LogFile::files`]) and writing to them ([`LogFiles::begin`]) are two steps,
//! so that two processes can do them: one that may open files, and one that has the key.
#![forbid(unsafe_code)]

mod error;
mod files;
mod key;
mod look;
mod open;
mod place;
mod tail;
mod vouch;
mod writer;

pub use error::LogError;
pub use files::{LogFiles, lock_path};
pub use key::{KeyFile, generate_key, open_key, read_key, read_public_key};
pub use look::read_head;
pub use open::Recovery;
pub use place::{LogFile, WAIT};
pub use writer::DecisionLog;

#[cfg(test)]
mod tests;
