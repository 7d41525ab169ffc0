//! The PCI root: configuration space of bus 0, reached through the ECAM window only.
//!
//! It holds a host bridge, which is read-only, and a function for each device process. There is no
//! second way to it, by ports 0xcf8 and 0xcfc: Linux takes the window for everything when there is
//! none (`raw_pci_read`).

use super::virtio_pci::VirtioPci;
use crate::bus::{BusDevice, Effect};
use casemate_layout::map::ECAM;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// Devices of a bus.
const DEVICES: usize = 32;
/// Functions of a device.
const FUNCTIONS: u64 = 8;

/// Bus 0: the host bridge, and each device's one function, from device 1 on.
#[derive(Debug, Default)]
pub struct PciRoot {
    devices: Vec<Arc<Mutex<VirtioPci>>>,
}

impl PciRoot {
    /// A bus with these devices; more than 31 have no place on it.
    #[must_use]
    pub fn new(mut devices: Vec<Arc<Mutex<VirtioPci>>>) -> Self {
        devices.truncate(DEVICES - 1);
        Self { devices }
    }

    /// The device whose function 0 has this offset of the window, and the offset in it. Its other
    /// functions are not there, and the bridge is none of them.
    fn find(&self, offset: u64) -> Option<(MutexGuard<'_, VirtioPci>, u64)> {
        let (function, at) = (offset / FUNCTION_SIZE, offset % FUNCTION_SIZE);
        let (device, function) = (function / FUNCTIONS, function % FUNCTIONS);
        let index = usize::try_from(device).ok()?.checked_sub(1).filter(|_| function == 0)?;
        let device = self.devices.get(index)?;
        Some((device.lock().unwrap_or_else(PoisonError::into_inner), at))
    }
}

impl BusDevice for PciRoot {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if let Some((device, at)) = self.find(offset) {
            return device.config_read(at, data);
        }
        if offset >= FUNCTION_SIZE {
            return data.fill(0xff);
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, byte) in (from..).zip(data) {
            *byte = HOST_BRIDGE.get(at).copied().unwrap_or(0);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        if let Some((mut device, at)) = self.find(offset) {
            device.config_write(at, data);
        }
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_bridge_answers() {
        let mut root = PciRoot::default();
        let mut id = [0; 4];
        root.read(0, &mut id);
        assert_eq!(id, [0x36, 0x1b, 0x08, 0x00]);
        root.read(FUNCTION_SIZE, &mut id);
        assert_eq!(id, [0xff; 4]);
        root.read(ECAM_SIZE - 4, &mut id);
        assert_eq!(id, [0xff; 4]);
    }
}
