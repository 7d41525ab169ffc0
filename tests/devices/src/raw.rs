//! Messages as bytes, for those that no front end sends.

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// A message: request, flags with version 1, length as given, body.
#[must_use]
pub fn message(request: u32, flags: u32, len: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [request, flags, len] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(body);
    bytes
}

/// A message whose length is right.
#[must_use]
pub fn honest(request: u32, body: &[u8]) -> Vec<u8> {
    message(request, 1, body.len() as u32, body)
}

/// Sends bytes with descriptors.
///
/// # Panics
/// Where the socket is gone.
pub fn send_with(socket: &impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
    assert_eq!(sent, Ok(bytes.len()));
}

/// Sends bytes; a peer that is gone does not matter.
pub fn send(mut socket: &UnixStream, bytes: &[u8]) {
    let _ = socket.write_all(bytes);
}

/// Asks for the features, which every back end answers: whether it is there.
pub fn is_there(mut socket: &UnixStream) -> bool {
    send(socket, &honest(1, &[]));
    let mut reply = [0; 20];
    socket.read_exact(&mut reply).is_ok()
}
