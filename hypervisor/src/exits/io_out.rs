//! Port output, single or string (`rep outs`).

use crate::exits::{Machine, Outcome};
use casemate_values::Guest;

/// A guest writes a port.
#[derive(Debug)]
pub struct IoOut<'a> {
    /// The port that is written to.
    pub port: Guest<u16>,
    /// Bytes of one element: 1, 2 or 4 from an instruction, 1 to 7 from an SNP guest's GHCB.
    pub width: u8,
    /// The elements; the kernel bounds them to one page.
    pub data: &'a [u8],
}

impl IoOut<'_> {
    /// Writes every element in order, until one of them stops the VM.
    pub fn handle(self, machine: &Machine) -> Outcome {
        let width = usize::from(self.width.max(1));
        for element in self.data.chunks(width) {
            match machine.apply(machine.pio.write(self.port, element)) {
                Outcome::Resume => {}
                stop @ Outcome::Stop(_) => return stop,
            }
        }
        Outcome::Resume
    }
}
