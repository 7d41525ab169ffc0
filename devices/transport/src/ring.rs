//! A queue's settings: alleged while the driver writes them, a [`Ring`] once they were checked.

use casemate_values::{GpaRange, Guest, MAX_GPA, PAGE_SIZE, RamMap};

/// The three areas of a split queue in guest memory: checked to be aligned, not to wrap, and to lie
/// in RAM as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    /// Entries, a power of two.
    pub size: u16,
    /// Guest physical address of the descriptor table.
    pub descriptors: u64,
    /// Guest physical address of the available ring, the driver's area.
    pub available: u64,
    /// Guest physical address of the used ring, the device's area.
    pub used: u64,
}

/// Which area of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    Descriptors,
    Available,
    Used,
}

/// Half of a 64-bit address: drivers write them one by one (4.1.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Low,
    High,
}

/// An address as a driver writes it.
#[derive(Debug, Clone, Copy)]
struct Address([Guest<u32>; 2]);

impl Address {
    fn whole(self) -> Guest<u64> {
        let [low, high] = self.0;
        Guest::new(u64::from_le_bytes(std::array::from_fn(|at| match at {
            0..4 => low.byte(at),
            _ => high.byte(at - 4),
        })))
    }
}

/// What a driver wrote about a queue that is not enabled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    size: u16,
    areas: [Address; 3],
}

impl Settings {
    /// Before the driver writes anything: the largest size, no addresses.
    pub(crate) const fn new(size: u16) -> Self {
        let nowhere = Address([Guest::new(0); 2]);
        Self { size, areas: [nowhere; 3] }
    }

    pub(crate) const fn size(&self) -> u16 {
        self.size
    }

    /// Takes a size that a split queue can have (2.7: a power of two) and that was not exceeded
    /// (4.1.4.3.2); any other changes nothing.
    pub(crate) fn set_size(&mut self, size: Guest<u16>, max: u16) {
        let size = size.at_most(max.into(), "the largest size of the queue");
        if let Some(size) = size.ok().and_then(|size| u16::try_from(size).ok())
            && size.is_power_of_two()
        {
            self.size = size;
        }
    }

    pub(crate) fn set_address(&mut self, area: Area, half: Half, value: Guest<u32>) {
        let [low, high] = &mut self.area(area).0;
        match half {
            Half::Low => *low = value,
            Half::High => *high = value,
        }
    }

    pub(crate) fn address(mut self, area: Area, half: Half) -> [u8; 4] {
        let [low, high] = self.area(area).0;
        let part = if half == Half::Low { low } else { high };
        std::array::from_fn(|at| part.byte(at))
    }

    fn area(&mut self, area: Area) -> &mut Address {
        let [descriptors, available, used] = &mut self.areas;
        match area {
            Area::Descriptors => descriptors,
            Area::Available => available,
            Area::Used => used,
        }
    }

    /// The ring, if a device can use it. Alignments and lengths: virtio 1.2, 2.7.
    ///
    /// That it is in RAM is checked here, so that a driver's wrong address costs that queue and
    /// does not come back from a device process as a failed activation.
    pub(crate) fn ring(self, ram: &RamMap) -> Option<Ring> {
        let entries = u64::from(self.size);
        let [descriptors, available, used] = self.areas.map(Address::whole);
        let place = |address: Guest<u64>, align: u64, bytes: u64| {
            let gpa = address.at_most(MAX_GPA, "the guest physical addresses").ok()?;
            let end = gpa.checked_add(bytes)?.checked_next_multiple_of(PAGE_SIZE)?;
            let start = gpa - gpa % PAGE_SIZE;
            let range = GpaRange::new(start, end.checked_sub(start)?).ok()?;
            (gpa.is_multiple_of(align) && ram.covers(range)).then_some(gpa)
        };
        Some(Ring {
            size: self.size,
            descriptors: place(descriptors, 16, 16 * entries)?,
            // Flags, index and one event field beside the entries, whether the feature is used or
            // not: the area is the driver's to allocate in full.
            available: place(available, 2, 6 + 2 * entries)?,
            used: place(used, 4, 6 + 8 * entries)?,
        })
    }
}

impl Ring {
    /// Half of the address of an area, as the driver reads it back.
    pub(crate) fn address(&self, area: Area, half: Half) -> [u8; 4] {
        let address = match area {
            Area::Descriptors => self.descriptors,
            Area::Available => self.available,
            Area::Used => self.used,
        };
        let [low, high] = crate::features::halves(address);
        if half == Half::Low { low.to_le_bytes() } else { high.to_le_bytes() }
    }
}
