//! Messages of the vhost-user protocol (QEMU's docs/interop/vhost-user.rst): a header of three
//! words, request, flags and length of the body, and the body; all little-endian on the one
//! architecture there is here.

use super::error::BackEndError;
use super::request::Request;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, send, sendmsg,
};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Protocol version, the lowest two bits of the flags.
const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
const REPLY: u32 = 1 << 2;
/// Asks for an acknowledgement, where REPLY_ACK was agreed on.
pub(super) const NEED_REPLY: u32 = 1 << 3;
const HEADER: usize = 12;
/// Longest body that is sent: the configuration's head and its bytes.
pub(super) const MAX_BODY: usize = 12 + 256;
/// Most descriptors of one message: one for each region of memory.
const MAX_FDS: usize = 2;
const SEND: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);
/// Tries of a call that a signal interrupted. The process handles none; being stopped and continued
/// interrupts a wait that has a time-out (signal(7)).
const TRIES: u32 = 4;

/// How long is still waited for a back end while something is done that takes many answers of it.
///
/// It counts waits of a length, not time: the process of a plain VM has no clock. An answer that
/// takes less costs a whole wait, one that is there already none, so that the sum is a bound
/// however the back end spreads its silence.
#[derive(Debug)]
pub(super) struct Patience {
    waits: u32,
    wait: Timespec,
}

/// Waits that are as long as an answer may take.
const PARTS: u32 = 300;
/// Waits more, each cut short by an answer: two for each, its head and its body, of 97 that an
/// activation of 16 queues has. So a back end that is quick does not run out of them.
const QUICK: u32 = 200;

impl Patience {
    /// For a back end that may take so long for one answer.
    pub(super) fn new(answer: Duration) -> Self {
        let wait = Timespec::try_from(answer / PARTS).unwrap_or_default();
        Self { waits: PARTS + QUICK, wait }
    }

    /// Reads an answer to `request` as [`answer`] does.
    pub(super) fn answer(
        &mut self,
        socket: BorrowedFd<'_>,
        request: Request,
        body: &mut [u8],
    ) -> Result<(), BackEndError> {
        answer_by(request, body, &mut |bytes| self.read(socket, request, bytes))
    }

    fn read(
        &mut self,
        socket: BorrowedFd<'_>,
        request: Request,
        bytes: &mut [u8],
    ) -> Result<(), BackEndError> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match recv(socket, rest, RecvFlags::DONTWAIT) {
                Ok((_, 0)) | Err(Errno::CONNRESET) => return Err(BackEndError::Closed),
                Ok((_, len)) => done += len,
                Err(Errno::AGAIN | Errno::INTR) => {
                    let left = self.waits.checked_sub(1);
                    self.waits = left.ok_or(BackEndError::Silent(request))?;
                    let mut socket = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
                    let _ = poll(&mut socket, Some(&self.wait));
                }
                Err(e) => return Err(BackEndError::Socket { request, source: e.into() }),
            }
        }
        Ok(())
    }
}

/// Sends a request as one piece. One that does not fit into the socket at once finds a back end
/// that does not read: almost every request is answered before the next, so a socket has room for
/// all that is ever under way.
pub(super) fn ask(
    socket: BorrowedFd<'_>,
    request: Request,
    flags: u32,
    body: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<(), BackEndError> {
    let mut packet = [0; HEADER + MAX_BODY];
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let words = [request.code(), VERSION | flags, len];
    let bytes = words.iter().flat_map(|word| word.to_le_bytes()).chain(body.iter().copied());
    for (to, from) in packet.iter_mut().zip(bytes) {
        *to = from;
    }
    let packet = packet.get(..HEADER + body.len()).unwrap_or(&[]);
    let sent = send_whole(socket, packet, fds);
    match sent {
        Ok(sent) if sent == packet.len() => Ok(()),
        Ok(_) | Err(Errno::AGAIN) => Err(BackEndError::Silent(request)),
        Err(Errno::PIPE | Errno::CONNRESET) => Err(BackEndError::Closed),
        Err(e) => Err(BackEndError::Socket { request, source: e.into() }),
    }
}

fn send_whole(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<usize, Errno> {
    let mut tries = 1;
    loop {
        let sent = if fds.is_empty() {
            send(socket, packet, SEND)
        } else {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(Errno::INVAL);
            }
            sendmsg(socket, &[IoSlice::new(packet)], &mut control, SEND)
        };
        match sent {
            Err(Errno::INTR) if tries < TRIES => tries += 1,
            sent => return sent,
        }
    }
}

/// Reads the answer to `request`, whose body has exactly the length of `body`.
///
/// No descriptor can come with it: the kernel drops those of a message that is received without
/// room for them.
pub(super) fn answer(
    socket: BorrowedFd<'_>,
    request: Request,
    body: &mut [u8],
) -> Result<(), BackEndError> {
    answer_by(request, body, &mut |bytes| read_exactly(socket, request, bytes))
}

/// The same, read by `read`.
fn answer_by(
    request: Request,
    body: &mut [u8],
    read: &mut dyn FnMut(&mut [u8]) -> Result<(), BackEndError>,
) -> Result<(), BackEndError> {
    let breach = |what| Err(BackEndError::Breach { request, what });
    let mut header = [0; HEADER];
    read(&mut header)?;
    let word = |at: usize| {
        let bytes = header.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    if word(0) != request.code() {
        return breach("another request's number");
    }
    if word(4) & (VERSION_MASK | REPLY) != VERSION | REPLY {
        return breach("no reply flag, or another version,");
    }
    if usize::try_from(word(8)) != Ok(body.len()) {
        return breach("another length");
    }
    read(body)
}

fn read_exactly(
    socket: BorrowedFd<'_>,
    request: Request,
    bytes: &mut [u8],
) -> Result<(), BackEndError> {
    let mut done = 0;
    // WAITALL waits once for all of it, within one time-out of the socket, however many pieces it
    // comes in. A few rounds more are for a process that was stopped meanwhile; they bound the
    // wait, too.
    for _ in 0..TRIES {
        let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) else { break };
        match recv(socket, rest, RecvFlags::WAITALL) {
            Ok((_, 0)) => return Err(BackEndError::Closed),
            Ok((_, len)) => done += len,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(BackEndError::Silent(request)),
            Err(Errno::CONNRESET) => return Err(BackEndError::Closed),
            Err(e) => return Err(BackEndError::Socket { request, source: e.into() }),
        }
    }
    if done == bytes.len() { Ok(()) } else { Err(BackEndError::Silent(request)) }
}
