//! The block device, over memory that changes between two reads.
//!
//! Oracles beside those of every device: the disk is touched inside its bounds, in whole blocks,
//! and not at all where it is read-only; a write lasts where the driver cannot flush; the status is
//! the last byte that is written.

use crate::devices::{Driver, NEXT, WRITE, check_reading, check_taking};
use crate::shifting::Access;
use arbitrary::{Result, Unstructured};
use casemate_device_backend::{Device, Pulse, Turn};
use casemate_device_block::{Block, Disk, Extent, Facts, MAX_SECTORS};
use casemate_device_queue::{Durability, Pieces, Taken};
use std::io;
use std::sync::Mutex;

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
                let pulse = Pulse::default();
                let turn = Turn::new(features, &|| (), &pulse);
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

    #[test]
    fn requests_of_every_kind_reach_the_disk() {
        // Otherwise the oracles would hold for requests that are all refused.
        let mut all = Vec::new();
        crate::drawn::inputs((1000, 512), ("requests", 0), |input| {
            let _ = block_of(&mut Unstructured::new(input), &mut all);
            crate::devices::queue(input);
            false
        });
        let count = |wanted: fn(&Done) -> bool| all.iter().filter(|done| wanted(done)).count();
        assert!(count(|done| matches!(done, Done::Read(..))) > 20);
        assert!(count(|done| matches!(done, Done::Write(..))) > 20);
        assert!(count(|done| matches!(done, Done::Flush)) > 20);
        assert!(count(|done| matches!(done, Done::Zero(_, true))) > 20);
        assert!(count(|done| matches!(done, Done::Zero(_, false))) > 20);
    }
}
