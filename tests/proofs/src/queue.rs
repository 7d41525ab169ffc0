//! The split queue's arithmetic: sizes, places of rings, and indices that wrap at 2^16.
#![allow(unsafe_code, reason = "guest memory is a trait whose implementations vouch for pieces")]

use crate::Values;
use casemate_device_queue::{
    GuestMemory, MAX_SIZE, Negotiating, QueueError, RingAddresses, Running, Segment, Taken,
    Unreachable,
};
use casemate_values::Guest;
use std::cell::RefCell;
use std::ptr::NonNull;

/// Bytes of a MODEL of guest memory, from address 0.
const SIZE: usize = 512;
const RINGS: RingAddresses = RingAddresses { descriptors: 0, available: 128, used: 256 };
const SIZES: &[u16] = &[1, 2, 4, 8];
const INDICES: &[u64] = &[0, 1, 2, 7, 8, 9, 0x7fff, 0x8000, 0xfff7, 0xfffe, 0xffff];

/// A MODEL of guest memory that one thread has.
struct Small(RefCell<[u8; SIZE]>);

impl Small {
    fn new() -> Self {
        Self(RefCell::new([0; SIZE]))
    }

    fn word(&self, at: u64) -> u16 {
        self.load(at).unwrap_or(0)
    }
}

/// The bytes from `gpa`, if they are all there.
fn place(gpa: u64, len: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(gpa).ok()?;
    let end = start.checked_add(len)?;
    (end <= SIZE).then_some(start..end)
}

// SAFETY: no piece is ever named, so there is none that could be invalid.
unsafe impl GuestMemory for Small {
    fn segment(&self, gpa: Guest<u64>, len: Guest<u32>) -> Option<Segment> {
        let len = u32::try_from(len.at_most(SIZE as u64, "the memory").ok()?).ok()?;
        let gpa = gpa.offset_in(0, SIZE as u64, len.into())?;
        Some(Segment { gpa, len })
    }

    fn read(&self, gpa: u64, to: &mut [u8]) -> Result<(), Unreachable> {
        let at = place(gpa, to.len()).ok_or(Unreachable { gpa })?;
        to.copy_from_slice(&self.0.borrow()[at]);
        Ok(())
    }

    fn write(&self, gpa: u64, from: &[u8]) -> Result<(), Unreachable> {
        let at = place(gpa, from.len()).ok_or(Unreachable { gpa })?;
        self.0.borrow_mut()[at].copy_from_slice(from);
        Ok(())
    }

    fn load(&self, gpa: u64) -> Result<u16, Unreachable> {
        let mut bytes = [0; 2];
        self.read(gpa, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    fn store(&self, gpa: u64, value: u16) -> Result<(), Unreachable> {
        self.write(gpa, &value.to_le_bytes())
    }

    fn pieces(
        &self,
        segment: Segment,
        _each: &mut dyn FnMut(NonNull<u8>, usize),
    ) -> Result<(), Unreachable> {
        Err(Unreachable { gpa: segment.gpa })
    }
}

fn index(values: &mut dyn Values) -> u16 {
    let [low, high, ..] = values.number(INDICES).to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// A queue of `size` that begins at `next`, over memory where each descriptor is a buffer of one
/// byte for the device to write and each entry of the available ring names its own number.
fn running(size: u16, next: u16) -> (Small, Option<Running>) {
    let memory = Small::new();
    for entry in 0..size {
        let at = 16 * u64::from(entry);
        let _ = memory.write(at, &384_u64.to_le_bytes());
        let _ = memory.write(at + 8, &[1, 0, 0, 0, 2, 0, 0, 0]);
        let _ = memory.store(RINGS.available + 4 + 2 * u64::from(entry), entry);
    }
    let mut queue = Negotiating::default();
    let known = queue.set_size(Guest::new(size.into())).is_ok();
    queue.set_rings(RINGS);
    queue.set_next(next);
    let running = queue.activate(&memory).ok().filter(|_| known);
    (memory, running)
}

super::properties! {
    /// A queue has a size exactly when it is a power of two up to the greatest.
    fn a_size_is_a_power_of_two(values) {
        let size = if values.flag() {
            u32::try_from(values.below(u64::from(MAX_SIZE) * 2 + 2)).unwrap_or(0)
        } else {
            u32::try_from(values.number(&[1 << 15, 1 << 16, 1 << 31, 0xffff_ffff])).unwrap_or(0)
        };
        let legal = size.is_power_of_two() && size <= MAX_SIZE.into();
        assert_eq!(Negotiating::default().set_size(Guest::new(size)).is_ok(), legal);
    }

    /// A queue runs exactly when each of its rings is aligned and wholly in memory.
    fn rings_are_aligned_and_in_memory(values) {
        let size = values.one_of(SIZES);
        let corners = &[0, 2, 4, 16, 17, 384, 496, 508, 510, 512, u64::MAX - 15, u64::MAX];
        let rings = RingAddresses {
            descriptors: values.number(corners),
            available: values.number(corners),
            used: values.number(corners),
        };
        let mut queue = Negotiating::default();
        assert!(queue.set_size(Guest::new(size.into())).is_ok());
        queue.set_rings(rings);
        let fits = |at: u64, unit: u64, len: u64| {
            at % unit == 0 && u128::from(at) + u128::from(len) <= SIZE as u128
        };
        let entries = u64::from(size);
        let legal = fits(rings.descriptors, 16, 16 * entries)
            && fits(rings.available, 2, 6 + 2 * entries)
            && fits(rings.used, 4, 6 + 8 * entries);
        assert_eq!(queue.activate(&Small::new()).is_ok(), legal);
    }

    /// A queue without a size or without rings does not run.
    fn a_queue_that_was_not_set_up_does_not_run(values) {
        let mut queue = Negotiating::default();
        if values.flag() {
            assert!(queue.set_size(Guest::new(8)).is_ok());
        } else {
            queue.set_rings(RINGS);
        }
        assert!(queue.activate(&Small::new()).is_err());
    }

    /// Wherever its index stands, a queue takes what the driver made available, nothing when there
    /// is nothing, and breaks exactly when the index is further ahead than the ring is long.
    fn an_index_is_at_most_the_ring_ahead(values) {
        let (size, next, written) = (values.one_of(SIZES), index(values), index(values));
        let (memory, running) = running(size, next);
        let Some(mut queue) = running else { panic!("none") };
        let _ = memory.store(RINGS.available + 2, written);
        let ahead = written.wrapping_sub(next);
        match queue.take(&memory) {
            Err(QueueError::IndexJumped { .. }) => assert!(ahead > size),
            Err(QueueError::Gone(_)) => panic!("the memory is all there"),
            Ok(None) => assert_eq!(ahead, 0),
            Ok(Some(_)) => assert!(ahead > 0 && ahead <= size),
        }
    }

    /// The entry that is taken is the one that the index names, at every wrap of the ring.
    fn the_entry_taken_is_the_indexs_own(values) {
        let (size, next) = (values.one_of(SIZES), index(values));
        let (memory, running) = running(size, next);
        let Some(mut queue) = running else { panic!("none") };
        let _ = memory.store(RINGS.available + 2, next.wrapping_add(1));
        let head = match queue.take(&memory) {
            Ok(Some(Taken::Request(head, request))) => {
                assert_eq!(request.writable.len(), 1);
                head
            }
            _ => panic!("none"),
        };
        assert!(queue.answer(&memory, head, 1).is_ok());
        // The used ring's entry is at the same place and gives the driver its own number back.
        let slot = next % size;
        let entry = RINGS.used + 4 + 8 * u64::from(slot);
        assert_eq!(memory.word(entry), slot);
        assert_eq!(memory.word(entry + 4), 1);
        assert_eq!(memory.word(RINGS.used + 2), next.wrapping_add(1));
    }

    /// As many requests are taken as are available, and no more, though nothing is answered yet.
    fn no_more_is_in_flight_than_the_ring_holds(values) {
        let (size, next) = (values.one_of(SIZES), index(values));
        let (memory, running) = running(size, next);
        let Some(mut queue) = running else { panic!("none") };
        let ready = u16::try_from(values.below(u64::from(size) + 1)).unwrap_or(0);
        let _ = memory.store(RINGS.available + 2, next.wrapping_add(ready));
        let mut heads = Vec::new();
        while let Ok(Some(Taken::Request(head, _))) = queue.take(&memory) {
            heads.push(head);
            assert!(heads.len() <= usize::from(size));
        }
        assert_eq!(heads.len(), usize::from(ready));
        for head in heads {
            assert!(queue.stage(&memory, head, 0).is_ok());
        }
        // What is staged the driver does not see before it is published.
        assert_eq!(memory.word(RINGS.used + 2), 0);
        assert!(queue.publish(&memory).is_ok());
        assert_eq!(queue.answered(), next.wrapping_add(ready));
        if ready > 0 {
            assert_eq!(memory.word(RINGS.used + 2), next.wrapping_add(ready));
        }
    }

    /// An answer never says that more was written than the request let the device write.
    fn an_answer_says_no_more_than_was_asked_for(values) {
        let (memory, running) = running(8, 0);
        let Some(mut queue) = running else { panic!("none") };
        let _ = memory.store(RINGS.available + 2, 1);
        let written = u32::try_from(values.number(&[0, 1, 2, 4096, 0xffff_ffff])).unwrap_or(0);
        let Ok(Some(Taken::Request(head, _))) = queue.take(&memory) else { panic!("none") };
        assert!(queue.answer(&memory, head, written).is_ok());
        let said = u32::from(memory.word(RINGS.used + 8));
        assert!(said == written.min(1) && memory.word(RINGS.used + 10) == 0);
    }
}
