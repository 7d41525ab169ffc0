//! Standard output and standard error of the program.
//!
//! `println!` panics when nobody reads any more (`casemate log show FILE | head`). Here such a
//! write is dropped and the command goes on: what it decides, and its exit status, do not depend on
//! the reader. A file that cannot be written (a full disk) makes the command fail, see [`finish`].

use crate::{Failure, Outcome};
use std::fmt::Arguments;
use std::io::{Error, ErrorKind, IsTerminal, Write, stderr, stdout};
use std::sync::OnceLock;

/// Why standard output stopped; nothing is written after it.
static STOPPED: OnceLock<Error> = OnceLock::new();

/// Writes to standard output.
macro_rules! out {
    ($($text:tt)*) => { $crate::out::write(format_args!($($text)*)) };
}

/// Writes a line to standard output.
macro_rules! outln {
    ($($text:tt)*) => { $crate::out::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Writes a line to standard error. That nobody reads it changes nothing.
macro_rules! errln {
    ($($text:tt)*) => { $crate::out::write_error(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) use {errln, out, outln};

/// Writes to standard output, unless that has stopped. A file or a pipe gets exactly this text,
/// which may be a document; a terminal gets it escaped, as standard error does.
pub(super) fn write(text: Arguments<'_>) {
    static TERMINAL: OnceLock<bool> = OnceLock::new();
    if STOPPED.get().is_some() {
        return;
    }
    let written = if *TERMINAL.get_or_init(|| stdout().is_terminal()) {
        stdout().write_all(casemate_foreign_text::text(text).to_string().as_bytes())
    } else {
        stdout().write_fmt(text)
    };
    if let Err(error) = written {
        let _ = STOPPED.set(error);
    }
}

/// Writes to standard error. Messages repeat what files, guests and peers wrote; each place that
/// does so makes it fit for a terminal, and this is the backstop for one that forgot.
pub(super) fn write_error(text: Arguments<'_>) {
    // In one piece: standard error has no buffer, and other processes write to it, too.
    let _ = stderr().write_all(casemate_foreign_text::text(text).to_string().as_bytes());
}

/// Whether everything reached standard output, as far as somebody was reading.
///
/// # Errors
/// [`Failure::Failed`] when it could not be written for another reason than that.
pub(super) fn finish() -> Outcome {
    if let Err(error) = stdout().flush() {
        let _ = STOPPED.set(error);
    }
    match STOPPED.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
