//! Where lines of the log go: standard error or a file, without ever waiting long.
//!
//! The program that watches a VM keeps its times, its console and its locks. A log that nobody
//! takes must not stop it, so what finds no room in time is left out, and how much that was is the
//! next line.

use super::format::Form;
use casemate_files::Standard;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, write};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// How long a reader that takes nothing is waited for, once: afterwards it is not waited for until
/// it takes something.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// A pipe that polls as writable takes so many bytes without waiting (pipe(7): PIPE_BUF).
const PIECE: usize = 4096;

/// A descriptor for lines.
#[derive(Debug)]
pub struct Sink {
    to: Arc<OwnedFd>,
    form: Form,
    is_stalled: bool,
    /// Lines that found no room.
    left_out: u64,
    /// The last line has no end.
    is_cut: bool,
}

impl Sink {
    /// Standard error.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn standard_error(form: Form) -> io::Result<Self> {
        Ok(Self::new(Standard::Error.not_waiting()?, form))
    }

    /// A file.
    pub fn file(file: File, form: Form) -> Self {
        Self::new(file.into(), form)
    }

    fn new(to: OwnedFd, form: Form) -> Self {
        Self { to: Arc::new(to), form, is_stalled: false, left_out: 0, is_cut: false }
    }

    /// The very descriptor that is written to.
    pub fn fd(&self) -> Arc<OwnedFd> {
        self.to.clone()
    }

    /// Writes a line, with its end, or leaves it out.
    pub fn line(&mut self, line: &[u8]) {
        if self.left_out > 0 {
            let count = self.left_out;
            let notice = match self.form {
                Form::Text => format!("WARN  program: lines of the log found no room: {count}\n"),
                Form::Json => format!(
                    "{{\"level\":\"WARN\",\"area\":\"program\",\"text\":\"lines of the log found no room\",\"fields\":{{\"count\":{count}}},\"spans\":[]}}\n"
                ),
            };
            if self.put(notice.as_bytes()) {
                self.left_out = 0;
            }
        }
        if self.left_out > 0 || !self.put(line) {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// Whether all of it was written. What was cut off before ends first.
    fn put(&mut self, line: &[u8]) -> bool {
        if self.is_cut && !self.all_of(b"\n") {
            return false;
        }
        self.all_of(line)
    }

    fn all_of(&mut self, bytes: &[u8]) -> bool {
        let mut left = bytes;
        while !left.is_empty() {
            if !self.has_room() {
                return false;
            }
            let piece = left.get(..PIECE.min(left.len())).unwrap_or(left);
            match write(&*self.to, piece) {
                Ok(written @ 1..) => {
                    left = left.get(written..).unwrap_or(&[]);
                    self.is_cut = !left.is_empty();
                }
                Err(Errno::INTR) => {}
                // A terminal can have room and take nothing: not waited for again.
                Ok(_) | Err(_) => {
                    self.is_stalled = true;
                    return false;
                }
            }
        }
        true
    }

    fn has_room(&mut self) -> bool {
        let mut fds = [PollFd::new(&*self.to, PollFlags::OUT)];
        let patience = if self.is_stalled { Timespec::default() } else { PATIENCE };
        let room = loop {
            match poll(&mut fds, Some(&patience)) {
                Err(Errno::INTR) => {}
                other => break other.is_ok_and(|ready| ready > 0),
            }
        };
        self.is_stalled = !room;
        room
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, Sink};
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    /// A sink with a pipe's reader.
    fn piped(form: Form) -> (Sink, File) {
        let (reader, writer) = std::io::pipe().unwrap();
        (Sink::new(writer.into(), form), File::from(OwnedFd::from(reader)))
    }

    /// Protects the program from a reader that sleeps, and the reader from a gap that it cannot
    /// see. Cannot tell how long a write to a broken disk takes.
    #[test]
    fn a_log_that_nobody_takes_stops_nothing_and_what_is_left_out_is_counted() {
        for form in [Form::Text, Form::Json] {
            let (mut sink, mut reader) = piped(form);
            let line = [&[b'x'; 9_999][..], b"\n"].concat();
            for _ in 0..10_000 {
                sink.line(&line);
            }
            assert!(sink.left_out > 9_000, "{}", sink.left_out);
            // All that is there: how much a pipe holds is the kernel's business, and less where
            // its user has many (pipe(7), `pipe-user-pages-soft`).
            let mut taken = Vec::new();
            rustix::io::ioctl_fionbio(&reader, true).unwrap();
            let all = reader.read_to_end(&mut taken).map_err(|error| error.kind());
            assert_eq!(all, Err(std::io::ErrorKind::WouldBlock));
            let left_out = sink.left_out;
            sink.line(b"again\n");
            drop(sink);
            reader.read_to_end(&mut taken).unwrap();
            let text = String::from_utf8(taken).unwrap();
            let last: Vec<&str> = text.lines().rev().take(2).collect();
            assert_eq!(last.first(), Some(&"again"));
            let notice = last.get(1).unwrap();
            assert!(notice.contains(&left_out.to_string()), "{notice}");
            if form == Form::Json {
                serde_json::from_str::<serde_json::Value>(notice).unwrap();
            }
        }
    }

    #[test]
    fn a_log_whose_reader_is_gone_stops_nothing() {
        let (mut sink, reader) = piped(Form::Text);
        drop(reader);
        for _ in 0..1000 {
            sink.line(b"nobody\n");
        }
        assert_eq!(sink.left_out, 1000);
    }
}
