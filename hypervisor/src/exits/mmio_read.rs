//! A read of memory that is not RAM.

use crate::exits::{Machine, Outcome};
use casemate_values::Guest;

/// A guest reads memory-mapped I/O. An SNP guest writes address and length into its GHCB: any
/// address, RAM included, and any length from 1 to 8.
#[derive(Debug)]
pub struct MmioRead<'a> {
    /// The guest physical address that is read.
    pub address: Guest<u64>,
    /// Where the bytes go: at most 8.
    pub data: &'a mut [u8],
}

impl MmioRead<'_> {
    /// Fills the bytes from the bus; RAM is on no bus, so a read of it gives all ones, never its
    /// content.
    pub fn handle(self, machine: &Machine) -> Outcome {
        machine.mmio.read(self.address, self.data);
        Outcome::Resume
    }
}
