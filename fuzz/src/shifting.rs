//! Guest memory of a guest that is always in between: every byte that is read changes right
//! afterwards, pages go away, and everything that is read or written is on record.
#![allow(
    unsafe_code,
    reason = "the trait vouches for raw pieces, which the kernel follows at most"
)]

use casemate_device_queue::{GuestMemory, Segment, Unreachable};
use casemate_values::Guest;
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

/// Bytes of memory: from 0 on.
pub const BYTES: usize = 0x1_0000;
const PAGE: usize = 0x1000;

/// What was done to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Bytes were copied out; the first sixteen of them are kept.
    Read(u64, usize, [u8; 16]),
    /// Bytes were copied in; the first is kept.
    Write(u64, usize, u8),
    /// An index or flags were read.
    Load(u64),
    /// An index or flags were written.
    Store(u64, u16),
}

/// The memory.
#[derive(Debug)]
pub struct Shifting {
    bytes: RefCell<Vec<u8>>,
    gone: RefCell<[bool; BYTES / PAGE]>,
    record: RefCell<Vec<Access>>,
    /// What is added to each byte after it was read.
    shift: Cell<u8>,
}

impl Default for Shifting {
    fn default() -> Self {
        Self {
            bytes: RefCell::new(vec![0; BYTES]),
            gone: RefCell::new([false; BYTES / PAGE]),
            // Room for what the largest request of a harness does, so that recording allocates
            // nothing while allocations are counted.
            record: RefCell::new(Vec::with_capacity(4096)),
            shift: Cell::new(0),
        }
    }
}

impl Shifting {
    /// Sets what is added to each byte after it was read.
    pub fn shift_by(&self, shift: u8) {
        self.shift.set(shift);
    }

    /// Takes a page away, or gives it back.
    pub fn set_gone(&self, page: u8, gone: bool) {
        let index = usize::from(page) % (BYTES / PAGE);
        self.gone.borrow_mut()[index] = gone;
    }

    /// What was done since the last time.
    #[must_use]
    pub fn take_record(&self) -> Vec<Access> {
        let record = self.record.borrow().clone();
        self.record.borrow_mut().clear();
        record
    }

    /// The driver writes: not on record, and as far as there is memory.
    pub fn poke(&self, gpa: u64, bytes: &[u8]) {
        for (offset, byte) in bytes.iter().enumerate() {
            if let Some(at) = self.bytes.borrow_mut().get_mut(gpa as usize + offset) {
                *at = *byte;
            }
        }
    }

    /// The driver reads.
    #[must_use]
    pub fn peek(&self, gpa: u64) -> u8 {
        self.bytes.borrow().get(gpa as usize).copied().unwrap_or(0)
    }

    fn check(&self, gpa: u64, len: usize) -> Result<std::ops::Range<usize>, Unreachable> {
        let start = usize::try_from(gpa).map_err(|_| Unreachable { gpa })?;
        let end = start.checked_add(len).filter(|end| *end <= BYTES).ok_or(Unreachable { gpa })?;
        let pages = start / PAGE..end.div_ceil(PAGE);
        let gone = self.gone.borrow()[pages].iter().any(|gone| *gone);
        if gone { Err(Unreachable { gpa }) } else { Ok(start..end) }
    }

    fn note(&self, access: Access) {
        self.record.borrow_mut().push(access);
    }
}

// SAFETY: pieces are inside the buffer, which never moves; of those that follow them the kernel
// alone does, during the call that it is given them for.
unsafe impl GuestMemory for Shifting {
    fn segment(&self, gpa: Guest<u64>, len: Guest<u32>) -> Option<Segment> {
        // That a page is gone is seen when it is touched, not before: a hole of the memory file.
        let gpa = gpa.at_most(BYTES as u64, "memory").ok()?;
        let len = len.at_most(BYTES as u64, "memory").ok()?;
        (gpa + len <= BYTES as u64).then_some(Segment { gpa, len: len as u32 })
    }

    fn read(&self, gpa: u64, to: &mut [u8]) -> Result<(), Unreachable> {
        let range = self.check(gpa, to.len())?;
        let mut first = [0; 16];
        let mut bytes = self.bytes.borrow_mut();
        for (index, (to, from)) in to.iter_mut().zip(&mut bytes[range]).enumerate() {
            *to = *from;
            if let Some(kept) = first.get_mut(index) {
                *kept = *from;
            }
            *from = from.wrapping_add(self.shift.get());
        }
        self.note(Access::Read(gpa, to.len(), first));
        Ok(())
    }

    fn write(&self, gpa: u64, from: &[u8]) -> Result<(), Unreachable> {
        let range = self.check(gpa, from.len())?;
        self.bytes.borrow_mut()[range].copy_from_slice(from);
        self.note(Access::Write(gpa, from.len(), from.first().copied().unwrap_or(0)));
        Ok(())
    }

    fn load(&self, gpa: u64) -> Result<u16, Unreachable> {
        let range = self.check(gpa, 2)?;
        self.note(Access::Load(gpa));
        let bytes = self.bytes.borrow();
        Ok(u16::from_le_bytes([bytes[range.start], bytes[range.start + 1]]))
    }

    fn store(&self, gpa: u64, value: u16) -> Result<(), Unreachable> {
        let range = self.check(gpa, 2)?;
        self.bytes.borrow_mut()[range].copy_from_slice(&value.to_le_bytes());
        self.note(Access::Store(gpa, value));
        Ok(())
    }

    fn pieces(
        &self,
        segment: Segment,
        each: &mut dyn FnMut(NonNull<u8>, usize),
    ) -> Result<(), Unreachable> {
        let start = usize::try_from(segment.gpa).map_err(|_| Unreachable { gpa: segment.gpa })?;
        let len = segment.len as usize;
        if start + len > BYTES {
            return Err(Unreachable { gpa: segment.gpa });
        }
        let at = NonNull::from(&mut self.bytes.borrow_mut()[start..start + len]).cast();
        // In two, as where regions meet.
        each(at, len / 2);
        each(at, len - len / 2);
        Ok(())
    }
}
