//! A queue that does not run: its size, where its rings are, and where it begins.

use crate::memory::GuestMemory;
use crate::rings::{MAX_SIZE, RingAddresses, RingError, check_rings};
use crate::running::{INDEX, Running};
use casemate_values::Guest;

/// A queue that does not run. Everything can be set; nothing can be taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Negotiating {
    size: Option<u16>,
    rings: Option<RingAddresses>,
    begin: Begin,
}

/// Where a queue begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// At this entry.
    At(u16),
    /// At the entry that the used ring's index names when the queue begins to run.
    Used,
}

impl Default for Begin {
    fn default() -> Self {
        Self::At(0)
    }
}

impl Negotiating {
    /// Sets the number of entries.
    ///
    /// # Errors
    /// [`RingError::Size`]; the size is as it was.
    pub fn set_size(&mut self, size: Guest<u32>) -> Result<(), RingError> {
        let size = size.at_most(MAX_SIZE.into(), "the entries of a queue").ok();
        let size = size.and_then(|size| u16::try_from(size).ok());
        // One entry is a size as well (virtio 1.2, 2.7), and the transport takes it: a device that
        // then refused to begin would need a reset for what its driver was allowed.
        let size = size.filter(|size| size.is_power_of_two());
        self.size = Some(size.ok_or(RingError::Size)?);
        Ok(())
    }

    /// Sets where the rings are; [`Negotiating::activate`] looks at them.
    pub const fn set_rings(&mut self, rings: RingAddresses) {
        self.rings = Some(rings);
    }

    /// Sets where to begin: the index of the first entry that was not answered
    /// ([`Running::answered`] of a queue that ran). Requests are answered in order, so one number
    /// says which are done; what was taken and not answered is taken again.
    pub const fn set_next(&mut self, next: u16) {
        self.begin = Begin::At(next);
    }

    /// Begins where the used ring's index says, read once when the queue begins to run: what a
    /// device that is gone has answered is done, and all behind it is taken again. The index is in
    /// the guest's memory, so a guest can write it, and harms itself: its requests are skipped,
    /// done twice, or the queue breaks.
    pub const fn resume(&mut self) {
        self.begin = Begin::Used;
    }

    /// The index of the first entry that was not answered; 0 where the used ring would have to be
    /// asked.
    #[must_use]
    pub const fn next(&self) -> u16 {
        match self.begin {
            Begin::At(next) => next,
            Begin::Used => 0,
        }
    }

    /// Begins to run, with rings that are wholly inside `memory`.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn activate(self, memory: &impl GuestMemory) -> Result<Running, RingError> {
        let (Some(size), Some(rings)) = (self.size, self.rings) else {
            return Err(RingError::Unset);
        };
        check_rings(rings, size, memory)?;
        let next = match self.begin {
            Begin::At(next) => next,
            Begin::Used => memory
                .load(rings.used.wrapping_add(INDEX))
                .map_err(|_| RingError::Place("used ring"))?,
        };
        Ok(Running::new(size, rings, next))
    }
}
