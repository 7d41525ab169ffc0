//! A queue that runs: takes requests and answers them.

use crate::chain::{Chain, Malformed};
use crate::data::Request;
use crate::memory::{GuestMemory, Unreachable};
use crate::rings::{RingAddresses, RingError, check_rings};
use casemate_values::{Guest, Shown};
use std::sync::atomic::{Ordering, fence};

/// Offset of the index in either ring; the flags are before it, the entries behind it.
pub(crate) const INDEX: u64 = 2;
const ENTRIES: u64 = 4;
/// `VIRTQ_USED_F_NO_NOTIFY`: the device looks by itself.
const NO_NOTIFY: u16 = 1;
/// `VIRTQ_AVAIL_F_NO_INTERRUPT`: the driver looks by itself.
const NO_INTERRUPT: u64 = 1;

/// Why a queue cannot go on: it needs a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The driver says that more requests are available than the ring holds.
    #[error("the available index {available} is more than {size} ahead of {answered}")]
    IndexJumped {
        /// The index the driver wrote.
        available: Shown,
        /// The index of the first entry that is not answered.
        answered: u16,
        /// Entries of the ring.
        size: u16,
    },
    /// Part of a ring is not there any more.
    #[error("a ring is gone: {0}")]
    Gone(#[from] Unreachable),
}

/// Says which request an answer is for. Each request is answered once.
#[derive(Debug)]
#[must_use = "every request is answered, malformed ones, too"]
pub struct Head {
    /// As the driver wrote it into the ring, so that it gets back what it wrote.
    id: Guest<u16>,
    /// What an answer can have been written at most.
    writable: u32,
}

/// What the next entry of the available ring leads to.
#[derive(Debug)]
pub enum Taken<'a, M> {
    /// A chain that is whole.
    Request(Head, Request<'a, M>),
    /// A chain that is not: to be answered with length 0.
    Malformed(Head, Malformed),
}

/// A queue that runs. Nothing about it can be set.
#[derive(Debug)]
pub struct Running {
    size: u16,
    rings: RingAddresses,
    /// Index of the next entry to take. Ours: what the driver makes of the used ring is never read.
    next_available: u16,
    /// Index of the next entry to answer; behind the other by what is in flight.
    next_used: u16,
    /// Answers behind that index which are written and which the driver is not to see yet.
    staged: u16,
    chain: Chain,
}

impl Running {
    pub(crate) fn new(size: u16, rings: RingAddresses, next: u16) -> Self {
        let chain = Chain::with_room(size);
        Self { size, rings, next_available: next, next_used: next, staged: 0, chain }
    }

    /// Takes the next request, if there is one.
    ///
    /// # Errors
    /// [`QueueError`]: the queue needs a reset.
    pub fn take<'a, M: GuestMemory>(
        &'a mut self,
        memory: &'a M,
    ) -> Result<Option<Taken<'a, M>>, QueueError> {
        let written = memory.load(self.rings.available.wrapping_add(INDEX))?;
        // Against what is answered, not what is taken: with requests in flight the driver must have
        // fewer than the ring holds in it, or one descriptor would be in flight twice.
        if written.wrapping_sub(self.next_used) > self.size {
            return Err(QueueError::IndexJumped {
                available: Guest::new(written).shown(),
                answered: self.next_used,
                size: self.size,
            });
        }
        if written == self.next_available {
            return Ok(None);
        }
        let mut entry = [0; 2];
        memory.read(self.entry(self.rings.available, self.next_available, 2), &mut entry)?;
        let id = Guest::new(u16::from_le_bytes(entry));
        let followed = self.chain.follow(memory, self.rings.descriptors, self.size, id)?;
        self.next_available = self.next_available.wrapping_add(1);
        Ok(Some(match followed {
            Ok(()) => {
                let request = Request::new(memory, self.chain.parts());
                Taken::Request(Head { id, writable: request.writable.len() }, request)
            }
            Err(wrong) => Taken::Malformed(Head { id, writable: 0 }, wrong),
        }))
    }

    /// Answers a request: the first `written` bytes of what it let the device write are written.
    ///
    /// # Errors
    /// [`QueueError::Gone`].
    pub fn answer<M: GuestMemory>(
        &mut self,
        memory: &M,
        head: Head,
        written: u32,
    ) -> Result<(), QueueError> {
        self.stage(memory, head, written)?;
        self.publish(memory)
    }

    /// Writes the answer to a request, which the driver does not see before [`Running::publish`]:
    /// several requests that belong together are answered at once, or not at all when the queue is
    /// stopped before.
    ///
    /// # Errors
    /// [`QueueError::Gone`].
    #[allow(clippy::needless_pass_by_value, reason = "a head is used up: one answer each")]
    pub fn stage<M: GuestMemory>(
        &mut self,
        memory: &M,
        head: Head,
        written: u32,
    ) -> Result<(), QueueError> {
        let [low, high] = [head.id.byte(0), head.id.byte(1)];
        let [l0, l1, l2, l3] = written.min(head.writable).to_le_bytes();
        let entry = [low, high, 0, 0, l0, l1, l2, l3];
        let index = self.next_used.wrapping_add(self.staged);
        memory.write(self.entry(self.rings.used, index, 8), &entry)?;
        // One for each request that was taken, of which there are no more than the ring holds.
        self.staged = self.staged.wrapping_add(1);
        Ok(())
    }

    /// Lets the driver see every answer that was written.
    ///
    /// # Errors
    /// [`QueueError::Gone`].
    pub fn publish<M: GuestMemory>(&mut self, memory: &M) -> Result<(), QueueError> {
        self.next_used = self.next_used.wrapping_add(std::mem::take(&mut self.staged));
        // The entries are seen before the index that says they are there (virtio 1.2, 2.7.8.2).
        memory.store(self.rings.used.wrapping_add(INDEX), self.next_used)?;
        Ok(())
    }

    /// Whether the driver wants to be told of answers.
    ///
    /// # Errors
    /// [`QueueError::Gone`].
    pub fn wants_interrupt<M: GuestMemory>(&self, memory: &M) -> Result<bool, QueueError> {
        // Its flags must not be older than our index, or it could stop looking in between: store,
        // full barrier, load on both sides (virtio 1.2, 2.7.7.2).
        fence(Ordering::SeqCst);
        Ok(!Guest::new(memory.load(self.rings.available)?).has(NO_INTERRUPT))
    }

    /// Tells the driver that it need not notify: the device looks by itself.
    ///
    /// # Errors
    /// [`QueueError::Gone`].
    pub fn suppress_notifications<M: GuestMemory>(&self, memory: &M) -> Result<(), QueueError> {
        Ok(memory.store(self.rings.used, NO_NOTIFY)?)
    }

    /// Asks for notifications again, and says whether requests came in the meantime: those were not
    /// notified of, so they must be taken before waiting.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn allow_notifications<M: GuestMemory>(&self, memory: &M) -> Result<bool, QueueError> {
        memory.store(self.rings.used, 0)?;
        fence(Ordering::SeqCst);
        Ok(memory.load(self.rings.available.wrapping_add(INDEX))? != self.next_available)
    }

    /// Whether the rings are all in `memory`, when the front end has replaced what they were in.
    ///
    /// # Errors
    /// [`RingError::Place`].
    pub fn is_in(&self, memory: &impl GuestMemory) -> Result<(), RingError> {
        check_rings(self.rings, self.size, memory)
    }

    /// How many answers are written that the driver does not see yet.
    #[must_use]
    pub const fn staged(&self) -> u16 {
        self.staged
    }

    /// How many entries the ring has.
    #[must_use]
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// The index of the first entry that is not answered.
    #[must_use]
    pub const fn answered(&self) -> u16 {
        self.next_used
    }

    /// The address of the entry `index` of a ring. Rings are in memory as a whole, so it does not
    /// wrap.
    fn entry(&self, ring: u64, index: u16, bytes: u64) -> u64 {
        let slot = u64::from(index & self.size.wrapping_sub(1));
        ring.wrapping_add(ENTRIES).wrapping_add(slot.wrapping_mul(bytes))
    }
}
