//! Who is at the other end of a UNIX socket, as the kernel says.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The process that connected, or that made the socket listen (unix(7), SO_PEERCRED).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its number here; None of a process that has none in this PID namespace.
    pub pid: Option<u32>,
    /// Its effective user id then, in this user namespace.
    pub uid: u32,
}

/// Asks the kernel who is at the other end.
///
/// # Errors
/// The errno of `getsockopt`.
pub fn peer(socket: &impl AsFd) -> io::Result<Peer> {
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len: libc::socklen_t = 12;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `len` bytes, the size of `ucred`: three 32-bit numbers.
    let result = unsafe {
        let to = (&raw mut found).cast();
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, to, &raw mut len)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let pid = u32::try_from(found.pid).ok().filter(|pid| *pid != 0);
    Ok(Peer { pid, uid: found.uid })
}

#[cfg(test)]
mod tests {
    use super::{Peer, peer};

    #[test]
    fn the_other_end_of_a_pair_is_this_process() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(peer(&one).unwrap(), Peer { pid: Some(std::process::id()), uid });
        assert!(peer(&std::io::stdin()).is_err());
    }
}
