//! Standard output and standard error of the program.
//!
//! `println!` panics when nobody reads any more (`casemate log show FILE | head`). Here such a write is dropped and the
//! command goes on: what it decides, and its exit status, do not depend on the reader. A file that cannot be written (a
//! full disk) makes the command fail, see [`finish`].

use crate::{Failure, Outcome};
use std::fmt::Arguments;
use std::io::{Error, ErrorKind, Write, stderr, stdout};
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

/// Writes to standard output, unless that has stopped.
pub(super) fn write(text: Arguments<'_>) {
    if STOPPED.get().is_none()
        && let Err(error) = stdout().write_fmt(text)
    {
        let _ = STOPPED.set(error);
    }
}

/// Writes to standard error.
pub(super) fn write_error(text: Arguments<'_>) {
    let _ = stderr().write_fmt(text);
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
