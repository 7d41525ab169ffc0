//! A chain of descriptors: where a request's bytes are.

use crate::memory::{GuestMemory, Segment, Unreachable};
use crate::rings::MAX_SIZE;
use casemate_values::Guest;

/// The chain goes on at `next`.
const NEXT: u64 = 1;
/// The device writes it.
const WRITE: u64 = 2;
/// It holds a table of descriptors; never negotiated here.
const INDIRECT: u64 = 4;
/// Bytes of a descriptor.
const BYTES: u64 = 16;

/// What is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It begins or goes on at an entry that the table does not have.
    #[error("a descriptor's number is beyond the table")]
    NoSuchDescriptor,
    /// It comes back to a descriptor; a chain that is longer than its table does, too.
    #[error("the chain is a loop")]
    Loop,
    /// A descriptor's bytes are not in guest memory, or wrap.
    #[error("a descriptor names bytes that are not in guest memory")]
    Outside,
    /// A descriptor without bytes. No driver has a use for one, and QEMU refuses them, too.
    #[error("a descriptor is empty")]
    Empty,
    /// Bytes for the device to read after bytes for it to write (virtio 1.2, 2.7.4.2).
    #[error("a descriptor for reading comes after one for writing")]
    Order,
    /// An indirect table, which was not negotiated.
    #[error("a descriptor is indirect, which was not negotiated")]
    Indirect,
    /// 2^32 bytes and more (virtio 1.2, 2.7.5).
    #[error("the chain has 2^32 bytes or more")]
    TooLarge,
}

/// A descriptor, read once.
#[derive(Debug, Clone, Copy)]
struct Descriptor {
    gpa: Guest<u64>,
    len: Guest<u32>,
    flags: Guest<u16>,
    next: Guest<u16>,
}

impl Descriptor {
    fn read(memory: &impl GuestMemory, gpa: u64) -> Result<Self, Unreachable> {
        let mut bytes = [0; 16];
        memory.read(gpa, &mut bytes)?;
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, f0, f1, n0, n1] = bytes;
        Ok(Self {
            gpa: Guest::new(u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7])),
            len: Guest::new(u32::from_le_bytes([l0, l1, l2, l3])),
            flags: Guest::new(u16::from_le_bytes([f0, f1])),
            next: Guest::new(u16::from_le_bytes([n0, n1])),
        })
    }
}

/// Which descriptors of a table were read.
#[derive(Debug, Default)]
struct Visited([u64; MAX_SIZE as usize / 64]);

impl Visited {
    /// Whether it was read before; from now on it was.
    fn again(&mut self, index: u64) -> bool {
        let word = usize::try_from(index / 64).ok().and_then(|word| self.0.get_mut(word));
        let Some(word) = word else { return true };
        let bit = 1 << (index % 64);
        let again = *word & bit != 0;
        *word |= bit;
        again
    }
}

/// Where the bytes of one request are: first those to read, then those to write. Reused from
/// request to request, so that nothing is allocated.
#[derive(Debug)]
pub(crate) struct Chain {
    segments: Vec<Segment>,
    /// How many of them are to be read.
    readable: usize,
}

impl Chain {
    /// Room for a chain of `size` descriptors.
    pub(crate) fn with_room(size: u16) -> Self {
        Self { segments: Vec::with_capacity(size.into()), readable: 0 }
    }

    /// What is to be read, and what is to be written.
    pub(crate) fn parts(&self) -> (&[Segment], &[Segment]) {
        self.segments.split_at_checked(self.readable).unwrap_or((&self.segments, &[]))
    }

    /// Follows the chain that begins at `head`, in a table of `size` entries. Work is bounded by
    /// the size: each descriptor is read once at most.
    ///
    /// # Errors
    /// The inner: what is wrong with the chain. The outer: the table itself is gone.
    pub(crate) fn follow(
        &mut self,
        memory: &impl GuestMemory,
        table: u64,
        size: u16,
        head: Guest<u16>,
    ) -> Result<Result<(), Malformed>, Unreachable> {
        self.segments.clear();
        self.readable = 0;
        let (mut at, mut total, mut visited) = (head, 0_u32, Visited::default());
        loop {
            let Ok(index) = at.at_most(u64::from(size) - 1, "the descriptor table") else {
                return Ok(Err(Malformed::NoSuchDescriptor));
            };
            // Each is read once: what is there the second time may be something else.
            if visited.again(index) {
                return Ok(Err(Malformed::Loop));
            }
            // The table was found in memory as a whole, so its addresses do not wrap.
            let gpa = table.wrapping_add(index.wrapping_mul(BYTES));
            let descriptor = Descriptor::read(memory, gpa)?;
            if let Err(wrong) = self.add(memory, descriptor, &mut total) {
                return Ok(Err(wrong));
            }
            if !descriptor.flags.has(NEXT) {
                return Ok(Ok(()));
            }
            at = descriptor.next;
        }
    }

    fn add(
        &mut self,
        memory: &impl GuestMemory,
        descriptor: Descriptor,
        total: &mut u32,
    ) -> Result<(), Malformed> {
        if descriptor.flags.has(INDIRECT) {
            return Err(Malformed::Indirect);
        }
        if descriptor.len.is(0) {
            return Err(Malformed::Empty);
        }
        let segment = memory.segment(descriptor.gpa, descriptor.len).ok_or(Malformed::Outside)?;
        *total = total.checked_add(segment.len).ok_or(Malformed::TooLarge)?;
        if !descriptor.flags.has(WRITE) {
            if self.readable < self.segments.len() {
                return Err(Malformed::Order);
            }
            self.readable += 1;
        }
        self.segments.push(segment);
        Ok(())
    }
}
