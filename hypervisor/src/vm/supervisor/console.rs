//! The supervisor's end of the guest's console.

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Console bytes from and to the guest. Not reading is back-pressure: the bytes wait, first in this
/// socket, then in the vmm process, and at last a vCPU that writes more waits, too.
#[derive(Debug)]
pub struct GuestConsole(OwnedFd);

/// What reading or writing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes, at least one.
    Bytes(usize),
    /// None now; later, perhaps.
    NotNow,
    /// None any more: the other side is gone.
    Over,
}

impl GuestConsole {
    /// The console behind a stream socket.
    #[must_use]
    pub const fn over(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Takes bytes that the guest has written, without waiting.
    pub fn read(&self, to: &mut [u8]) -> Moved {
        match recv(&self.0, to, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Moved::Over,
            Ok((len, _)) => Moved::Bytes(len),
            Err(Errno::AGAIN | Errno::INTR) => Moved::NotNow,
            Err(_) => Moved::Over,
        }
    }

    /// Gives the guest input, without waiting: as many bytes as fit.
    pub fn write(&self, bytes: &[u8]) -> Moved {
        match send(&self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(0) | Err(Errno::AGAIN | Errno::INTR) => Moved::NotNow,
            Ok(len) => Moved::Bytes(len),
            Err(_) => Moved::Over,
        }
    }
}

impl AsFd for GuestConsole {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
