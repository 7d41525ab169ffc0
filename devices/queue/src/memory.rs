//! What a device asks of guest memory. A trait, so that the same reader runs over mapped memory and
//! over memory of tests that changes between two reads.

#![allow(unsafe_code, reason = "a trait whose implementations vouch for raw pieces of memory")]

use casemate_values::Guest;
use std::ptr::NonNull;

/// Bytes of guest memory that were found to be there: an address and a length that do not wrap and
/// lie wholly inside the memory that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First guest physical address.
    pub gpa: u64,
    /// How many bytes from there on.
    pub len: u32,
}

/// Guest memory is not there, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("guest memory at {gpa:#x} is not there")]
pub struct Unreachable {
    /// The first guest physical address that is missing.
    pub gpa: u64,
}

/// Guest memory as a device reaches it.
///
/// # Safety
/// The pieces that [`GuestMemory::pieces`] names must be valid for reads and writes by the kernel
/// as long as the memory is borrowed; the bytes in them may change at any time.
pub unsafe trait GuestMemory {
    /// The bytes that a guest alleges to be there, if they are.
    fn segment(&self, gpa: Guest<u64>, len: Guest<u32>) -> Option<Segment>;

    /// Copies bytes out, each of them once.
    ///
    /// # Errors
    /// [`Unreachable`].
    fn read(&self, gpa: u64, to: &mut [u8]) -> Result<(), Unreachable>;

    /// Copies bytes in.
    ///
    /// # Errors
    /// [`Unreachable`].
    fn write(&self, gpa: u64, from: &[u8]) -> Result<(), Unreachable>;

    /// Reads an index or the flags of a ring; what is read afterwards is not older (acquire).
    ///
    /// # Errors
    /// [`Unreachable`], also when the address is odd.
    fn load(&self, gpa: u64) -> Result<u16, Unreachable>;

    /// Writes an index or the flags of a ring; what was written before is seen with it (release).
    ///
    /// # Errors
    /// [`Unreachable`], also when the address is odd.
    fn store(&self, gpa: u64, value: u16) -> Result<(), Unreachable>;

    /// Names the pieces of host memory behind a segment, in order: one, or several where regions
    /// meet.
    ///
    /// # Errors
    /// [`Unreachable`].
    fn pieces(
        &self,
        segment: Segment,
        each: &mut dyn FnMut(NonNull<u8>, usize),
    ) -> Result<(), Unreachable>;
}
