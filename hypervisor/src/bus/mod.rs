//! The port (PIO) and memory (MMIO) address spaces of a VM.
//!
//! A bus is built once and never changes while the guest runs: ranges do not move, so what a device
//! sees is always an offset inside its own range. Addresses nobody claims read as all ones and
//! ignore writes, as on a PC.

use casemate_values::Guest;
use std::sync::{Arc, Mutex, PoisonError};

/// What a write asks of the VM beyond the device's own state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effect {
    /// Nothing more: the access is done.
    #[default]
    None,
    /// The guest marks a step of its boot for the timeline.
    Mark(u8),
    /// The guest switched itself off (ACPI S5).
    PowerOff {
        /// Exit status of its workload, if it told one.
        status: Option<u8>,
    },
    /// The guest asked for a reset.
    Reset,
    /// The boot code refused to boot, with a code of `casemate-layout`.
    BootRefused(u32),
    /// The guest switched itself off after its PID 1 refused to start the workload, with a code of
    /// `casemate-layout`.
    Refused(u8),
}

/// A device on a bus. `offset` is relative to the device's range, and `offset + data.len()` is
/// inside it; `data` is 1, 2, 4 or 8 bytes. Device errors are the device's own: it never fails an
/// access.
pub trait BusDevice: Send {
    /// Fills `data`, all of it.
    fn read(&mut self, offset: u64, data: &mut [u8]);
    /// Takes a write of `data` at an offset from the device's first address.
    fn write(&mut self, offset: u64, data: &[u8]) -> Effect;
}

/// Why a range cannot be added to a bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The range is empty or wraps.
    #[error("device range {base:#x}+{size:#x} is empty or wraps")]
    BadRange {
        /// The first address that it would have.
        base: u64,
        /// How many addresses it would have.
        size: u64,
    },
    /// Another device has part of the range.
    #[error("device range {base:#x}+{size:#x} overlaps the one at {other:#x}")]
    Overlap {
        /// The first address that it would have.
        base: u64,
        /// How many addresses it would have.
        size: u64,
        /// First address of the range that is already there.
        other: u64,
    },
}

struct Slot {
    base: u64,
    size: u64,
    device: Arc<Mutex<dyn BusDevice>>,
}

/// One address space, ports or memory: who answers which address.
#[derive(Default)]
pub struct Bus {
    /// Sorted by base, without overlaps.
    slots: Vec<Slot>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.slots.iter().map(|s| (s.base, s.size))).finish()
    }
}

impl Bus {
    /// Gives `base..base + size` to `device`.
    ///
    /// # Errors
    /// [`BusError`] when the range is empty, wraps, or is taken in part.
    pub fn add(
        &mut self,
        base: u64,
        size: u64,
        device: Arc<Mutex<dyn BusDevice>>,
    ) -> Result<(), BusError> {
        let bad = BusError::BadRange { base, size };
        let end = base.checked_add(size).filter(|end| *end > base).ok_or(bad)?;
        if let Some(s) = self.slots.iter().find(|s| s.base < end && base < s.base + s.size) {
            return Err(BusError::Overlap { base, size, other: s.base });
        }
        let at = self.slots.partition_point(|s| s.base < base);
        self.slots.insert(at, Slot { base, size, device });
        Ok(())
    }

    /// Reads `data.len()` bytes at `address`; all ones where no device answers.
    pub fn read<T: Copy + Into<u64>>(&self, address: Guest<T>, data: &mut [u8]) {
        match self.find(address, data.len()) {
            Some((slot, offset)) => {
                slot.device.lock().unwrap_or_else(PoisonError::into_inner).read(offset, data);
            }
            None => data.fill(0xff),
        }
    }

    /// Writes `data` at `address`; nothing happens where no device answers.
    pub fn write<T: Copy + Into<u64>>(&self, address: Guest<T>, data: &[u8]) -> Effect {
        match self.find(address, data.len()) {
            Some((slot, offset)) => {
                slot.device.lock().unwrap_or_else(PoisonError::into_inner).write(offset, data)
            }
            None => Effect::None,
        }
    }

    /// The device whose range holds the whole access. Widths no processor has (3, 5, 6, 7: an SNP
    /// guest can write any into its GHCB) belong to no device.
    fn find<T: Copy + Into<u64>>(&self, address: Guest<T>, len: usize) -> Option<(&Slot, u64)> {
        if !matches!(len, 1 | 2 | 4 | 8) {
            return None;
        }
        let after = self.slots.partition_point(|s| address.at_least(s.base));
        let slot = self.slots.get(after.checked_sub(1)?)?;
        let offset = address.offset_in(slot.base, slot.size, len as u64)?;
        Some((slot, offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Recorder {
        seen: Vec<(u64, usize)>,
    }
    impl BusDevice for Recorder {
        fn read(&mut self, offset: u64, data: &mut [u8]) {
            self.seen.push((offset, data.len()));
            data.fill(0);
        }
        fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
            self.seen.push((offset, data.len()));
            Effect::Reset
        }
    }

    #[test]
    fn overlapping_and_empty_ranges_are_refused() {
        let mut bus = Bus::default();
        let device = Arc::new(Mutex::new(Recorder::default()));
        bus.add(0x100, 0x10, device.clone()).unwrap();
        assert!(bus.add(0x10f, 1, device.clone()).is_err());
        assert!(bus.add(0xf8, 9, device.clone()).is_err());
        assert!(bus.add(0x200, 0, device.clone()).is_err());
        assert!(bus.add(u64::MAX, 2, device.clone()).is_err());
        bus.add(0x110, 1, device).unwrap();
    }

    proptest! {
        #[test]
        fn devices_see_only_whole_accesses_inside_their_range(address: u64, len in 0_usize..12, near in 0_u64..0x40) {
            let mut bus = Bus::default();
            let device = Arc::new(Mutex::new(Recorder::default()));
            bus.add(0x3f8, 8, device.clone()).unwrap();
            bus.add(0x400, 4, device.clone()).unwrap();
            for address in [address, 0x3e0 + near] {
                let mut data = vec![0x5a; len];
                bus.read(Guest::new(address), &mut data);
                let _ = bus.write(Guest::new(address), &data);
            }
            for (offset, len) in &device.lock().unwrap().seen {
                prop_assert!(offset + *len as u64 <= 8);
                prop_assert!(matches!(len, 1 | 2 | 4 | 8));
            }
        }
    }
}
