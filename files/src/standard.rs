//! Standard streams that hold nobody up.

use crate::Kind;
use crate::read::kind;
use rustix::fs::{Mode, OFlags, fstat};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standard {
    /// Descriptor 0.
    Input,
    /// Descriptor 1.
    Output,
    /// Descriptor 2.
    Error,
}

impl Standard {
    fn fd(self) -> BorrowedFd<'static> {
        match self {
            Self::Input => rustix::stdio::stdin(),
            Self::Output => rustix::stdio::stdout(),
            Self::Error => rustix::stdio::stderr(),
        }
    }

    /// The stream, opened anew so that reading and writing do not wait, where that can be had: of a
    /// terminal or a pipe. Polling alone does not do it: a terminal polls as writable with room for
    /// a few bytes, and another program may take a pipe's room, or what is to be read, between the
    /// poll and the call. Setting it on the descriptor that is there would set it for everybody who
    /// has it, the user's shell included.
    ///
    /// What cannot be opened anew (a socket; a pipe of another user) is the same open file: whoever
    /// writes there has to poll, and can be held up by who writes there, too.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn not_waiting(self) -> io::Result<OwnedFd> {
        let fd = self.fd();
        let (number, mode) = match self {
            Self::Input => (0, OFlags::RDONLY),
            Self::Output => (1, OFlags::WRONLY),
            Self::Error => (2, OFlags::WRONLY),
        };
        let pipe = fstat(fd).is_ok_and(|there| kind(there.st_mode) == Kind::Pipe);
        if pipe || rustix::termios::isatty(fd) {
            let flags = mode | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let path = format!("/proc/self/fd/{number}");
            if let Ok(anew) = rustix::fs::open(path, flags, Mode::empty()) {
                return Ok(anew);
            }
        }
        fd.try_clone_to_owned()
    }
}
