//! A user's side of a running VM: where its console goes, what keys and signals mean, and the loop
//! that stays with it until it ends ([`attend`]).
//!
//! Principles:
//! - No byte of the guest's output is lost while somebody may still take it: not reading from the
//!   guest holds it back. The wait has a limit, and a loss has a cause, a count and a status of its
//!   own ([`Loss`]).
//! - A terminal gets nothing from a guest that could act on it ([`Filter`]), and has the settings
//!   that it had before whenever the program does not run in its foreground ([`Terminal`]).
//! - Nothing here prints: lines for the user go to a function that the program gives.
#![forbid(unsafe_code)]

mod attend;
mod error;
mod file;
mod filter;
mod host;
mod keys;
mod loss;
mod output;
mod pending;
mod signals;
mod terminal;
mod timeline;
#[cfg(test)]
mod two_consoles_tests;

pub use attend::{Attended, Messages, attend};
pub use error::ConsoleError;
pub use file::BoundedFile;
pub use filter::Filter;
pub use host::HostConsole;
pub use keys::{Command, Key, Keys};
pub use loss::{Cause, Loss};
pub use signals::{Request, Signals};
pub use terminal::Terminal;
pub use timeline::{Timeline, TimelineEvent};
