//! A device as its driver drives it, rules kept: reset, negotiation, split queues. One of them is
//! the one that is used; it is the first unless another was chosen.

use crate::memory::{Memory, PAGE};
use crate::pci::Function;
use crate::registers::{
    ACKNOWLEDGE, AVAILABLE, DESCRIPTORS, DEVICE_FEATURE, DEVICE_FEATURE_SELECT, DRIVER,
    DRIVER_FEATURE, DRIVER_FEATURE_SELECT, DRIVER_OK, FEATURES_OK, NEEDS_RESET, QUEUE_ENABLE,
    QUEUE_SELECT, QUEUE_SIZE, QUEUES, RO, Register, STATUS, USED,
};
use std::time::{Duration, Instant};

/// Entries of each queue.
pub const SIZE: u16 = 32;
/// Where in the pages: a page each, but for the data, which has the rest.
pub const TABLE: usize = 0;
pub const RING: usize = PAGE;
pub const ANSWERS: usize = 2 * PAGE;
pub const HEADER: usize = 3 * PAGE;
pub const STATUS_BYTE: usize = 4 * PAGE;
pub const DATA: usize = 5 * PAGE;
/// Pages of the first queue and of all data.
pub const PAGES: usize = 24;
/// Queues that are driven at most. The rings of the others are behind those pages.
pub const MOST: usize = 3;
/// What a status byte is before the device writes it.
const UNTOUCHED: u8 = 0xee;
/// After so long a device is called silent. Emulated processors on a busy machine are slow; a
/// device that answers does so at once.
pub const SILENCE: Duration = Duration::from_secs(20);

/// A descriptor (2.7.5).
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    pub address: u64,
    pub len: u32,
    pub flags: u16,
    pub next: u16,
}

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// A device and this driver's side of it.
#[derive(Debug)]
pub struct Device {
    pub function: Function,
    pub memory: Memory,
    /// The index of the available ring of the queue that is used.
    pub available: u16,
    /// That queue, and the indices of those that are not.
    queue: u16,
    others: [u16; MOST],
    /// How far each used ring was looked at.
    seen: [u16; MOST],
}

impl Device {
    pub fn new(function: Function) -> Self {
        let memory = Memory::new(PAGES + 3 * (MOST - 1));
        let (others, seen) = ([0; MOST], [0; MOST]);
        Self { function, memory, available: 0, queue: 0, others, seen }
    }

    /// Queues that the device has, as far as they are driven.
    fn queues(&self) -> u16 {
        let queues = self.get(QUEUES);
        u16::try_from(queues).unwrap().min(MOST as u16)
    }

    /// Uses another queue from now on.
    pub fn turn_to(&mut self, queue: u16) {
        self.others[usize::from(self.queue)] = self.available;
        self.queue = queue;
        self.available = self.others[usize::from(queue)];
    }

    /// Where the rings of a queue are, behind where those of the first would be.
    fn rings(queue: u16) -> usize {
        if queue == 0 { 0 } else { (PAGES + 3 * (usize::from(queue) - 1)) * PAGE }
    }

    pub fn get(&self, Register(at, width): Register) -> u64 {
        self.function.bar.read(self.function.places.common + at, width)
    }

    pub fn set(&self, Register(at, width): Register, value: u64) {
        self.function.bar.write(self.function.places.common + at, width, value);
    }

    /// Writes a 64-bit register as drivers have to: by halves.
    pub fn set_address(&self, Register(at, width): Register, value: u64) {
        self.set(Register(at, width), value & 0xffff_ffff);
        self.set(Register(at + 4, width), value >> 32);
    }

    /// Resets the device and waits until it says that it has.
    pub fn reset(&mut self) {
        self.set(STATUS, 0);
        let begun = Instant::now();
        while self.get(STATUS) != 0 {
            assert!(begun.elapsed() < SILENCE, "the device does not come out of its reset");
            pause();
        }
        (self.available, self.queue, self.others, self.seen) = (0, 0, [0; MOST], [0; MOST]);
        for queue in 0..MOST as u16 {
            self.memory.write(Self::rings(queue), &[0; 3 * PAGE]);
        }
    }

    pub fn offered(&self) -> u64 {
        let half = |select| {
            self.set(DEVICE_FEATURE_SELECT, select);
            self.get(DEVICE_FEATURE)
        };
        half(0) | half(1) << 32
    }

    pub fn accept(&self, features: u64) {
        for half in [0, 1] {
            self.set(DRIVER_FEATURE_SELECT, half);
            self.set(DRIVER_FEATURE, features >> (32 * half) & 0xffff_ffff);
        }
    }

    /// Up to a driver that may accept features.
    pub fn begin(&mut self) {
        self.reset();
        self.set(STATUS, ACKNOWLEDGE);
        self.set(STATUS, ACKNOWLEDGE | DRIVER);
    }

    /// Up to features that are agreed on.
    pub fn negotiate(&mut self) {
        self.begin();
        self.accept(self.offered());
        self.set(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        assert!(self.get(STATUS) & FEATURES_OK != 0, "what was offered is refused");
    }

    /// Places the first queue where its rings are in this program's pages, and selects it.
    pub fn place(&self) {
        self.place_queue(0);
    }

    fn place_queue(&self, queue: u16) {
        self.set(QUEUE_SELECT, queue.into());
        self.set(QUEUE_SIZE, SIZE.into());
        for (register, at) in [(DESCRIPTORS, TABLE), (AVAILABLE, RING), (USED, ANSWERS)] {
            self.set_address(register, self.memory.physical(Self::rings(queue) + at));
        }
    }

    /// Up to queues that are enabled; the first one is selected.
    pub fn set_up(&mut self) {
        self.negotiate();
        for queue in (0..self.queues()).rev() {
            self.place_queue(queue);
            self.set(QUEUE_ENABLE, 1);
        }
    }

    /// Up to a device that runs.
    pub fn start(&mut self) {
        self.set_up();
        self.run();
    }

    pub fn run(&self) {
        self.set(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    pub fn is_read_only(&self) -> bool {
        self.offered() & RO != 0
    }

    /// A piece of this program's memory, to be read by the device.
    pub fn piece(&self, at: usize, len: u32) -> Descriptor {
        Descriptor { address: self.memory.physical(at), len, flags: 0, next: 0 }
    }

    /// Writes a descriptor as it is.
    pub fn put(&self, index: u16, descriptor: Descriptor) {
        let mut bytes = descriptor.address.to_le_bytes().to_vec();
        bytes.extend(descriptor.len.to_le_bytes());
        bytes.extend(descriptor.flags.to_le_bytes());
        bytes.extend(descriptor.next.to_le_bytes());
        self.memory.write(Self::rings(self.queue) + TABLE + 16 * usize::from(index), &bytes);
    }

    /// Writes a chain into the table, from entry `first` on.
    pub fn chain(&self, first: u16, chain: &[Descriptor]) {
        for (index, descriptor) in (first..).zip(chain) {
            let is_last = usize::from(index - first) + 1 == chain.len();
            let link = if is_last { 0 } else { NEXT };
            let next = if is_last { descriptor.next } else { index + 1 };
            self.put(index, Descriptor { flags: descriptor.flags | link, next, ..*descriptor });
        }
    }

    /// Makes a chain available, and does not say so.
    pub fn offer(&mut self, head: u16) {
        let (slot, ring) = (usize::from(self.available % SIZE), Self::rings(self.queue) + RING);
        self.memory.store(ring + 4 + 2 * slot, head);
        self.available = self.available.wrapping_add(1);
        self.memory.store(ring + 2, self.available);
    }

    /// Says that so many entries are available.
    pub fn jump(&mut self, index: u16) {
        self.available = index;
        self.memory.store(Self::rings(self.queue) + RING + 2, index);
    }

    pub fn kick(&self) {
        self.ring(self.queue.into(), 2, self.queue.into());
    }

    /// Rings the doorbell of a queue by a store of this width and value.
    pub fn ring(&self, queue: usize, width: usize, value: u64) {
        let places = self.function.places;
        self.function.bar.write(places.notify + places.step * queue, width, value);
    }

    /// Asks for a chain to be done, and says what came of it.
    pub fn ask(&mut self, chain: &[Descriptor]) -> String {
        self.chain(0, chain);
        self.ask_head(0)
    }

    /// Asks for the chain at `head`, which is in the table.
    pub fn ask_head(&mut self, head: u16) -> String {
        self.memory.write(STATUS_BYTE, &[UNTOUCHED]);
        self.offer(head);
        self.kick();
        self.outcome(head)
    }

    /// What came of the chain at `head`, which was the last one made available.
    pub fn outcome(&self, head: u16) -> String {
        match self.answer(SILENCE) {
            Answer::NeedsReset => "needs reset".into(),
            Answer::Silent => "silent".into(),
            Answer::Given { id, .. } if id != u32::from(head) => format!("answers {id}"),
            Answer::Given { len, .. } => {
                let status = self.memory.read(STATUS_BYTE, 1);
                match status.first().copied() {
                    Some(UNTOUCHED) => format!("length {len}"),
                    status => format!("length {len}, status {}", status.unwrap_or(UNTOUCHED)),
                }
            }
        }
    }

    /// An entry of the used ring: head, length.
    fn entry(&self, index: u16) -> (u32, u32) {
        let at = Self::rings(self.queue) + ANSWERS + 4 + 8 * usize::from(index % SIZE);
        let entry = self.memory.read(at, 8);
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| entry[at + byte]));
        (number(0), number(4))
    }

    /// The next entry of the used ring that nobody has looked at: head, length.
    pub fn next_used(&mut self) -> Option<(u32, u32)> {
        let seen = self.seen[usize::from(self.queue)];
        if self.memory.load(Self::rings(self.queue) + ANSWERS + 2) == seen {
            return None;
        }
        self.seen[usize::from(self.queue)] = seen.wrapping_add(1);
        Some(self.entry(seen))
    }

    /// Waits for the answer to all that was made available; the last one.
    pub fn answer(&self, limit: Duration) -> Answer {
        let begun = Instant::now();
        loop {
            if self.memory.load(Self::rings(self.queue) + ANSWERS + 2) == self.available {
                let (id, len) = self.entry(self.available.wrapping_sub(1));
                return Answer::Given { id, len };
            }
            if self.get(STATUS) & NEEDS_RESET != 0 {
                return Answer::NeedsReset;
            }
            if begun.elapsed() > limit {
                return Answer::Silent;
            }
            pause();
        }
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Given { id: u32, len: u32 },
    NeedsReset,
    Silent,
}

/// Lets the host's other processes run: this processor may be the host's only one.
pub fn pause() {
    std::thread::sleep(Duration::from_micros(500));
}
