//! Files read whole within a bound, and replaced whole or not at all.
//!
//! Principle: a path is a promise that anybody may have broken since. What was opened is looked at
//! before it is read, so a FIFO does not hang the program, `/dev/zero` does not fill its memory,
//! and opening a device does not operate it. What is written appears under its name in one step,
//! never through a link that somebody planted there, and a process that is killed while it writes
//! leaves nothing.
//!
//! - [`read`], [`open`]: regular files, for what is read again or mapped; [`read_input`]: what a
//!   user names on a command line, where `-` is standard input and a pipe that the shell made is
//!   meant.
//! - [`replace`], [`create`]: a file of this content under this name; [`write_output`]: what a user
//!   names for output; [`append`]: a file that a log is added to.
//! - [`SecretFile`]: a file that nobody but its owner may use, whose bytes are wiped.
//! - [`Standard`]: a standard stream that does not make this program wait for another one.
//! - [`Apart`]: that no file of a command is written to which is something else, too.
//! - [`list`], [`walk`]: the files of a folder, sorted, within a bound.
//!
//! Limit: a pipe or a terminal that is meant is waited for as long as its writer takes.
#![forbid(unsafe_code)]

mod apart;
mod append;
mod error;
mod folder;
mod ignored;
mod read;
mod replace;
mod secret;
mod standard;

pub use apart::{Apart, SameFile};
pub use append::append;
pub use error::{FileError, Kind};
pub use folder::{Bounds, list, make as make_folder, walk};
pub use ignored::ignored_signals;
pub use read::{open, read, read_input, read_input_text, read_text};
pub use replace::{Access, create, replace, write_output};
pub use secret::{SecretFile, create_key, read_public_key, read_secret};
pub use standard::Standard;
