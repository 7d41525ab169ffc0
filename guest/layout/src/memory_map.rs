//! The host's memory map: which guest physical addresses are RAM.
//!
//! It is not measured, so that a guest's launch digest does not depend on its memory, and lies in
//! shared memory at [`HOST_MAP`]. The boot code copies it once into private memory and looks at
//! nothing but the copy. What a host can say in it is how much memory the guest has; a map that
//! would lead the boot code anywhere else is refused, each kind of error with a [`Termination`] of
//! its own.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0x000 | 8 | magic `CASEMMAP` |
//! | 0x008 | 4 | version |
//! | 0x00c | 4 | number of ranges |
//! | 0x010 | 32 × 16 | ranges: start, size; unused ones are zero |

use crate::map;
use crate::map::{ADDRESS_LIMIT, DEVICE_HOLE, HIGH_START, PAGE_SIZE};
use crate::range::{Range, Ranges};
use crate::termination::Termination;

/// Ranges that a map can have.
pub const MAX_RANGES: usize = 32;
/// Bytes of a map, all of which are read, used or not.
pub const MAP_BYTES: usize = HEADER + MAX_RANGES * RANGE;

const MAGIC: [u8; 8] = *b"CASEMMAP";
const VERSION: u32 = 1;
const HEADER: usize = 16;
const RANGE: usize = 16;

const _: () = assert!(MAP_BYTES as u64 <= map::HOST_MAP.size);

/// Why a map is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapError {
    /// No map, or one of another version, or with bytes that mean nothing.
    Form,
    /// A range that is not whole pages, or empty.
    Pages,
    /// Ranges are not ascending, or one lies over another.
    Order,
    /// Above the addresses that the processor has, or around their end.
    Address,
    /// Memory where devices, APICs and PCI configuration space are.
    Devices,
    /// The first MiB, with every launched page, is not RAM.
    Low,
    /// Too little for kernel, initrd and staging.
    TooSmall,
}

impl MapError {
    /// How the boot code says it: a code of its own for each.
    #[must_use]
    pub const fn termination(self) -> Termination {
        match self {
            Self::Form => Termination::MapForm,
            Self::Pages => Termination::MapPages,
            Self::Order => Termination::MapOrder,
            Self::Address => Termination::MapAddress,
            Self::Devices => Termination::MapDevices,
            Self::Low => Termination::MapLow,
            Self::TooSmall => Termination::MapTooSmall,
        }
    }
}

impl core::fmt::Display for MapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.termination().sentence())
    }
}

impl core::error::Error for MapError {}

/// All RAM: ascending ranges of whole pages, none touching the device hole, the first from 0 to 1
/// MiB at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryMap {
    ram: Ranges<MAX_RANGES>,
}

impl MemoryMap {
    /// A map of `ram`, whose addresses have `bits` bits.
    ///
    /// # Errors
    /// [`MapError`] for the first thing that is wrong.
    pub fn new(ram: Ranges<MAX_RANGES>, bits: u8) -> Result<Self, MapError> {
        // A width that no processor has is taken for the narrowest that SNP guests have.
        let limit =
            1_u64.checked_shl(u32::from(bits)).map_or(ADDRESS_LIMIT, |l| l.min(ADDRESS_LIMIT));
        let mut end = 0;
        for range in ram.as_slice() {
            // Whole pages before order: an empty range would have an end that is no border.
            if !range.is_aligned(PAGE_SIZE) || range.size == 0 {
                return Err(MapError::Pages);
            }
            // Against the end of the one before: ascending and disjoint in one comparison. Ranges
            // may touch.
            if range.start < end {
                return Err(MapError::Order);
            }
            end = range.checked_end().filter(|end| *end <= limit).ok_or(MapError::Address)?;
            if range.overlaps(DEVICE_HOLE) {
                return Err(MapError::Devices);
            }
        }
        // Every launched page, and whatever else the boot code uses before it has found places, is
        // below.
        if !ram.cover(Range { start: 0, size: HIGH_START }) {
            return Err(MapError::Low);
        }
        Ok(Self { ram })
    }

    /// RAM in ascending ranges, as the host gave it and it was checked.
    #[must_use]
    pub fn ram(&self) -> &[Range] {
        self.ram.as_slice()
    }

    /// The map as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; MAP_BYTES] {
        let mut bytes = [0; MAP_BYTES];
        let ranges = self.ram();
        // At most MAX_RANGES.
        let count = u32::try_from(ranges.len()).unwrap_or(u32::MAX);
        // No offsets: each part is split off the front of what is left, which can neither overlap
        // nor end beyond the array.
        if let Some((magic, rest)) = bytes.split_first_chunk_mut() {
            *magic = MAGIC;
            if let Some((version, rest)) = rest.split_first_chunk_mut() {
                *version = VERSION.to_le_bytes();
                if let Some((to, rest)) = rest.split_first_chunk_mut() {
                    *to = count.to_le_bytes();
                    let numbers = ranges.iter().flat_map(|range| [range.start, range.size]);
                    for (to, number) in rest.as_chunks_mut().0.iter_mut().zip(numbers) {
                        *to = number.to_le_bytes();
                    }
                }
            }
        }
        bytes
    }

    /// The map in `bytes`, checked; addresses have `bits` bits.
    ///
    /// # Errors
    /// [`MapError`] for the first thing that is wrong.
    pub fn decode(bytes: &[u8; MAP_BYTES], bits: u8) -> Result<Self, MapError> {
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(MapError::Form)?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(MapError::Form)?;
        let (count, rest) = rest.split_first_chunk::<4>().ok_or(MapError::Form)?;
        if *magic != MAGIC || u32::from_le_bytes(*version) != VERSION {
            return Err(MapError::Form);
        }
        let count = u32::from_le_bytes(*count);
        let mut ram = Ranges::default();
        for (bytes, index) in rest.as_chunks::<RANGE>().0.iter().zip(0..) {
            let (numbers, _) = bytes.as_chunks::<8>();
            let [start, size] = *numbers else { return Err(MapError::Form) };
            let range = Range { start: u64::from_le_bytes(start), size: u64::from_le_bytes(size) };
            // All 32 places are looked at, used or not: what is not used is zero, so that a map has
            // one encoding.
            match index < count {
                true => ram.push(range).map_err(|_| MapError::Form)?,
                false if range == Range::default() => {}
                false => return Err(MapError::Form),
            }
        }
        // After the loop, which has pushed as many as there are: a count beyond it promises ranges
        // that nobody wrote.
        if usize::try_from(count).is_ok_and(|count| count > MAX_RANGES) {
            return Err(MapError::Form);
        }
        Self::new(ram, bits)
    }
}
