//! Where the guest's output goes: what it is, and one write to it.

use super::file::BoundedFile;
use casemate_files::Standard;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::isatty;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where bytes go.
#[derive(Debug)]
pub(crate) enum Output {
    /// Standard output: a terminal, a pipe, a file of the user's shell.
    Standard(OwnedFd),
    /// The side of a pseudo-terminal that this program has.
    Pty(OwnedFd),
    /// A file of a bounded size.
    File(BoundedFile),
}

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Written {
    Bytes(usize),
    NotNow,
    /// None, but something was done that comes first.
    Working,
    ReaderGone,
    Failed(io::Error),
}

impl Output {
    /// Standard output, which makes this program wait as little as can be had.
    pub(crate) fn standard() -> io::Result<Self> {
        Standard::Output.not_waiting().map(Self::Standard)
    }

    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self, Self::Standard(fd) if isatty(fd))
    }

    /// Whether a write would not wait, or has something to say.
    fn is_ready(&self) -> bool {
        let mut fds = [PollFd::new(self, PollFlags::OUT)];
        !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0) | Err(_))
    }

    /// Writes what goes now. The user's descriptor may be one that waits, so it is asked first: a
    /// pipe that polls as writable takes PIPE_BUF bytes, more than are ever given, without waiting
    /// (pipe(7)), if nobody else writes to it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Written {
        if !self.is_ready() {
            return Written::NotNow;
        }
        let written = match self {
            Self::Standard(fd) | Self::Pty(fd) => rustix::io::write(fd, bytes),
            Self::File(file) => match file.write(bytes) {
                Ok(None) => return Written::Working,
                Ok(Some(len)) => Ok(len),
                Err(error) => Err(error),
            },
        };
        match written {
            // No file system says so of a write of at least one byte, but it would be no progress.
            Ok(0) => Written::Failed(io::ErrorKind::WriteZero.into()),
            Ok(len) => Written::Bytes(len),
            Err(Errno::AGAIN | Errno::INTR) => Written::NotNow,
            Err(Errno::PIPE | Errno::CONNRESET) => Written::ReaderGone,
            // What a terminal says when it was hung up.
            Err(Errno::IO) if self.is_terminal_like() => Written::ReaderGone,
            Err(e) => Written::Failed(e.into()),
        }
    }

    const fn is_terminal_like(&self) -> bool {
        matches!(self, Self::Standard(_) | Self::Pty(_))
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Standard(_) => "standard output".into(),
            Self::Pty(_) => "the pseudo-terminal".into(),
            Self::File(file) => file.path().display().to_string(),
        }
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Standard(fd) | Self::Pty(fd) => fd.as_fd(),
            Self::File(file) => file.as_fd(),
        }
    }
}
