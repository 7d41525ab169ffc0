//! Bytes between a file or a socket and guest memory, moved by the kernel: they never pass through
//! this process, so it can neither read them twice nor be fooled by their changing.
#![allow(unsafe_code, reason = "preadv, sendmsg and the like over guest memory take raw pieces")]

use crate::memory::Unreachable;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// `IOV_MAX` of Linux: what one call takes.
const MOST: usize = 1024;

/// Room for the pieces of one request, made once.
#[derive(Debug)]
pub struct Room(Vec<libc::iovec>);

// SAFETY: what is left in it from a request before is never looked at: `fill` clears it first.
unsafe impl Send for Room {}

impl Default for Room {
    fn default() -> Self {
        Self(Vec::with_capacity(MOST))
    }
}

impl Room {
    /// Clears the room and fills it. None where the memory is gone, or there is not enough room.
    pub(crate) fn fill<'m>(
        &'m mut self,
        fill: impl FnOnce(&mut dyn FnMut(NonNull<u8>, usize)) -> Result<(), Unreachable>,
    ) -> Option<Pieces<'m>> {
        self.0.clear();
        let mut fits = true;
        fill(&mut |at, len| {
            fits &= self.0.len() < MOST;
            if fits {
                self.0.push(libc::iovec { iov_base: at.as_ptr().cast(), iov_len: len });
            }
        })
        .ok()?;
        fits.then_some(Pieces { list: &mut self.0, of: PhantomData })
    }
}

/// Pieces of guest memory, valid as long as the memory is borrowed.
#[derive(Debug)]
pub struct Pieces<'m> {
    list: &'m mut [libc::iovec],
    of: PhantomData<&'m ()>,
}

impl Pieces<'_> {
    /// How many bytes they are.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.list.iter().map(|piece| piece.iov_len as u64).sum()
    }

    /// Steps over the first `done` bytes.
    fn advance(&mut self, mut done: usize) {
        let mut list = std::mem::take(&mut self.list);
        while let Some(first) = list.first_mut() {
            if done < first.iov_len {
                first.iov_base = first.iov_base.cast::<u8>().wrapping_add(done).cast();
                first.iov_len -= done;
                break;
            }
            done -= first.iov_len;
            list = list.split_first_mut().map_or(&mut [], |(_, rest)| rest);
        }
        self.list = list;
    }
}

/// What a write promises when it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// That others see it; a flush makes it last.
    Cached,
    /// That it lasts (`RWF_DSYNC`).
    Through,
}

/// Fills the pieces from a file.
///
/// # Errors
/// The kernel's; `UnexpectedEof` where the file ends before they are full.
pub fn read_file(file: &impl AsFd, offset: u64, pieces: Pieces<'_>) -> io::Result<()> {
    move_all(file.as_fd(), offset, pieces, |fd, list, count, at| {
        // SAFETY: `list` has `count` entries, and each names memory that may be written as long as
        // the pieces live (`GuestMemory::pieces`).
        unsafe { libc::preadv(fd, list, count, at) }
    })
}

/// Writes the pieces to a file.
///
/// # Errors
/// The kernel's.
pub fn write_file(
    file: &impl AsFd,
    offset: u64,
    pieces: Pieces<'_>,
    durability: Durability,
) -> io::Result<()> {
    move_all(file.as_fd(), offset, pieces, |fd, list, count, at| match durability {
        // SAFETY: as above; the kernel reads them only.
        Durability::Cached => unsafe { libc::pwritev(fd, list, count, at) },
        // SAFETY: the same.
        Durability::Through => unsafe { libc::pwritev2(fd, list, count, at, libc::RWF_DSYNC) },
    })
}

/// Repeats a call until all is moved. Every round moves something, so there are no more rounds than
/// bytes; in practice one.
fn move_all(
    fd: BorrowedFd<'_>,
    offset: u64,
    mut pieces: Pieces<'_>,
    call: impl Fn(i32, *const libc::iovec, i32, i64) -> isize,
) -> io::Result<()> {
    let mut at = i64::try_from(offset).map_err(io::Error::other)?;
    while !pieces.list.is_empty() {
        let count = i32::try_from(pieces.list.len()).map_err(io::Error::other)?;
        match usize::try_from(call(fd.as_raw_fd(), pieces.list.as_ptr(), count, at)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(done) => {
                pieces.advance(done);
                let done = i64::try_from(done).map_err(io::Error::other)?;
                at = at.checked_add(done).ok_or(io::ErrorKind::InvalidInput)?;
            }
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// Writes the pieces at the place where a file is, by one call: for a packet device, whose every
/// write is a packet.
///
/// # Errors
/// The kernel's; `WouldBlock` where it takes none.
pub(crate) fn write_now(file: &impl AsFd, pieces: &Pieces<'_>) -> io::Result<usize> {
    let count = i32::try_from(pieces.list.len()).map_err(io::Error::other)?;
    loop {
        // SAFETY: `list` has `count` entries, and each names memory that may be read as long as the
        // pieces live; the kernel writes to none of them.
        let done = unsafe { libc::writev(file.as_fd().as_raw_fd(), pieces.list.as_ptr(), count) };
        match usize::try_from(done) {
            Ok(done) => return Ok(done),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Sends the pieces, as far as the socket takes them now: how many bytes.
///
/// # Errors
/// The kernel's; `WouldBlock` where it takes none.
pub(crate) fn send_now(socket: &impl AsFd, pieces: &Pieces<'_>) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    message(socket.as_fd(), pieces, |fd, header| {
        // SAFETY: `header` names `pieces`, which may be read as long as they live, and no other
        // memory.
        unsafe { libc::sendmsg(fd, header, flags) }
    })
}

/// Fills the pieces with what a socket has now: how many bytes, 0 at the end.
///
/// # Errors
/// The kernel's; `WouldBlock` where it has none.
pub(crate) fn receive_now(socket: &impl AsFd, pieces: &Pieces<'_>) -> io::Result<usize> {
    message(socket.as_fd(), pieces, |fd, header| {
        // SAFETY: `header` names `pieces`, which may be written as long as they live, and no other
        // memory: there is no room for a name or for a descriptor.
        unsafe { libc::recvmsg(fd, header, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC) }
    })
}

/// One call with a header that has the pieces and nothing else.
fn message(
    socket: BorrowedFd<'_>,
    pieces: &Pieces<'_>,
    call: impl Fn(i32, &mut libc::msghdr) -> isize,
) -> io::Result<usize> {
    // SAFETY: a header of zeros is one without a name, pieces and control bytes (recvmsg(2)).
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = pieces.list.as_ptr().cast_mut();
    #[allow(clippy::useless_conversion, reason = "glibc counts them in usize, musl in int")]
    let count = pieces.list.len().try_into();
    header.msg_iovlen = count.map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
    loop {
        match usize::try_from(call(socket.as_raw_fd(), &mut header)) {
            Ok(moved) => return Ok(moved),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
