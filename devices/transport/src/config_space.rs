//! The function's configuration space: a type 0 header and its capabilities (PCI Local Bus
//! Specification 3.0, chapter 6; virtio 1.2, 4.1.2 and 4.1.4).

use crate::features::halves;
use crate::identity::Identity;
use crate::layout::{BAR_SIZE, COMMON, DEVICE, ISR, NOTIFY, NOTIFY_STEP, PENDING, Part, TABLE};
use crate::msix::ENTRY;
use casemate_values::PAGE_BYTES;

/// Bytes with contents; the rest of the 4 KiB of a function reads as zeros: no extended
/// capability.
const SIZE: usize = 256;
const VENDOR: u16 = 0x1af4;
/// Device id of kind 0: 4.1.2.
const FIRST_DEVICE: u16 = 0x1040;
const COMMAND: usize = 0x04;
const BAR: usize = 0x10;
const FIRST_CAPABILITY: u8 = 0x40;
/// Bits of the command register.
pub(crate) const MEMORY_SPACE: u16 = 1 << 1;
pub(crate) const BUS_MASTER: u16 = 1 << 2;
/// Without a pin it disables nothing, but drivers set it and expect to read it.
const INTX_DISABLE: u16 = 1 << 10;
/// Bits of MSI-X message control.
pub(crate) const MSIX_ENABLE: u16 = 1 << 15;
pub(crate) const FUNCTION_MASK: u16 = 1 << 14;

/// The 256 bytes of configuration space, of which the guest can change few bits.
#[derive(Debug, Clone)]
pub(crate) struct ConfigSpace {
    bytes: [u8; SIZE],
    /// The bits of each byte that a guest can change.
    writable: [u8; SIZE],
    bar: u32,
    /// All ones were written to the BAR last: it answers with its size.
    sizing: bool,
    /// Where MSI-X message control is.
    msix_control: usize,
}

impl ConfigSpace {
    pub(crate) fn new(identity: &Identity) -> Self {
        let mut space = Self {
            bytes: [0; SIZE],
            writable: [0; SIZE],
            bar: identity.bar,
            sizing: false,
            msix_control: SIZE,
        };
        let device = FIRST_DEVICE.saturating_add(identity.kind);
        space.put(0x00, &VENDOR.to_le_bytes());
        space.put(0x02, &device.to_le_bytes());
        space.let_write(COMMAND, MEMORY_SPACE | BUS_MASTER | INTX_DISABLE);
        // Status: there is a list of capabilities.
        space.put(0x06, &(1_u16 << 4).to_le_bytes());
        // Revision 1 or higher: no transitional device (4.1.2.1).
        let [interface, subclass, class, _] = identity.class.to_le_bytes();
        space.put(0x08, &[1, interface, subclass, class]);
        // Subsystem: 0x40 or higher says the same to drivers that look there.
        space.put(0x2c, &VENDOR.to_le_bytes());
        space.put(0x2e, &device.to_le_bytes());
        space.put(0x34, &[FIRST_CAPABILITY]);
        space.capabilities(identity);
        space
    }

    fn capabilities(&mut self, identity: &Identity) {
        let queues = u32::from(identity.queues);
        let notify = Part { offset: NOTIFY, length: queues * NOTIFY_STEP };
        let config = u32::try_from(identity.config.len()).unwrap_or(0);
        let device = Part { offset: DEVICE, length: config };
        let mut list: Vec<Vec<u8>> = vec![
            virtio(1, COMMON, &[]),
            virtio(2, notify, &NOTIFY_STEP.to_le_bytes()),
            virtio(3, ISR, &[]),
        ];
        if config > 0 {
            list.push(virtio(4, device, &[]));
        }
        // MSI-X: message control, table and pending bits, both in BAR 0. A vector for each queue
        // and one for changes of configuration; the field holds one less.
        let control = identity.queues.to_le_bytes();
        let msix =
            [&[0x11, 0], &control[..], &TABLE.to_le_bytes(), &PENDING.to_le_bytes()].concat();
        list.push(msix);
        let mut at = usize::from(FIRST_CAPABILITY);
        for (index, capability) in list.iter().enumerate() {
            let next = at + capability.len().next_multiple_of(4);
            self.put(at, capability);
            let is_last = index + 1 == list.len();
            let link = if is_last { 0 } else { u8::try_from(next).unwrap_or(0) };
            self.put(at + 1, &[link]);
            if is_last {
                self.msix_control = at + 2;
                self.let_write(at + 2, MSIX_ENABLE | FUNCTION_MASK);
            }
            at = next;
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }

    fn let_write(&mut self, at: usize, bits: u16) {
        for (to, from) in self.writable.iter_mut().skip(at).zip(bits.to_le_bytes()) {
            *to = from;
        }
    }

    /// Where an access of a legal kind is: 1, 2 or 4 bytes, inside one double word of the
    /// function's 4 KiB.
    fn place(offset: u64, len: usize) -> Option<usize> {
        let legal = matches!(len, 1 | 2 | 4) && offset.is_multiple_of(len as u64);
        usize::try_from(offset).ok().filter(|at| legal && *at < PAGE_BYTES)
    }

    /// Reads; ones for an access of no legal kind.
    pub(crate) fn read(&self, offset: u64, data: &mut [u8]) {
        let Some(at) = Self::place(offset, data.len()) else { return data.fill(0xff) };
        let bar = self.bar_register();
        for (at, byte) in (at..).zip(data) {
            let in_bar = at.checked_sub(BAR).and_then(|at| bar.get(at));
            *byte = in_bar.or_else(|| self.bytes.get(at)).copied().unwrap_or(0);
        }
    }

    /// Writes what can be written.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let Some(at) = Self::place(offset, data.len()) else { return };
        if at == BAR
            && let Some(address) = data.first_chunk()
        {
            // Fixed: the doorbells are registered with KVM before the guest runs. A guest learns
            // the size by writing ones; any other address it writes reads back as the one that is.
            let size = self.size_register();
            self.sizing = u32::from_le_bytes(*address) & size == size;
        }
        let (bytes, masks) = (self.bytes.iter_mut(), self.writable.iter());
        for ((byte, mask), new) in bytes.zip(masks).skip(at).zip(data) {
            *byte = *byte & !mask | new & mask;
        }
    }

    /// What the BAR reads as when its size is asked for: the bits that an address can have. The
    /// type bits are zeros: memory, 32 bits wide, not prefetchable.
    fn size_register(&self) -> u32 {
        let [low, _] = halves(!(BAR_SIZE - 1));
        low
    }

    fn bar_register(&self) -> [u8; 4] {
        let register = if self.sizing { self.size_register() } else { self.bar };
        register.to_le_bytes()
    }

    fn word(&self, at: usize) -> u16 {
        let bytes = self.bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u16::from_le_bytes(*bytes))
    }

    pub(crate) fn command(&self) -> u16 {
        self.word(COMMAND)
    }

    pub(crate) fn msix_control(&self) -> u16 {
        self.word(self.msix_control)
    }
}

/// `struct virtio_pci_cap` (4.1.4): id, next, length, type, BAR, id, padding, offset, length, and
/// what a type has more.
fn virtio(kind: u8, part: Part, more: &[u8]) -> Vec<u8> {
    let length = 16 + u8::try_from(more.len()).unwrap_or(0);
    let head = [0x09, 0, length, kind, 0, 0, 0, 0];
    [&head[..], &part.offset.to_le_bytes(), &part.length.to_le_bytes(), more].concat()
}

/// Bytes of the MSI-X table of so many vectors.
pub(crate) const fn table_bytes(vectors: u16) -> u64 {
    vectors as u64 * ENTRY
}
