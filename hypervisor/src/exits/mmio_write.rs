//! A write of memory that is not RAM.

use crate::exits::{Machine, Outcome};
use casemate_values::Guest;

/// A guest writes memory-mapped I/O. An SNP guest writes address and length into its GHCB: any
/// address, RAM included, and any length from 1 to 8.
#[derive(Debug)]
pub struct MmioWrite<'a> {
    /// The guest physical address that is written to.
    pub address: Guest<u64>,
    /// The bytes: at most 8.
    pub data: &'a [u8],
}

impl MmioWrite<'_> {
    /// Writes the bytes to the bus.
    pub fn handle(self, machine: &Machine) -> Outcome {
        machine.apply(machine.mmio.write(self.address, self.data))
    }
}
