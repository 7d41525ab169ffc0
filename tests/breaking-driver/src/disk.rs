//! A disk as its driver drives it, rules kept: reset, negotiation, a split queue, requests.

use crate::memory::{Memory, PAGE};
use crate::pci::Function;
use crate::registers::{
    ACKNOWLEDGE, AVAILABLE, DESCRIPTORS, DEVICE_FEATURE, DEVICE_FEATURE_SELECT, DRIVER,
    DRIVER_FEATURE, DRIVER_FEATURE_SELECT, DRIVER_OK, FEATURES_OK, NEEDS_RESET, QUEUE_ENABLE,
    QUEUE_SELECT, QUEUE_SIZE, RO, Register, STATUS, USED,
};
use casemate_breaking_driver::contents;
use std::time::{Duration, Instant};

/// Entries of the queue.
pub const SIZE: u16 = 32;
/// Where in the pages: a page each, but for the data, which has the rest.
pub const TABLE: usize = 0;
pub const RING: usize = PAGE;
pub const ANSWERS: usize = 2 * PAGE;
pub const HEADER: usize = 3 * PAGE;
pub const STATUS_BYTE: usize = 4 * PAGE;
pub const DATA: usize = 5 * PAGE;
/// Pages in all.
pub const PAGES: usize = 24;
/// What a status byte is before the device writes it.
const UNTOUCHED: u8 = 0xee;
/// After so long a device is called silent. Emulated processors on a busy machine are slow; a
/// device that answers does so at once.
const SILENCE: Duration = Duration::from_secs(20);

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

/// Types of requests (5.2.6).
pub const IN: u32 = 0;
pub const OUT: u32 = 1;
pub const FLUSH: u32 = 4;
pub const GET_ID: u32 = 8;
pub const DISCARD: u32 = 11;
pub const WRITE_ZEROES: u32 = 13;

/// A disk and this driver's side of it.
#[derive(Debug)]
pub struct Disk {
    pub function: Function,
    pub memory: Memory,
    /// The index of the available ring.
    pub available: u16,
}

impl Disk {
    pub fn new(function: Function) -> Self {
        Self { function, memory: Memory::new(PAGES), available: 0 }
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
        self.available = 0;
        self.memory.write(0, &[0; 3 * PAGE]);
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

    /// Places queue 0 where its rings are in this program's pages.
    pub fn place(&self) {
        self.set(QUEUE_SELECT, 0);
        self.set(QUEUE_SIZE, SIZE.into());
        for (register, at) in [(DESCRIPTORS, TABLE), (AVAILABLE, RING), (USED, ANSWERS)] {
            self.set_address(register, self.memory.physical(at));
        }
    }

    /// Up to a queue that is enabled.
    pub fn set_up(&mut self) {
        self.negotiate();
        self.place();
        self.set(QUEUE_ENABLE, 1);
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
        self.memory.write(TABLE + 16 * usize::from(index), &bytes);
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
        let slot = usize::from(self.available % SIZE);
        self.memory.store(RING + 4 + 2 * slot, head);
        self.available = self.available.wrapping_add(1);
        self.memory.store(RING + 2, self.available);
    }

    pub fn kick(&self) {
        self.ring(0, 2, 0);
    }

    /// Rings the doorbell of a queue by a store of this width and value.
    pub fn ring(&self, queue: usize, width: usize, value: u64) {
        let places = self.function.places;
        self.function.bar.write(places.notify + places.step * queue, width, value);
    }

    /// Writes a request's header.
    pub fn header(&self, kind: u32, sector: u64) {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(sector.to_le_bytes());
        self.memory.write(HEADER, &bytes);
    }

    /// The chain of a request: its header, `data`, its status.
    pub fn request(&self, data: &[Descriptor]) -> Vec<Descriptor> {
        let status = Descriptor { flags: WRITE, ..self.piece(STATUS_BYTE, 1) };
        [&[self.piece(HEADER, 16)], data, &[status]].concat()
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

    /// Waits for the answer to all that was made available; the last one.
    pub fn answer(&self, limit: Duration) -> Answer {
        let begun = Instant::now();
        loop {
            if self.memory.load(ANSWERS + 2) == self.available {
                let slot = usize::from(self.available.wrapping_sub(1) % SIZE);
                let entry = self.memory.read(ANSWERS + 4 + 8 * slot, 8);
                let number =
                    |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| entry[at + byte]));
                return Answer::Given { id: number(0), len: number(4) };
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

    /// Reads a sector into the first bytes of the data, and says what came of it.
    pub fn read(&mut self, sector: u64, len: u32) -> String {
        self.header(IN, sector);
        self.ask(&self.request(&[Descriptor { flags: WRITE, ..self.piece(DATA, len) }]))
    }

    /// Whether the device does what it should: from a reset on, by the bytes of one sector.
    pub fn works(&mut self, sector: u64) -> Result<(), String> {
        self.start();
        self.memory.write(DATA, &[0; 512]);
        let said = self.read(sector, 512);
        if said != "length 513, status 0" {
            return Err(said);
        }
        if self.memory.read(DATA, 512) != contents(sector) {
            return Err(format!("other bytes than sector {sector} has"));
        }
        Ok(())
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
