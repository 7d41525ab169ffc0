//! A disk's requests (virtio 1.2, 5.2.6), rules kept.

use crate::device::{DATA, Descriptor, Device, HEADER, STATUS_BYTE, WRITE};
use casemate_breaking_driver::contents;

/// Types of requests (5.2.6).
pub const IN: u32 = 0;
pub const OUT: u32 = 1;
pub const FLUSH: u32 = 4;
pub const GET_ID: u32 = 8;
pub const DISCARD: u32 = 11;
pub const WRITE_ZEROES: u32 = 13;

impl Device {
    /// Writes a request's header.
    pub fn header(&self, kind: u32, sector: u64) {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(sector.to_le_bytes());
        self.memory.write(HEADER, &bytes);
    }

    /// The chain of a request: its header, `data`, its status.
    pub fn request(&self, data: &[Descriptor]) -> Vec<Descriptor> {
        let status = Descriptor { flags: WRITE, ..self.piece(STATUS_BYTE, 1) };
        [&[self.piece(HEADER, 16)], data, &[status]].concat()
    }

    /// Reads a sector into the first bytes of the data, and says what came of it.
    pub fn read(&mut self, sector: u64, len: u32) -> String {
        self.header(IN, sector);
        self.ask(&self.request(&[Descriptor { flags: WRITE, ..self.piece(DATA, len) }]))
    }

    /// Whether the device does what it should: from a reset on, by the bytes of one sector.
    pub fn works(&mut self, sector: u64) -> Result<(), String> {
        self.start();
        self.memory.write(DATA, &[0; 512]);
        let said = self.read(sector, 512);
        if said != "length 513, status 0" {
            return Err(said);
        }
        if self.memory.read(DATA, 512) != contents(sector) {
            return Err(format!("other bytes than sector {sector} has"));
        }
        Ok(())
    }
}
