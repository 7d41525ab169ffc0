//! What of both sides waits, and what is waited for.

use crate::stream::Stream;
use casemate_device_queue::{GuestMemory, Readable, Room, Writable};
use std::collections::VecDeque;
use std::io::ErrorKind;

/// Bytes that a stream takes whole once it polls as writable: a UNIX stream does so while a quarter
/// of its buffer is used at most (`unix_writable`), which is 208 KiB unless an administrator has
/// made it smaller, and each byte counts for less than two.
pub const ROOM: u32 = 32 << 10;
/// Bytes of one buffer that wait here at most, where the stream did not take all of it.
pub const LEFT: usize = 64 << 10;

/// One port: a stream, and what waits for it.
#[derive(Debug)]
pub struct Port<S> {
    stream: S,
    /// Bytes that the stream takes without being asked again.
    credit: u32,
    /// What it has not taken of a buffer; made once, so that no buffer allocates.
    left: VecDeque<u8>,
    /// There is something to receive.
    readable: bool,
    /// Nothing comes any more.
    ended: bool,
    /// Nobody takes anything any more: what a guest writes goes nowhere, as to a terminal that was
    /// hung up.
    gone: bool,
    pieces: Room,
    rest: Box<[u8; 4096]>,
}

impl<S: Stream> Port<S> {
    /// The port of a stream.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            credit: 0,
            left: VecDeque::with_capacity(LEFT),
            readable: false,
            ended: false,
            gone: false,
            pieces: Room::default(),
            rest: Box::new([0; 4096]),
        }
    }

    /// The stream.
    pub const fn stream(&self) -> &S {
        &self.stream
    }

    /// Whether it is waited for to have something, and for to take something.
    pub fn wants(&self) -> (bool, bool) {
        (!self.readable && !self.ended, !self.gone && (self.credit == 0 || !self.left.is_empty()))
    }

    /// What has come of waiting.
    pub fn seen(&mut self, readable: bool, writable: bool) {
        self.readable |= readable && !self.ended;
        if writable {
            self.credit = ROOM;
            self.flush();
        }
    }

    /// Whether there is something for a buffer of the guest's.
    pub const fn has_input(&self) -> bool {
        self.readable
    }

    /// Whether a buffer of the guest can be taken.
    pub fn can_take(&self) -> bool {
        self.gone || (self.credit > 0 && self.left.is_empty())
    }

    /// Bytes that wait here.
    pub fn waiting(&self) -> usize {
        self.left.len()
    }

    /// Fills a buffer of the guest's with what has come; how many bytes.
    pub fn give<M: GuestMemory>(&mut self, to: &Writable<'_, M>) -> u32 {
        // Once for each time that it polled as readable: whoever reads again may find nothing.
        self.readable = false;
        if to.is_empty() {
            return 0;
        }
        match self.stream.receive(to, &mut self.pieces) {
            Ok(0) => {
                self.ended = true;
                0
            }
            Ok(len) => len,
            // Memory that is gone is that buffer's fault, the others are of a stream that is over.
            Err(e) => {
                let later = [ErrorKind::WouldBlock, ErrorKind::InvalidInput].contains(&e.kind());
                self.ended = !later && e.raw_os_error() != Some(EFAULT);
                0
            }
        }
    }

    /// Takes a buffer of the guest's.
    pub fn take<M: GuestMemory>(&mut self, mut from: Readable<'_, M>) {
        // As long as something goes: of a stream that takes little, little at a time.
        while !self.gone && !from.is_empty() {
            match self.stream.send(&mut from, &mut self.pieces) {
                Ok(sent) => self.credit = self.credit.saturating_sub(sent),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.credit = 0;
                    return self.keep(from);
                }
                // The guest's memory is gone, or it is in more pieces than there can be of use.
                Err(e) if e.kind() == ErrorKind::InvalidInput => return,
                Err(e) if e.raw_os_error() == Some(EFAULT) => return,
                Err(_) => self.gone = true,
            }
        }
    }

    /// Keeps what the stream did not take, up to the bound.
    fn keep<M: GuestMemory>(&mut self, mut from: Readable<'_, M>) {
        while self.left.len() < LEFT && !from.is_empty() {
            let len = (from.len() as usize).min(self.rest.len()).min(LEFT - self.left.len());
            let Some(part) = self.rest.get_mut(..len) else { return };
            if from.copy_to(part).is_none() {
                return;
            }
            self.left.extend(part.iter());
        }
    }

    fn flush(&mut self) {
        while let (first @ [_, ..], _) = self.left.as_slices() {
            match self.stream.send_bytes(first) {
                Ok(sent) => {
                    self.credit = self.credit.saturating_sub(u32::try_from(sent).unwrap_or(ROOM));
                    self.left.drain(..sent.min(self.left.len()));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return self.credit = 0,
                Err(_) => {
                    self.gone = true;
                    self.left.clear();
                }
            }
        }
    }
}

/// Where the kernel finds a page missing that the memory fence is around.
const EFAULT: i32 = 14;
