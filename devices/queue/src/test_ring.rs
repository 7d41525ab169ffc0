//! A driver's side of one queue, for tests: memory, rings, chains, well-formed and not.

use crate::{GuestMemory, Memory, Negotiating, Region, RingAddresses, Running};
use casemate_values::Guest;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::os::fd::OwnedFd;

pub const SIZE: u16 = 8;
pub const BYTES: u64 = 0x1_0000;
pub const RINGS: RingAddresses =
    RingAddresses { descriptors: 0x1000, available: 0x2000, used: 0x3000 };
/// Where requests' bytes are.
pub const DATA: u64 = 0x4000;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// One descriptor: address, length, flags, next.
pub type Descriptor = (u64, u32, u16, u16);

pub struct TestRing {
    pub file: OwnedFd,
    pub memory: Memory,
    available: u16,
}

impl TestRing {
    pub fn new() -> Self {
        let file = memfd_create("ring", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, BYTES).unwrap();
        let memory = Memory::new(vec![Region::map(&file, 0, 0, BYTES).unwrap()]).unwrap();
        Self { file, memory, available: 0 }
    }

    pub fn negotiating() -> Negotiating {
        let mut queue = Negotiating::default();
        queue.set_size(Guest::new(SIZE.into())).unwrap();
        queue.set_rings(RINGS);
        queue
    }

    pub fn queue(&self) -> Running {
        Self::negotiating().activate(&self.memory).unwrap()
    }

    pub fn describe(&self, index: u16, (gpa, len, flags, next): Descriptor) {
        let at = RINGS.descriptors + u64::from(index) * 16;
        self.memory.write(at, &gpa.to_le_bytes()).unwrap();
        self.memory.write(at + 8, &len.to_le_bytes()).unwrap();
        self.memory.write(at + 12, &flags.to_le_bytes()).unwrap();
        self.memory.write(at + 14, &next.to_le_bytes()).unwrap();
    }

    /// Puts descriptors into the table from 0 on.
    pub fn table(&self, descriptors: &[Descriptor]) {
        for (index, descriptor) in descriptors.iter().enumerate() {
            self.describe(u16::try_from(index).unwrap(), *descriptor);
        }
    }

    /// Makes the chain at `head` available.
    pub fn offer(&mut self, head: u16) {
        let slot = u64::from(self.available % SIZE);
        self.memory.write(RINGS.available + 4 + slot * 2, &head.to_le_bytes()).unwrap();
        self.set_index(self.available.wrapping_add(1));
    }

    pub fn set_index(&mut self, index: u16) {
        self.available = index;
        self.memory.store(RINGS.available + 2, index).unwrap();
    }

    pub fn used_index(&self) -> u16 {
        self.memory.load(RINGS.used + 2).unwrap()
    }

    /// The entry `index` of the used ring: head and length.
    pub fn used(&self, index: u16) -> (u32, u32) {
        let mut bytes = [0; 8];
        let at = RINGS.used + 4 + u64::from(index % SIZE) * 8;
        self.memory.read(at, &mut bytes).unwrap();
        let [a, b, c, d, e, f, g, h] = bytes;
        (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
    }
}
