//! A connected socket as a stream of bytes: of each direction one system call, whatever the
//! standard library makes of it, since a filter names them.

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Wire(pub(crate) OwnedFd);

impl Read for Wire {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(&self.0, &mut *to, RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                Ok((length, _)) => return Ok(length),
                // The other side has ended before it read all: an end like another.
                Err(Errno::CONNRESET) => return Ok(0),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        loop {
            match send(&self.0, from, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                sent => return Ok(sent?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
