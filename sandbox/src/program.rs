//! A program on its way into sealed memory.
//!
//! To copy a program costs as much as to read a command line and a configuration: of a start of
//! 4.5 ms it was 0.4, mostly memory that no cache had. Neither needs the other, so a caller that
//! knows early which program it will start begins to write it then, and the two go on beside each
//! other.
//!
//! Whoever writes is a process and no thread: a process that makes others confined must have one
//! thread (`spawn`), and a thread that has ended is counted a moment longer. It is no copy of the
//! caller either, since page tables to copy would cost half of what is won. It runs on the caller's
//! memory, makes two system calls, write and exit, and is gone before the image is used.

use super::SandboxError;
use super::beside::Beside;
use super::image::Image;
use rustix::fs::fstat;
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// A program of confined processes, which is part of the program that starts them.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    bytes: &'static [u8],
    begun: Mutex<Option<Begun>>,
}

/// That a program is being written. Whoever ends without having needed it lets go of this before,
/// which waits for the writer: no process is left that nobody waits for.
#[derive(Debug)]
#[must_use = "the writer is waited for where this is let go of"]
pub struct Beginning<'a>(&'a Program);

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        drop(self.0.begun.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// A file in memory that somebody else writes.
#[derive(Debug)]
struct Begun {
    file: OwnedFd,
    writer: Beside<Task>,
}

/// What the other process does.
#[derive(Debug)]
struct Task {
    file: i32,
    bytes: &'static [u8],
}

impl Program {
    /// The program in these bytes, an ELF file. The name is what its processes are called in `ps`.
    #[must_use]
    pub const fn new(name: &'static str, bytes: &'static [u8]) -> Self {
        Self { name, bytes, begun: Mutex::new(None) }
    }

    /// Has the program written while the caller does something else. Where that cannot be had,
    /// [`Program::image`] writes it.
    pub fn begin(&self) -> Beginning<'_> {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = self.begun();
        Beginning(self)
    }

    fn begun(&self) -> Option<Begun> {
        let file = Image::empty(self.name).ok()?;
        let task = Task { file: file.as_raw_fd(), bytes: self.bytes };
        // SAFETY: `write_all` makes system calls, by rustix, which makes them itself and keeps no
        // errno; it allocates nothing, takes no lock and does not panic.
        let writer = unsafe { Beside::run(task, write_all) }.ok()?;
        Some(Begun { file, writer })
    }

    /// The program in sealed memory; waits for whoever is writing it.
    ///
    /// # Errors
    /// As [`Image::new`].
    pub fn image(&self) -> Result<Image, SandboxError> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take();
        match begun
            .and_then(|Begun { file, writer }| self.is_written(&file, writer).then_some(file))
        {
            Some(file) => Image::sealed(self.name, file),
            // Nobody was asked to, or it failed: why will be said by one's own failure.
            None => Image::new(self.name, self.bytes),
        }
    }

    /// Whether the writer ended and all of it is there.
    fn is_written(&self, file: &OwnedFd, writer: Beside<Task>) -> bool {
        let size = || fstat(file).ok().and_then(|stat| usize::try_from(stat.st_size).ok());
        writer.succeeded() && size() == Some(self.bytes.len())
    }
}

/// What the other process does, see [`Program::begin`]. Its status is whether it could.
fn write_all(task: &Task) -> i32 {
    let mut rest = task.bytes;
    // SAFETY: the descriptor is open: the process began with a copy of its parent's table.
    let file = unsafe { BorrowedFd::borrow_raw(task.file) };
    while !rest.is_empty() {
        match rustix::io::write(file, rest) {
            Ok(0) => return 1,
            Ok(written) => rest = rest.get(written..).unwrap_or(&[]),
            Err(Errno::INTR) => {}
            Err(_) => return 1,
        }
    }
    0
}
