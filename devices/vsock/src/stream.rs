//! The host's side of a connection: a stream socket that never waits.

use casemate_device_queue::{GuestMemory, Readable, Room, Writable};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recvmsg, sendmsg,
    shutdown,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;

/// A stream to somebody on the host. A trait, so that tests see what would be done.
pub trait Stream {
    /// Sends what it takes now of a request's bytes, and steps over those.
    ///
    /// # Errors
    /// The kernel's; `WouldBlock` where it takes none.
    fn send<M: GuestMemory>(&self, from: &mut Readable<'_, M>, room: &mut Room) -> io::Result<u32>;

    /// The same with bytes of this process.
    ///
    /// # Errors
    /// As [`Stream::send`].
    fn send_bytes(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Fills a request's bytes with what is there now; 0 at the end of the stream.
    ///
    /// # Errors
    /// The kernel's; `WouldBlock` where there is nothing.
    fn receive<M: GuestMemory>(&self, to: &Writable<'_, M>, room: &mut Room) -> io::Result<u32>;

    /// Takes one byte; None at the end of the stream.
    ///
    /// # Errors
    /// As [`Stream::receive`].
    fn receive_byte(&self) -> io::Result<Option<u8>>;

    /// Sends no more: who reads it comes to an end.
    fn end_sending(&self);

    /// Receives no more: who writes to it gets an error.
    fn end_receiving(&self);
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

    fn receive_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let mut pieces = [IoSliceMut::new(&mut byte)];
        let mut nothing = RecvAncillaryBuffer::default();
        let came = recvmsg(self, &mut pieces, &mut nothing, RecvFlags::DONTWAIT)?.bytes;
        Ok((came > 0).then_some(byte[0]))
    }

    fn end_sending(&self) {
        // Fails where the other side is gone, which is known soon.
        let _ = shutdown(self, Shutdown::Write);
    }

    fn end_receiving(&self) {
        let _ = shutdown(self, Shutdown::Read);
    }
}
