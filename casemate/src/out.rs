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
    let text = casemate_foreign_text::text(text).to_string();
    #[cfg(feature = "vm")]
    if let Some(words) = attended::WORDS.get() {
        return words.lock().unwrap_or_else(std::sync::PoisonError::into_inner).say(&text);
    }
    // In one piece: standard error has no buffer, and other processes write to it, too.
    let _ = stderr().write_all(text.as_bytes());
}

/// Standard error of a program that stays with a VM.
///
/// Such a program keeps the VM's times and takes its user's signals, so a reader of its messages
/// who takes none (a terminal that was stopped, a pipe to a program that hangs) must not stop it.
/// Messages that find no room wait here, in their order, and go with the next one or at the end.
#[cfg(feature = "vm")]
pub(super) mod attended {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::{Errno, write};
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::sync::{Mutex, OnceLock};

    /// Bytes that wait at most; what is more is left out. A program that has locked itself has a
    /// bounded heap.
    const ROOM: usize = 64 * 1024;
    /// A pipe that polls as writable takes so many bytes without waiting (pipe(7): PIPE_BUF).
    const PIECE: usize = 4096;
    /// How long the end waits for a reader that takes nothing: its signals do not end the program
    /// any more, so that it must end by itself.
    const AT_THE_END: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

    pub(super) static WORDS: OnceLock<Mutex<Words>> = OnceLock::new();
    static TO: OnceLock<OwnedFd> = OnceLock::new();

    /// Messages on their way.
    #[derive(Debug)]
    pub(super) struct Words {
        to: BorrowedFd<'static>,
        waiting: Vec<u8>,
        /// Messages that found no room here.
        left_out: u64,
    }

    /// From here on no message is waited for. Gives the descriptor that they go to.
    pub(in super::super) fn begin() -> std::io::Result<BorrowedFd<'static>> {
        let anew = casemate_files::Standard::Error.not_waiting()?;
        let to = TO.get_or_init(|| anew).as_fd();
        let _ = WORDS.set(Mutex::new(Words::new(to)));
        Ok(to)
    }

    /// Gives a slow reader a last chance.
    pub(in super::super) fn finish() {
        if let Some(words) = WORDS.get() {
            let mut words = words.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            words.tell_left_out();
            words.write(&AT_THE_END);
        }
    }

    impl Words {
        fn new(to: BorrowedFd<'static>) -> Self {
            Self { to, waiting: Vec::with_capacity(ROOM), left_out: 0 }
        }

        pub(super) fn say(&mut self, text: &str) {
            self.tell_left_out();
            self.keep(text);
            self.write(&Timespec::default());
        }

        fn keep(&mut self, text: &str) {
            // Room for one line more is kept: it says how many were left out.
            if self.left_out > 0 || self.waiting.len() + text.len() > ROOM - 256 {
                self.left_out = self.left_out.saturating_add(1);
            } else {
                self.waiting.extend_from_slice(text.as_bytes());
            }
        }

        fn tell_left_out(&mut self) {
            if self.left_out > 0 {
                self.write(&Timespec::default());
                if self.waiting.is_empty() {
                    let count = std::mem::take(&mut self.left_out);
                    self.keep(&format!("casemate: {count} messages found no room here\n"));
                }
            }
        }

        /// Writes what goes; `patience` is for each piece.
        fn write(&mut self, patience: &Timespec) {
            while !self.waiting.is_empty() && self.has_room(patience) {
                let piece = self.waiting.get(..PIECE).unwrap_or(&self.waiting);
                match write(self.to, piece) {
                    Ok(written @ 1..) => drop(self.waiting.drain(..written)),
                    Err(Errno::INTR) => {}
                    // A terminal can have room and take nothing.
                    Err(Errno::AGAIN) | Ok(_) => return,
                    // Nobody reads, or a full disk: as for any other command, it changes nothing.
                    Err(_) => self.waiting.clear(),
                }
            }
        }

        fn has_room(&self, patience: &Timespec) -> bool {
            loop {
                match poll(&mut [PollFd::from_borrowed_fd(self.to, PollFlags::OUT)], Some(patience))
                {
                    Err(Errno::INTR) => {}
                    other => return other.is_ok_and(|ready| ready > 0),
                }
            }
        }
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    mod tests {
        use super::{ROOM, Timespec, Words};
        use std::io::Read;
        use std::os::fd::AsFd;

        /// Protects a VM's times from a reader of messages that takes none, and the reader from a
        /// gap that it cannot see. Cannot tell of a broken disk, which takes as long as it takes.
        #[test]
        fn messages_that_nobody_takes_wait_within_a_bound_and_what_is_left_out_is_counted() {
            let (mut reader, writer) = std::io::pipe().unwrap();
            let writer: &'static std::io::PipeWriter = Box::leak(Box::new(writer));
            let mut words = Words::new(writer.as_fd());
            let line = format!("{}\n", "x".repeat(999));
            for _ in 0..1000 {
                words.say(&line);
            }
            assert!(words.left_out > 500 && words.waiting.len() <= ROOM, "{}", words.left_out);
            let left_out = words.left_out;
            rustix::io::ioctl_fionbio(&reader, true).unwrap();
            let mut taken = Vec::new();
            // As a reader that wakes up: each time that it has taken what there is, more goes.
            for _ in 0..1000 {
                let _ = reader.read_to_end(&mut taken);
                words.write(&Timespec::default());
            }
            words.say("again\n");
            let _ = reader.read_to_end(&mut taken);
            let text = String::from_utf8(taken).unwrap();
            let count = text.lines().filter(|found| **found == line[..999]).count() as u64;
            assert_eq!(count + left_out, 1000);
            assert!(text.ends_with(&format!(
                "\ncasemate: {left_out} messages found no room here\nagain\n"
            )));
        }
    }
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
