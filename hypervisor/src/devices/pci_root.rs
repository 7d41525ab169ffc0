//! The PCI root: configuration space of bus 0, reached through the ECAM window only.
//!
//! It holds a host bridge, which is read-only. Functions of device processes join it with the
//! virtio transport.

use crate::bus::{BusDevice, Effect};
use casemate_layout::map::ECAM;

/// First address of the ECAM window.
pub const ECAM_BASE: u64 = ECAM.start;
/// Bytes of configuration space of one bus: 32 devices × 8 functions × 4 KiB.
pub const ECAM_SIZE: u64 = ECAM.size;

/// PCI Local Bus Specification 3.0, 6.1: the first 16 bytes of a type 0 header.
const HOST_BRIDGE: [u8; 16] = [
    0x36, 0x1b, 0x08, 0x00, // vendor 0x1b36, device 0x0008: generic PCIe host bridge
    0x00, 0x00, 0x00, 0x00, // command, status
    0x00, 0x00, 0x00, 0x06, // revision, class 06 00 00: host bridge
    0x00, 0x00, 0x00, 0x00, // cache line, latency, header type 0, BIST
];
const FUNCTION_SIZE: u64 = 4096;

/// Bus 0.
#[derive(Debug, Default)]
pub struct PciRoot;

impl BusDevice for PciRoot {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if offset >= FUNCTION_SIZE {
            return data.fill(0xff);
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, byte) in (from..).zip(data) {
            *byte = HOST_BRIDGE.get(at).copied().unwrap_or(0);
        }
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Effect {
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_bridge_answers() {
        let mut root = PciRoot;
        let mut id = [0; 4];
        root.read(0, &mut id);
        assert_eq!(id, [0x36, 0x1b, 0x08, 0x00]);
        root.read(FUNCTION_SIZE, &mut id);
        assert_eq!(id, [0xff; 4]);
        root.read(ECAM_SIZE - 4, &mut id);
        assert_eq!(id, [0xff; 4]);
    }
}
