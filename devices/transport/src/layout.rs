//! Where what is in the BAR: the one table for capabilities, for decoding and for doorbells.

use casemate_values::PAGE_SIZE;

/// Bytes of the one BAR, memory below 4 GiB, not prefetchable.
pub const BAR_SIZE: u64 = 4 * PAGE_SIZE;

/// A part of the BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// `struct virtio_pci_common_cfg` without the fields of features that are not offered
/// (NOTIFICATION_DATA, RING_RESET): virtio 1.2, 4.1.4.3.
pub(crate) const COMMON: Part = Part { offset: 0, length: 56 };
/// The ISR byte: 4.1.4.5.
pub(crate) const ISR: Part = Part { offset: 0x200, length: 1 };
/// Where the device's own configuration starts; its length is the device's.
pub(crate) const DEVICE: u32 = 0x400;
/// Doorbells have a page of their own, so that nothing else shares its fate in KVM or in a page
/// table.
pub(crate) const NOTIFY: u32 = 0x1000;
/// Bytes between the doorbells of two queues: `notify_off_multiplier`. Each queue has an address of
/// its own, so that KVM tells them apart by address alone, whatever is written.
pub(crate) const NOTIFY_STEP: u32 = 4;
/// The MSI-X table: vectors that the guest writes.
pub(crate) const TABLE: u32 = 0x2000;
/// The MSI-X pending bits.
pub(crate) const PENDING: u32 = 0x3000;

/// Offset in the BAR of the doorbell of queue `queue`.
#[must_use]
pub const fn doorbell(queue: u16) -> u64 {
    // No `From` in a const function; neither conversion can lose anything.
    (NOTIFY + NOTIFY_STEP * queue as u32) as u64
}

/// The offset inside `part`, if the whole access is there.
pub(crate) fn within(part: Part, offset: u64, len: usize) -> Option<u64> {
    let at = offset.checked_sub(u64::from(part.offset))?;
    let end = at.checked_add(len as u64)?;
    (end <= u64::from(part.length)).then_some(at)
}
