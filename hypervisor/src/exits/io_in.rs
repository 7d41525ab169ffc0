//! Port input, single or string (`rep ins`).

use crate::exits::{Machine, Outcome};
use casemate_values::Guest;

/// A guest reads a port.
#[derive(Debug)]
pub struct IoIn<'a> {
    /// The port that is read.
    pub port: Guest<u16>,
    /// Bytes of one element: 1, 2 or 4 from an instruction, 1 to 7 from an SNP guest's GHCB.
    pub width: u8,
    /// Where the elements go; the kernel bounds it to one page.
    pub data: &'a mut [u8],
}

impl IoIn<'_> {
    /// Fills every element from the port; an element no device can give is all ones.
    pub fn handle(self, machine: &Machine) -> Outcome {
        let width = usize::from(self.width.max(1));
        for element in self.data.chunks_mut(width) {
            machine.pio.read(self.port, element);
        }
        Outcome::Resume
    }
}
