//! The device: its queues on one side, the stream on the other.

use crate::port::Port;
use casemate_device_backend::{PolledDevice, Served};
use casemate_device_queue::{GuestMemory, Taken};
use rustix::event::PollFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Queues of a device without MULTIPORT (virtio 1.2, 5.3.2): for the guest, of the guest.
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// How many there are.
pub const QUEUES: u16 = 2;
/// Buffers that are moved before who waits for the device's thread is looked at.
const BURST: u32 = 64;

/// A console.
#[derive(Debug)]
pub struct Console {
    port: Port<OwnedFd>,
}

impl Console {
    /// A console whose other end is a stream socket.
    #[must_use]
    pub fn new(stream: OwnedFd) -> Self {
        Self { port: Port::new(stream) }
    }

    /// Gives the guest what has come, when it has a buffer for it; whether it had.
    fn give<M: GuestMemory>(&mut self, queue: &mut Served<'_, M>) -> Result<bool, usize> {
        if !self.port.has_input() {
            return Ok(false);
        }
        let (head, written) = match queue.take().map_err(|_| RECEIVE)? {
            None => return Ok(false),
            Some(Taken::Malformed(head, _)) => (head, 0),
            Some(Taken::Request(head, buffer)) => (head, self.port.give(&buffer.writable)),
        };
        queue.answer(head, written).map_err(|_| RECEIVE)?;
        Ok(true)
    }

    /// Takes one buffer of the guest; whether there was one.
    fn take<M: GuestMemory>(&mut self, queue: &mut Served<'_, M>) -> Result<bool, usize> {
        if !self.port.can_take() {
            return Ok(false);
        }
        let head = match queue.take().map_err(|_| TRANSMIT)? {
            None => return Ok(false),
            Some(Taken::Malformed(head, _)) => head,
            Some(Taken::Request(head, buffer)) => {
                self.port.take(buffer.readable);
                head
            }
        };
        queue.answer(head, 0).map_err(|_| TRANSMIT)?;
        Ok(true)
    }
}

impl PolledDevice for Console {
    fn features(&self) -> u64 {
        // Neither SIZE, MULTIPORT nor EMERG_WRITE (5.3.3).
        0
    }

    fn config(&self) -> &[u8] {
        // Each field of it belongs to a feature that is not offered (5.3.4).
        &[]
    }

    fn queues(&self) -> u16 {
        QUEUES
    }

    fn needed(&self) -> usize {
        QUEUES.into()
    }

    fn later_descriptors(&self) -> u16 {
        0
    }

    fn started(&mut self, _: bool) {}

    fn stopped(&mut self) {
        // What the guest has written stays the host's, whichever driver comes next.
    }

    fn wait_for<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>, PollFlags)) -> Option<Duration> {
        let (reads, writes) = self.port.wants();
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, reads);
        events.set(PollFlags::OUT, writes);
        // Without a wish it is left out: poll tells of a hang-up unasked, again and again.
        if !events.is_empty() {
            add(self.port.stream().as_fd(), events);
        }
        None
    }

    fn turn<M: GuestMemory>(
        &mut self,
        queues: &mut [Served<'_, M>],
        seen: &[PollFlags],
        wanted: &dyn Fn() -> bool,
    ) -> Result<bool, usize> {
        let [receive, transmit, ..] = queues else { return Ok(false) };
        if let Some(came) = seen.first() {
            // One that is hung up is read to its end, and written to until it says so.
            let over = came.intersects(PollFlags::HUP | PollFlags::ERR);
            let (reads, writes) = self.port.wants();
            let readable = over || came.contains(PollFlags::IN);
            let writable = over || came.contains(PollFlags::OUT);
            self.port.seen(reads && readable, writes && writable);
        }
        let mut left = BURST;
        let mut more = loop {
            let gave = self.give(receive)?;
            let took = self.take(transmit)?;
            if !gave && !took {
                break false;
            }
            left = left.saturating_sub(1);
            if left == 0 || wanted() {
                break true;
            }
        };
        receive.tell().map_err(|_| RECEIVE)?;
        transmit.tell().map_err(|_| TRANSMIT)?;
        if !more {
            // Buffers are waited for only when there is something for them, output only when it can
            // be taken.
            more |= receive.listen_while(self.port.has_input()).map_err(|_| RECEIVE)?;
            more |= transmit.listen_while(self.port.can_take()).map_err(|_| TRANSMIT)?;
        }
        Ok(more)
    }
}
