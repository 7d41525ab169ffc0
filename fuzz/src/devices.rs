//! Device processes: split queues, and what devices make of requests. Over memory that changes
//! between two reads and goes away ([`Shifting`]).
//!
//! Oracles of every target: no byte of a request is read more often than its descriptors name it;
//! no descriptor and no ring entry twice; work and memory of a request are bounded; every request
//! is answered once, with a length that it allows.

use crate::shifting::{Access, BYTES, Shifting};
use arbitrary::{Result, Unstructured};
use casemate_device_backend::{Device, Turn};
use casemate_device_block::{Block, Disk, Extent, Facts, MAX_SECTORS};
use casemate_device_queue::{
    Active, Durability, Head, Negotiating, Pieces, Request, RingAddresses, Taken,
};
use casemate_values::Guest;
use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;

const RINGS: RingAddresses = RingAddresses { descriptors: 0x1000, available: 0x2000, used: 0x3000 };
const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A driver that writes what the input says.
struct Driver {
    memory: Shifting,
    size: u16,
    available: u16,
}

impl Driver {
    fn new(u: &mut Unstructured) -> Result<(Self, Active)> {
        let memory = Shifting::default();
        let size = 1 << u.int_in_range(1..=4)?;
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

    fn describe(&self, index: u16, gpa: u64, len: u32, flags: u16, next: u16) {
        let at = RINGS.descriptors + 16 * u64::from(index);
        self.memory.poke(at, &gpa.to_le_bytes());
        self.memory.poke(at + 8, &len.to_le_bytes());
        self.memory.poke(at + 12, &flags.to_le_bytes());
        self.memory.poke(at + 14, &next.to_le_bytes());
    }

    fn offer(&mut self, head: u16) {
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
fn check_taking(record: &[Access], size: u16) -> (Vec<u16>, u64) {
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
fn check_reading(record: &[Access], mut cover: Vec<u16>) {
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

/// What was done to a disk.
#[derive(Debug, Clone, Copy)]
enum Done {
    Read(Extent, u64),
    Write(Extent, u64, Durability),
    Flush,
    Zero(Extent, bool),
}

/// A disk that does nothing but keep a record, and fails when it is told to.
#[derive(Debug)]
struct Recorder {
    done: Mutex<Vec<Done>>,
    fails: bool,
}

impl Recorder {
    fn note(&self, done: Done) -> io::Result<()> {
        self.done.lock().expect("no panic").push(done);
        if self.fails { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
    }
}

impl Disk for Recorder {
    fn read(&self, extent: Extent, to: Pieces<'_>) -> io::Result<()> {
        self.note(Done::Read(extent, to.bytes()))
    }
    fn write(&self, extent: Extent, from: Pieces<'_>, durability: Durability) -> io::Result<()> {
        self.note(Done::Write(extent, from.bytes(), durability))
    }
    fn flush(&self) -> io::Result<()> {
        self.note(Done::Flush)
    }
    fn zero(&self, extent: Extent, hole: bool) -> io::Result<()> {
        self.note(Done::Zero(extent, hole))
    }
}

const FLUSH: u64 = 1 << 9;

/// The block device: requests near what a driver sends, and far from it.
pub fn block(data: &[u8]) {
    let _ = block_of(&mut Unstructured::new(data), &mut Vec::new());
}

fn block_of(u: &mut Unstructured, all: &mut Vec<Done>) -> Result<()> {
    let facts = Facts {
        sectors: *u.choose(&[1, 8, 64, 1 << 20, i64::MAX as u64 / 512])?,
        block_size: *u.choose(&[512, 4096])?,
        queues: 1,
        read_only: u.ratio(1, 4)?,
        direct: false,
        discard: u.arbitrary()?,
        write_zeroes: u.arbitrary()?,
        serial: u.arbitrary()?,
    };
    let disk = Recorder { done: Mutex::new(Vec::with_capacity(64)), fails: u.ratio(1, 8)? };
    let device = Block::new(disk, facts);
    let features = if u.arbitrary()? { FLUSH } else { 0 };
    let (mut driver, mut queue) = Driver::new(u)?;
    let mut room = device.lane();
    for _ in 0..16 {
        if u.is_empty() {
            break;
        }
        driver.memory.shift_by(u.arbitrary()?);
        if u.ratio(1, 6)? {
            driver.memory.set_gone(u.arbitrary()?, u.arbitrary()?);
        }
        let head = one_request(u, &driver, &facts)?;
        driver.offer(head);
        let _ = driver.memory.take_record();
        let taken = match queue.take(&driver.memory) {
            Ok(Some(taken)) => taken,
            Ok(None) => panic!("a request was offered and not seen"),
            Err(_) => return Ok(()),
        };
        let taking = driver.memory.take_record();
        let (head, written) = match taken {
            Taken::Malformed(head, _) => (head, 0),
            Taken::Request(head, request) => {
                let (cover, writable) = check_taking(&taking, driver.size);
                let room_of_it = request.writable.len();
                assert_eq!(u64::from(room_of_it), writable);
                let status = request.writable.last();
                let turn = Turn::new(features, &|| ());
                let mut written = 0;
                let allocated = allocation_counter::measure(|| {
                    written = device.answer(&mut room, &turn, request);
                });
                assert_eq!(allocated.count_total, 0, "a request allocates");
                let record = driver.memory.take_record();
                check_reading(&record, cover);
                assert!(written <= room_of_it, "more is said to be written than there is room");
                check_status(&record, status);
                (head, written)
            }
        };
        let done = device_done(&device);
        check_disk(&done, &facts, features);
        all.extend(done);
        if queue.answer(&driver.memory, head, written).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The status byte is the last thing that is written, once, and says one of three things; unless
/// there is none, or its page is gone.
fn check_status(record: &[Access], status: Option<u64>) {
    let writes: Vec<_> =
        record.iter().filter(|access| matches!(access, Access::Write(..))).collect();
    match (writes.last(), status) {
        (Some(Access::Write(gpa, len, value)), Some(status)) => {
            // The serial number may be the last, where the status's page is gone.
            assert!(*gpa == status && *len == 1 && *value <= 2 || writes.len() <= 20);
        }
        (Some(access), None) => panic!("without room for a status, the device did {access:x?}"),
        _ => {}
    }
}

fn device_done(device: &Block<Recorder>) -> Vec<Done> {
    // Emptied, not taken: its room is what it was made with, so that recording allocates nothing.
    let mut done = device.disk().done.lock().expect("no panic");
    let copy = done.clone();
    done.clear();
    copy
}

fn check_disk(done: &[Done], facts: &Facts, features: u64) {
    let inside = |extent: &Extent| {
        let block = u64::from(facts.block_size);
        assert!(extent.offset() + extent.len() <= facts.bytes(), "outside the image");
        assert!(extent.offset().is_multiple_of(block) && extent.len().is_multiple_of(block));
        assert!(extent.len() > 0);
    };
    for done in done {
        match done {
            Done::Read(extent, bytes) => {
                inside(extent);
                assert_eq!(*bytes, extent.len());
            }
            Done::Write(extent, bytes, durability) => {
                inside(extent);
                assert_eq!(*bytes, extent.len());
                assert!(!facts.read_only, "a read-only disk is written");
                assert_eq!(*durability == Durability::Through, features & FLUSH == 0);
            }
            Done::Flush => assert!(!facts.read_only),
            Done::Zero(extent, hole) => {
                inside(extent);
                assert!(!facts.read_only, "a read-only disk is zeroed");
                assert!(extent.len() <= u64::from(MAX_SECTORS) * 512);
                assert!(if *hole { facts.discard } else { facts.write_zeroes });
            }
        }
    }
}

/// Writes a request, cut as the input says, from descriptor 0 on.
fn one_request(u: &mut Unstructured, driver: &Driver, facts: &Facts) -> Result<u16> {
    const HEADER: u64 = 0x4000;
    let kind: u32 =
        if u.ratio(9, 10)? { *u.choose(&[0, 1, 4, 8, 11, 13])? } else { u.arbitrary()? };
    let sector: u64 = match u.int_in_range(0..=3)? {
        0 => 0,
        1 => u.int_in_range(0..=64)?,
        2 => facts.sectors.wrapping_sub(u.int_in_range(0..=16)?),
        _ => u.arbitrary()?,
    };
    driver.memory.poke(HEADER, &kind.to_le_bytes());
    driver.memory.poke(HEADER + 8, &sector.to_le_bytes());
    // A segment of discard or write-zeroes, behind the header.
    let count: u32 = if u.ratio(7, 8)? { 8 * u.int_in_range(0..=8)? } else { u.arbitrary()? };
    let (first, flags) = (8 * u.int_in_range(0..=9_u64)?, *u.choose(&[0_u32, 0, 1, 2])?);
    driver.memory.poke(HEADER + 16, &first.to_le_bytes());
    driver.memory.poke(HEADER + 24, &count.to_le_bytes());
    driver.memory.poke(HEADER + 28, &flags.to_le_bytes());
    let block = facts.block_size;
    // What a driver would send, and now and then something else.
    let data = *u.choose(&[block, 2 * block])?;
    let mut shape: Vec<(u32, bool)> = vec![(16, false)];
    match kind {
        0 => shape.push((data, true)),
        1 => shape.push((data, false)),
        8 => shape.push((20, true)),
        11 | 13 => shape.push((16, false)),
        _ => {}
    }
    shape.push((1, true));
    if u.ratio(1, 4)? {
        let any = |u: &mut Unstructured| Ok((u.int_in_range(0..=0x2000)?, u.arbitrary()?));
        let parts = u.int_in_range(1..=driver.size)?;
        shape = (0..parts).map(|_| any(u)).collect::<Result<_>>()?;
    } else if u.ratio(1, 4)? {
        shape = shape
            .into_iter()
            .flat_map(|(len, write)| [(len / 2, write), (len - len / 2, write)])
            .filter(|(len, _)| *len > 0)
            .collect();
    }
    // Not more than there are descriptors; a small ring gets what fits.
    shape.truncate(driver.size.into());
    let (mut at, last) = (HEADER, shape.len().saturating_sub(1) as u16);
    for (index, (len, write)) in (0..).zip(shape) {
        let ends = index == last && u.ratio(15, 16)?;
        let flags = if ends { 0 } else { NEXT } | if write { WRITE } else { 0 };
        driver.describe(index, at, len, flags, index + 1);
        at = if u.ratio(1, 16)? { u.int_in_range(0..=0x1_0000)? } else { at + u64::from(len) };
    }
    Ok(if u.ratio(15, 16)? { 0 } else { u.int_in_range(0..=driver.size)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs without pattern, the same in each run.
    fn inputs() -> impl Iterator<Item = Vec<u8>> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..1000).map(move |_| (0..64).flat_map(|_| next()).collect())
    }

    #[test]
    fn requests_of_every_kind_reach_the_disk() {
        // Otherwise the oracles would hold for requests that are all refused.
        let mut all = Vec::new();
        for input in inputs() {
            let _ = block_of(&mut Unstructured::new(&input), &mut all);
        }
        let count = |wanted: fn(&Done) -> bool| all.iter().filter(|done| wanted(done)).count();
        assert!(count(|done| matches!(done, Done::Read(..))) > 20);
        assert!(count(|done| matches!(done, Done::Write(..))) > 20);
        assert!(count(|done| matches!(done, Done::Flush)) > 20);
        assert!(count(|done| matches!(done, Done::Zero(_, true))) > 20);
        assert!(count(|done| matches!(done, Done::Zero(_, false))) > 20);
        inputs().for_each(|input| queue(&input));
    }
}
