//! A lock on an image, so that no second VM writes to it.
//!
//! An open-file-description lock (`F_OFD_SETLK`, fcntl(2)): it belongs to what was opened, not to
//! the process, so it goes with the descriptor into the device process and lasts until the last
//! copy is closed, however the processes end. QEMU locks images by the same kind, so the two keep
//! each other out. Advisory: a program that does not ask is not kept out.
#![allow(unsafe_code, reason = "fcntl with a struct flock has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Locks all of a file: for this user alone when `alone`, else together with other readers.
///
/// # Errors
/// The kernel's; `WouldBlock` when somebody else has it.
pub(crate) fn lock(file: &impl AsFd, alone: bool) -> io::Result<()> {
    let kind = if alone { libc::F_WRLCK } else { libc::F_RDLCK };
    // To the end, however far it is: a length of 0 (fcntl(2)).
    let lock = libc::flock {
        l_type: i16::try_from(kind).map_err(io::Error::other)?,
        l_whence: i16::try_from(libc::SEEK_SET).map_err(io::Error::other)?,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the call reads one `struct flock`, which `lock` is.
    match unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
