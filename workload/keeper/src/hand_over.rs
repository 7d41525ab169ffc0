//! Connections of the owner on their way from the supervisor, which takes them and asks the kernel
//! whose they are, to the keeper, which answers: no byte of a secret passes the supervisor.

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// The byte that a connection comes with.
const CONNECTION: u8 = 1;
/// Room for one descriptor: a `cmsghdr` and a number, with what aligns them.
const ROOM: usize = rustix::cmsg_space!(ScmRights(1));

/// Gives a connection to the keeper. One that has as many as it can take gets no more: who asks is
/// not answered, and asks again.
///
/// # Errors
/// The kernel's.
pub fn hand_over(owner: &impl AsFd, connection: &impl AsFd) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); ROOM];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let connections = [connection.as_fd()];
    if !rights.push(SendAncillaryMessage::ScmRights(&connections)) {
        return Err(Errno::NOBUFS);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(owner, &[IoSlice::new(&[CONNECTION])], &mut rights, flags).map(drop)
}

/// Waits for the next connection; None when the supervisor is gone.
pub(crate) fn taken(owner: &impl AsFd) -> Option<OwnedFd> {
    loop {
        let mut space = [MaybeUninit::uninit(); ROOM];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let received =
            recvmsg(owner, &mut [IoSliceMut::new(&mut byte)], &mut rights, RecvFlags::CMSG_CLOEXEC);
        match received {
            Err(Errno::INTR) => continue,
            Ok(message) if message.bytes == 1 => {}
            _ => return None,
        }
        let descriptors = rights.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        if let Some(connection) = descriptors.flatten().next() {
            return Some(connection);
        }
    }
}
