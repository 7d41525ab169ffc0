//! The recorder: the process that has the decision log and its key, and nothing else.
//!
//! Who starts a VM opens the files, since only it can; it reads neither the key nor the log. The
//! recorder begins from an image of its own, reads the key, locks itself, and only then looks at
//! the log, which anybody who can write it may have made. What the policy decides before the start
//! it is told by its supervisor, which goes on when the recorder says that it is written. What the
//! policy denies the running guest it is told, too: by then the vmm process is in a guest's reach,
//! so it says numbers only, and what is written of them is bounded here ([`tally`]).
//!
//! A VM that was asked to be logged does not run unlogged: a recorder that fails, or ends, ends the
//! VM.

pub mod message;
pub mod tally;

mod handle;
mod handover;
mod process;

pub use handle::{Logging, Recorder, RecorderError, Starting};
pub use process::{WRITTEN, main};
