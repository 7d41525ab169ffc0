//! The host's side: a stream socket that is never waited for.

use casemate_device_queue::{GuestMemory, Readable, Room, Writable};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

/// A stream to somebody on the host. A trait, so that tests see what would be done.
pub trait Stream {
    /// Sends what it takes now of a buffer's bytes, and steps over those.
    ///
    /// # Errors
    /// The kernel's; `WouldBlock` where it takes none, `InvalidInput` where the memory is gone.
    fn send<M: GuestMemory>(&self, from: &mut Readable<'_, M>, room: &mut Room) -> io::Result<u32>;

    /// The same with bytes of this process.
    ///
    /// # Errors
    /// As [`Stream::send`].
    fn send_bytes(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Fills a buffer with what is there now; 0 at the end of the stream.
    ///
    /// # Errors
    /// The kernel's; `WouldBlock` where there is nothing.
    fn receive<M: GuestMemory>(&self, to: &Writable<'_, M>, room: &mut Room) -> io::Result<u32>;
}

impl Stream for OwnedFd {
    fn send<M: GuestMemory>(&self, from: &mut Readable<'_, M>, room: &mut Room) -> io::Result<u32> {
        from.send(self, room)
    }

    fn send_bytes(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(sendmsg(self, &[IoSlice::new(bytes)], &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn receive<M: GuestMemory>(&self, to: &Writable<'_, M>, room: &mut Room) -> io::Result<u32> {
        to.receive(self, room)
    }
}
