//! The bytes of one request: what it says, and where its answer goes.
//!
//! How a driver cuts a request into descriptors means nothing (virtio 1.2, 2.7.4.4), so a device
//! sees two strings of bytes here, not descriptors: a header may lie in three of them. What was
//! read is gone: there is no way to read a byte again.

use crate::memory::{GuestMemory, Segment, Unreachable};
use crate::transfer::{Pieces, Room, receive_now, send_now, write_now};
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

/// A request: bytes to read, then bytes to write.
#[derive(Debug)]
pub struct Request<'a, M> {
    /// What the driver says.
    pub readable: Readable<'a, M>,
    /// Where the answer goes.
    pub writable: Writable<'a, M>,
}

impl<'a, M: GuestMemory> Request<'a, M> {
    pub(crate) fn new(memory: &'a M, (readable, writable): (&'a [Segment], &'a [Segment])) -> Self {
        Self {
            readable: Readable { memory, span: Span::all(readable) },
            writable: Writable { memory, span: Span::all(writable) },
        }
    }

    /// How many descriptors it was cut into.
    #[must_use]
    pub const fn descriptors(&self) -> usize {
        self.readable.span.segments.len() + self.writable.span.segments.len()
    }

    /// The segments, for tests.
    #[cfg(test)]
    pub(crate) const fn segments(&self) -> (&'a [Segment], &'a [Segment]) {
        (self.readable.span.segments, self.writable.span.segments)
    }
}

/// Bytes of segments one after the other: `len` of them from `start` on.
#[derive(Debug, Clone, Copy)]
struct Span<'a> {
    segments: &'a [Segment],
    start: u32,
    len: u32,
}

impl<'a> Span<'a> {
    fn all(segments: &'a [Segment]) -> Self {
        // A chain has fewer than 2^32 bytes, so nothing saturates.
        let len = segments.iter().fold(0_u32, |sum, segment| sum.saturating_add(segment.len));
        Self { segments, start: 0, len }
    }

    /// The first `at` bytes, and the rest; None where there are fewer.
    fn split(self, at: u32) -> Option<(Self, Self)> {
        let rest = self.len.checked_sub(at)?;
        let after = Self { start: self.start.checked_add(at)?, len: rest, ..self };
        Some((Self { len: at, ..self }, after))
    }

    /// The parts of segments that it covers.
    fn parts(self) -> impl Iterator<Item = Segment> {
        let (mut skip, mut left) = (self.start, self.len);
        self.segments.iter().filter_map(move |segment| {
            let inside = skip.min(segment.len);
            skip -= inside;
            let len = (segment.len - inside).min(left);
            left -= len;
            // Inside the segment, which does not wrap.
            let gpa = segment.gpa.wrapping_add(inside.into());
            (len > 0).then_some(Segment { gpa, len })
        })
    }

    fn pieces<'m>(self, memory: &'m impl GuestMemory, room: &'m mut Room) -> Option<Pieces<'m>> {
        room.fill(|add| {
            self.parts().try_for_each(|part| memory.pieces(part, &mut |at, len| add(at, len)))
        })
    }
}

/// Bytes that the driver lets the device read.
#[derive(Debug)]
pub struct Readable<'a, M> {
    memory: &'a M,
    span: Span<'a>,
}

impl<'a, M: GuestMemory> Readable<'a, M> {
    /// How many are left.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.span.len
    }

    /// Whether none is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.span.len == 0
    }

    /// The next `N` bytes; None where there are fewer, or they are gone.
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.copy_to(&mut bytes)?;
        Some(bytes)
    }

    /// All that are left, for the kernel to read; None where they are gone, or in more pieces than
    /// one call takes.
    pub fn into_pieces<'m>(self, room: &'m mut Room) -> Option<Pieces<'m>>
    where
        'a: 'm,
    {
        self.span.pieces(self.memory, room)
    }

    /// Copies the next bytes out, as many as `to` has; None where there are fewer, or they are
    /// gone.
    pub fn copy_to(&mut self, to: &mut [u8]) -> Option<()> {
        let (now, rest) = self.span.split(u32::try_from(to.len()).ok()?)?;
        self.span = rest;
        let mut to = to;
        for part in now.parts() {
            let (here, later) = std::mem::take(&mut to).split_at_mut_checked(part.len as usize)?;
            self.memory.read(part.gpa, here).ok()?;
            to = later;
        }
        Some(())
    }

    /// Sends as many of them as a stream socket takes now, and steps over those: the kernel has
    /// copied them. Says how many.
    ///
    /// # Errors
    /// The kernel's, `WouldBlock` among them; `InvalidInput` where the memory is gone.
    pub fn send(&mut self, socket: &impl AsFd, room: &mut Room) -> io::Result<u32> {
        let pieces = self.span.pieces(self.memory, room).ok_or(io::ErrorKind::InvalidInput)?;
        let sent = u32::try_from(send_now(socket, &pieces)?).unwrap_or(u32::MAX);
        let (_, rest) = self.span.split(sent).ok_or(io::ErrorKind::InvalidData)?;
        self.span = rest;
        Ok(sent)
    }
}

impl<'a, M: GuestMemory> Readable<'a, M> {
    /// Writes `first` and then all that are left, by one call: what goes out is one packet. So what
    /// a device has read, checked, and will not have changed goes out as it was checked, and the
    /// rest, which it does not look at, by the kernel. Says how many bytes the file took.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` where the memory is gone.
    pub fn write_behind<'m>(
        self,
        first: &'m [u8],
        file: &impl AsFd,
        room: &'m mut Room,
    ) -> io::Result<usize>
    where
        'a: 'm,
    {
        let (memory, span) = (self.memory, self.span);
        let pieces = room.fill(|add| {
            add(NonNull::from(first).cast(), first.len());
            span.parts().try_for_each(|part| memory.pieces(part, &mut |at, len| add(at, len)))
        });
        write_now(file, &pieces.ok_or(io::ErrorKind::InvalidInput)?)
    }
}

/// Bytes that the driver lets the device write.
#[derive(Debug)]
pub struct Writable<'a, M> {
    memory: &'a M,
    span: Span<'a>,
}

impl<'a, M: GuestMemory> Writable<'a, M> {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.span.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.span.len == 0
    }

    /// The address of the last one.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        let last = self.span.parts().last()?;
        last.gpa.checked_add(u64::from(last.len).checked_sub(1)?)
    }

    /// The address of the byte at `offset`; None where there are not as many.
    #[must_use]
    pub fn place(&self, offset: u32) -> Option<u64> {
        let (_, rest) = self.span.split(offset)?;
        rest.parts().next().map(|part| part.gpa)
    }

    /// Cuts off the last `len` bytes; None where there are fewer.
    pub fn split_last(&mut self, len: u32) -> Option<Self> {
        let (before, last) = self.span.split(self.span.len.checked_sub(len)?)?;
        self.span = before;
        Some(Self { memory: self.memory, span: last })
    }

    /// Writes as many of `bytes` as there is room for; says how many.
    ///
    /// # Errors
    /// [`Unreachable`]: the memory is gone; some may be written.
    pub fn put(&self, bytes: &[u8]) -> Result<u32, Unreachable> {
        let (mut rest, mut written) = (bytes, 0_u32);
        for part in self.span.parts() {
            let (now, later) = rest.split_at(rest.len().min(part.len as usize));
            self.memory.write(part.gpa, now)?;
            // At most the part's length; all of them have fewer than 2^32 bytes.
            written = written.saturating_add(u32::try_from(now.len()).unwrap_or(part.len));
            rest = later;
        }
        Ok(written)
    }

    /// All of them, for the kernel to write; as [`Readable::into_pieces`].
    pub fn into_pieces<'m>(self, room: &'m mut Room) -> Option<Pieces<'m>>
    where
        'a: 'm,
    {
        self.span.pieces(self.memory, room)
    }

    /// Fills them with what a stream socket has now, from the first on; says how many bytes came,
    /// 0 at the end of the stream.
    ///
    /// # Errors
    /// The kernel's, `WouldBlock` among them; `InvalidInput` where the memory is gone.
    pub fn receive(&self, socket: &impl AsFd, room: &mut Room) -> io::Result<u32> {
        let pieces = self.span.pieces(self.memory, room).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(u32::try_from(receive_now(socket, &pieces)?).unwrap_or(u32::MAX).min(self.span.len))
    }
}
