//! Device processes: the reader of split queues, and what its targets and those of devices share.
//! Over memory that changes between two reads and goes away ([`Shifting`]).
//!
//! Oracles of every target: no byte of a request is read more often than its descriptors name it;
//! no descriptor and no ring entry twice; work and memory of a request are bounded; every request
//! is answered once, with a length that it allows.

use crate::shifting::{Access, BYTES, Shifting};
use arbitrary::{Result, Unstructured};
use casemate_device_queue::{Head, Negotiating, Request, RingAddresses, Running, Taken};
use casemate_values::Guest;
use std::collections::BTreeSet;

const RINGS: RingAddresses = RingAddresses { descriptors: 0x1000, available: 0x2000, used: 0x3000 };
pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;

/// A driver that writes what the input says.
pub(crate) struct Driver {
    pub(crate) memory: Shifting,
    pub(crate) size: u16,
    available: u16,
}

impl Driver {
    pub(crate) fn new(u: &mut Unstructured) -> Result<(Self, Running)> {
        let memory = Shifting::default();
        let size = 1 << u.int_in_range(0..=4)?;
        let start: u16 = u.arbitrary()?;
        let mut queue = Negotiating::default();
        queue.set_size(Guest::new(u32::from(size))).expect("a size");
        queue.set_rings(RINGS);
        queue.set_next(start);
        let queue = queue.activate(&memory).expect("rings in memory");
        let driver = Self { memory, size, available: start };
        driver.publish(start);
        Ok((driver, queue))
    }

    fn publish(&self, index: u16) {
        self.memory.poke(RINGS.available + 2, &index.to_le_bytes());
    }

    pub(crate) fn describe(&self, index: u16, gpa: u64, len: u32, flags: u16, next: u16) {
        let at = RINGS.descriptors + 16 * u64::from(index);
        self.memory.poke(at, &gpa.to_le_bytes());
        self.memory.poke(at + 8, &len.to_le_bytes());
        self.memory.poke(at + 12, &flags.to_le_bytes());
        self.memory.poke(at + 14, &next.to_le_bytes());
    }

    pub(crate) fn offer(&mut self, head: u16) {
        let slot = u64::from(self.available % self.size);
        self.memory.poke(RINGS.available + 4 + 2 * slot, &head.to_le_bytes());
        self.available = self.available.wrapping_add(1);
        self.publish(self.available);
    }

    /// What the next chain says, as the device will read it: each descriptor, until it ends.
    fn anything(&self, u: &mut Unstructured) -> Result<()> {
        let index = u.int_in_range(0..=self.size)?;
        let gpa = if u.ratio(9, 10)? { u.int_in_range(0..=0x1_0010)? } else { u.arbitrary()? };
        let len = if u.ratio(9, 10)? { u.int_in_range(0..=0x800)? } else { u.arbitrary()? };
        let flags = if u.ratio(9, 10)? { u.int_in_range(0..=3)? } else { u.arbitrary()? };
        self.describe(index, gpa, len, flags, u.int_in_range(0..=self.size)?);
        Ok(())
    }
}

/// What the device read to take a request: each thing once. Gives how often each byte of memory may
/// be read as part of the request, and how many bytes it may write.
pub(crate) fn check_taking(record: &[Access], size: u16) -> (Vec<u16>, u64) {
    let table = RINGS.descriptors..RINGS.descriptors + 16 * u64::from(size);
    let (mut cover, mut writable, mut seen) = (vec![0; BYTES], 0, BTreeSet::new());
    for access in record {
        match access {
            Access::Read(gpa, 16, bytes) if table.contains(gpa) => {
                assert!(seen.insert(*gpa), "a descriptor was read twice");
                let at = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
                let len = u32::from_le_bytes(bytes[8..12].try_into().expect("4 bytes"));
                if u16::from_le_bytes([bytes[12], bytes[13]]) & WRITE == 0 {
                    let bytes = cover.iter_mut().skip(at.min(BYTES as u64) as usize);
                    bytes.take(len as usize).for_each(|times| *times += 1);
                } else {
                    writable += u64::from(len);
                }
            }
            Access::Read(gpa, 2, _) | Access::Load(gpa) => {
                assert!(seen.insert(*gpa), "a ring's entry or index was read twice");
            }
            other => panic!("taking a request did {other:x?}"),
        }
    }
    assert!(record.len() <= usize::from(size) + 2, "more was read than there is");
    (cover, writable)
}

/// What the device read of a request: no byte more often than it is in it.
pub(crate) fn check_reading(record: &[Access], mut cover: Vec<u16>) {
    for access in record {
        if let Access::Read(gpa, len, _) = access {
            for times in &mut cover[*gpa as usize..*gpa as usize + len] {
                *times = times.checked_sub(1).expect("read twice, or not of the request");
            }
        }
    }
}

/// The queue alone: chains of any shape, indices of any value, pages that go and come.
pub fn queue(data: &[u8]) {
    let _ = queue_of(&mut Unstructured::new(data));
}

fn queue_of(u: &mut Unstructured) -> Result<()> {
    let (mut driver, mut queue) = Driver::new(u)?;
    let mut flight: Vec<Head> = Vec::new();
    let mut answered = driver.available;
    for _ in 0..64 {
        if u.is_empty() {
            break;
        }
        match u.int_in_range(0..=7)? {
            0 | 1 => driver.anything(u)?,
            2 => driver.offer(u.int_in_range(0..=driver.size)?),
            3 => driver.memory.shift_by(u.arbitrary()?),
            4 => driver.memory.set_gone(u.arbitrary()?, u.arbitrary()?),
            5 if u.ratio(1, 8)? => driver.publish(u.arbitrary()?),
            6 => {
                let Some(head) = flight.pop() else { continue };
                let written = u.arbitrary()?;
                if queue.answer(&driver.memory, head, written).is_err() {
                    return Ok(());
                }
                answered = answered.wrapping_add(1);
                let used = driver.memory.take_record();
                let stored = used.last();
                assert_eq!(stored, Some(&Access::Store(RINGS.used + 2, answered)));
                assert_eq!(queue.answered(), answered);
            }
            _ => {
                let mut head = None;
                let allocated = allocation_counter::measure(|| match queue.take(&driver.memory) {
                    Ok(taken) => head = taken.map(|taken| read_all(taken)),
                    Err(_) => head = None,
                });
                assert_eq!(allocated.count_total, 0, "taking a request allocates");
                let record = driver.memory.take_record();
                let Some((head, taking)) = head else { continue };
                let (taking, reading) = record.split_at(taking.min(record.len()));
                let (cover, _) = check_taking(taking, driver.size);
                check_reading(reading, cover);
                flight.push(head);
                assert!(flight.len() <= usize::from(driver.size), "more in flight than the ring");
            }
        }
    }
    Ok(())
}

/// Reads all of a request, in pieces. How many accesses there were before is not known here, so the
/// descriptors' number says it: one each, index and entry.
fn read_all(taken: Taken<'_, Shifting>) -> (Head, usize) {
    match taken {
        Taken::Malformed(head, _) => (head, usize::MAX),
        Taken::Request(head, mut request) => {
            let before = request.accesses();
            while request.readable.take::<7>().is_some() {}
            while request.readable.take::<1>().is_some() {}
            (head, before)
        }
    }
}

trait Accesses {
    /// Reads and loads that it took to take this request: index, entry, descriptors.
    fn accesses(&self) -> usize;
}

impl Accesses for Request<'_, Shifting> {
    fn accesses(&self) -> usize {
        2 + self.descriptors()
    }
}
