//! Where a queue's three rings are, and whether they can be there.

use crate::memory::GuestMemory;
use casemate_values::Guest;

/// Entries of a queue at most. 32,768 are allowed (virtio 1.2, 2.7); no device here gains by more
/// than this, and a chain is as long as its queue at most.
pub const MAX_SIZE: u16 = 1024;

/// Where the three parts of a ring are (virtio 1.2, 2.7), as guest physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingAddresses {
    /// Descriptor table: 16 bytes an entry, aligned to 16.
    pub descriptors: u64,
    /// Available ring: 6 bytes and 2 an entry, aligned to 2.
    pub available: u64,
    /// Used ring: 6 bytes and 8 an entry, aligned to 4.
    pub used: u64,
}

/// Why a queue cannot be what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The size is none that a split queue has here.
    #[error("a queue has 1 to {MAX_SIZE} entries, a power of two")]
    Size,
    /// Size or addresses were never set.
    #[error("the queue has no size, or no rings yet")]
    Unset,
    /// Part of a ring is not in guest memory, or not aligned.
    #[error("the {0} is not in guest memory, or not aligned")]
    Place(&'static str),
}

/// Whether all of a ring is in memory, and aligned as virtio 1.2, 2.7 says.
pub(crate) fn check_rings(
    rings: RingAddresses,
    size: u16,
    memory: &impl GuestMemory,
) -> Result<(), RingError> {
    let entries = u32::from(size);
    for (what, at, align, len) in [
        ("descriptor table", rings.descriptors, 16, 16 * entries),
        ("available ring", rings.available, 2, 6 + 2 * entries),
        ("used ring", rings.used, 4, 6 + 8 * entries),
    ] {
        let there = memory.segment(Guest::new(at), Guest::new(len)).is_some();
        if !there || !at.is_multiple_of(align) {
            return Err(RingError::Place(what));
        }
    }
    Ok(())
}
