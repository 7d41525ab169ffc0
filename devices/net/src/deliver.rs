//! A frame on its way into the guest's buffers: one, or with MRG_RXBUF as many as it takes, which
//! the driver sees all at once or not at all (virtio 1.2, 5.1.6.4).

use crate::header::{HEADER, Header, MAX_FRAME, feature};
use casemate_device_backend::Served;
use casemate_device_queue::{GuestMemory, QueueError, Taken};

/// A header and the largest frame.
const ROOM: usize = HEADER + MAX_FRAME;

/// What came of a look at the guest's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The frame is the guest's, or dropped: the next one can come.
    Done,
    /// It needs a buffer, and there is none.
    Starved,
}

/// The frame in hand.
#[derive(Debug)]
pub(crate) struct Delivery {
    bytes: Vec<u8>,
    /// Bytes of it, the header's among them; 0 without a frame.
    len: usize,
    /// How many are in buffers of the guest.
    written: usize,
    /// In how many buffers.
    buffers: u16,
    /// Where the first one has that number: a byte each.
    count_at: [Option<u64>; 2],
}

impl Delivery {
    pub(crate) fn new() -> Self {
        let (bytes, count_at) = (vec![0; ROOM], [None; 2]);
        Self { bytes, len: 0, written: 0, buffers: 0, count_at }
    }

    /// Whether there is a frame.
    pub(crate) const fn is_some(&self) -> bool {
        self.len > 0
    }

    /// Where the next frame is read to.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Takes the frame that was read, of `len` bytes with its header; whether it is one that the
    /// driver can take.
    pub(crate) fn begin(&mut self, len: usize, features: u64) -> bool {
        self.clear();
        let whole = self.bytes.get_mut(..len).filter(|whole| whole.len() > HEADER);
        let Some(head) = whole.and_then(|whole| whole.first_chunk_mut::<HEADER>()) else {
            return false;
        };
        let Some(told) = Header::read(head).of_host(features, 1) else { return false };
        *head = *told.bytes();
        self.len = len;
        true
    }

    /// The frame, without its header.
    pub(crate) fn frame(&self) -> &[u8] {
        self.bytes.get(HEADER..self.len).unwrap_or(&[])
    }

    /// A queue of the device was stopped. What the guest has nothing of is dropped: the next driver
    /// may have other wishes. If it has some, [`Delivery::step`] sees whose queue was stopped.
    pub(crate) const fn stopped(&mut self) {
        if self.buffers == 0 {
            self.clear();
        }
    }

    const fn clear(&mut self) {
        (self.len, self.written, self.buffers) = (0, 0, 0);
        self.count_at = [None; 2];
    }

    /// Puts as much of the frame into the guest's buffers as they have room for.
    pub(crate) fn step<M: GuestMemory>(
        &mut self,
        queue: &mut Served<'_, M>,
        features: u64,
    ) -> Result<Step, QueueError> {
        // Another ring than that in which a part of it is: that part is nobody's any more.
        if queue.staged() != self.buffers {
            self.clear();
            return Ok(Step::Done);
        }
        let merges = features & feature::MRG_RXBUF != 0;
        while self.written < self.len {
            if queue.is_all_staged() {
                // Every buffer of the ring is not enough: the driver has room for no such frame,
                // and gets its buffers back empty.
                self.clear();
                queue.publish()?;
                return Ok(Step::Done);
            }
            let Some(taken) = queue.take()? else { return Ok(Step::Starved) };
            let (head, put) = match taken {
                Taken::Malformed(head, _) => (head, 0),
                Taken::Request(head, request) => {
                    let rest = self.bytes.get(self.written..self.len).unwrap_or(&[]);
                    let room = request.writable.len() as usize;
                    // The number of buffers is whole in the first one; without merged buffers so is
                    // the frame (5.1.6.3.1).
                    let fits = match (self.buffers, merges) {
                        (0, true) => room >= HEADER,
                        (0, false) => room >= rest.len(),
                        _ => true,
                    };
                    if fits && self.buffers == 0 {
                        self.count_at = [10, 11].map(|offset| request.writable.place(offset));
                    }
                    let put = if fits { request.writable.put(rest) } else { Ok(0) };
                    (head, put.unwrap_or(0))
                }
            };
            if put == 0 {
                self.lose(queue, head)?;
                return Ok(Step::Done);
            }
            queue.stage(head, put)?;
            self.written = self.written.saturating_add(put as usize);
            self.buffers = self.buffers.saturating_add(1);
        }
        if self.buffers > 1 {
            for (at, byte) in self.count_at.into_iter().zip(self.buffers.to_le_bytes()) {
                queue.write(at.unwrap_or(u64::MAX), &[byte])?;
            }
        }
        self.clear();
        queue.publish()?;
        Ok(Step::Done)
    }

    /// A buffer that is none, or too small, loses the frame: it is given back empty, with those
    /// before it, whose packet the driver sees to be cut off.
    fn lose<M: GuestMemory>(
        &mut self,
        queue: &mut Served<'_, M>,
        head: casemate_device_queue::Head,
    ) -> Result<(), QueueError> {
        self.clear();
        queue.stage(head, 0)?;
        queue.publish()
    }
}
