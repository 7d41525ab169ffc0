//! A queue that does not run: its size, where its rings are, and where it begins.

use crate::memory::GuestMemory;
use crate::rings::{MAX_SIZE, RingAddresses, RingError, check_rings};
use crate::running::Running;
use casemate_values::Guest;

/// A queue that does not run. Everything can be set; nothing can be taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Negotiating {
    size: Option<u16>,
    rings: Option<RingAddresses>,
    next: u16,
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
        self.next = next;
    }

    /// The index of the first entry that was not answered.
    #[must_use]
    pub const fn next(&self) -> u16 {
        self.next
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
        Ok(Running::new(size, rings, self.next))
    }
}
