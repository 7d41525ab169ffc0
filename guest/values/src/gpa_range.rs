//! Guest physical address ranges, and where guest RAM is.
//!
//! RAM starts at 0. What does not fit below [`HOLE_START`] continues at 4 GiB: the gap holds the
//! PCI windows, the interrupt controllers and the ECAM space.

use crate::{Guest, OutOfLimit};

/// Bytes of a page; every page-state operation has this granularity.
pub const PAGE_SIZE: u64 = 4096;
/// [`PAGE_SIZE`] as a length.
pub const PAGE_BYTES: usize = 4096;
/// Largest guest physical address: x86 has 52 bits of them at most (APM volume 2, 5.1).
pub const MAX_GPA: u64 = (1 << 52) - 1;
/// First address of the hole below 4 GiB.
pub const HOLE_START: u64 = 0xc000_0000;
/// First address above the hole.
pub const HOLE_END: u64 = 0x1_0000_0000;

/// A non-empty, page-aligned range of guest physical addresses that does not wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpaRange {
    start: u64,
    size: u64,
}

/// Why a guest's range is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The address is not on a page boundary.
    #[error("address {0:#x} is not aligned to 4096")]
    Unaligned(u64),
    /// No page at all.
    #[error("the range is empty")]
    Empty,
    /// The address, or the number of pages, is none that a guest physical address space has.
    #[error(transparent)]
    Outside(#[from] OutOfLimit),
    /// The end is beyond 2^64.
    #[error("{pages:#x} pages from {gpa:#x} wrap")]
    Wraps {
        /// The address it would begin at.
        gpa: u64,
        /// How many pages it would have.
        pages: u64,
    },
}

impl GpaRange {
    /// `size` bytes from `start`.
    ///
    /// # Errors
    /// [`RangeError`] when it is unaligned, empty or wraps.
    pub fn new(start: u64, size: u64) -> Result<Self, RangeError> {
        if !start.is_multiple_of(PAGE_SIZE) || !size.is_multiple_of(PAGE_SIZE) {
            return Err(RangeError::Unaligned(if start.is_multiple_of(PAGE_SIZE) {
                size
            } else {
                start
            }));
        }
        if size == 0 {
            return Err(RangeError::Empty);
        }
        if start.checked_add(size).is_none() {
            return Err(RangeError::Wraps { gpa: start, pages: size / PAGE_SIZE });
        }
        Ok(Self { start, size })
    }

    /// The range a guest names by its first address and a page count.
    ///
    /// # Errors
    /// [`RangeError`]; a count of 2^52 pages is 2^64 bytes and must not become 0.
    pub fn from_guest(gpa: Guest<u64>, pages: Guest<u64>) -> Result<Self, RangeError> {
        let gpa = gpa.at_most(MAX_GPA, "the guest physical addresses")?;
        let pages = pages.at_most(MAX_GPA / PAGE_SIZE + 1, "the pages of an address space")?;
        let size = pages.checked_mul(PAGE_SIZE).ok_or(RangeError::Wraps { gpa, pages })?;
        Self::new(gpa, size)
    }

    /// The address of its first byte.
    #[must_use]
    pub const fn start(self) -> u64 {
        self.start
    }
    /// How many bytes it has.
    #[must_use]
    pub const fn size(self) -> u64 {
        self.size
    }
    /// First address after the range.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.start + self.size
    }
    /// How many pages it has.
    #[must_use]
    pub const fn pages(self) -> u64 {
        self.size / PAGE_SIZE
    }
    /// Whether `other` lies wholly inside.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }
    /// The part that both ranges have.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end().min(other.end());
        (start < end).then(|| Self { start, size: end - start })
    }
}

/// Where RAM is: one or two ranges, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RamMap {
    ranges: Vec<GpaRange>,
}

impl RamMap {
    /// The map for `bytes` of RAM.
    ///
    /// # Errors
    /// [`RangeError`] when `bytes` is 0 or not whole pages.
    pub fn new(bytes: u64) -> Result<Self, RangeError> {
        let mut ranges = vec![GpaRange::new(0, bytes.min(HOLE_START))?];
        if let Some(rest) = bytes.checked_sub(HOLE_START).filter(|rest| *rest > 0) {
            ranges.push(GpaRange::new(HOLE_END, rest)?);
        }
        Ok(Self { ranges })
    }

    /// The ranges of RAM, ascending.
    #[must_use]
    pub fn ranges(&self) -> &[GpaRange] {
        &self.ranges
    }

    /// Whether all of `range` is RAM.
    #[must_use]
    pub fn covers(&self, range: GpaRange) -> bool {
        self.ranges.iter().any(|r| r.contains(range))
    }

    /// How many bytes of RAM there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.ranges.iter().map(|r| r.size()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn page_count_that_wraps_to_zero_bytes_is_refused() {
        let wraps = GpaRange::from_guest(Guest::new(0), Guest::new(1 << 52));
        assert!(matches!(wraps, Err(RangeError::Outside(_))));
        let wraps = GpaRange::from_guest(Guest::new(u64::MAX - 4095), Guest::new(1));
        assert!(matches!(wraps, Err(RangeError::Outside(_))));
        let wraps = GpaRange::new(u64::MAX - 4095, PAGE_SIZE);
        assert!(matches!(wraps, Err(RangeError::Wraps { .. })));
        let last = GpaRange::from_guest(Guest::new(MAX_GPA - 4095), Guest::new(1));
        assert_eq!(last.map(GpaRange::end), Ok(MAX_GPA + 1));
    }

    #[test]
    fn ram_beyond_the_hole_continues_at_4_gib() {
        let map = RamMap::new(HOLE_START + 0x2000).unwrap();
        assert_eq!(map.ranges().len(), 2);
        assert_eq!(map.size(), HOLE_START + 0x2000);
        assert!(map.covers(GpaRange::new(HOLE_END, 0x2000).unwrap()));
        assert!(!map.covers(GpaRange::new(HOLE_START - 0x1000, 0x2000).unwrap()));
        assert!(RamMap::new(0).is_err());
    }

    proptest! {
        #[test]
        fn covered_means_every_page_is_ram(start in 0_u64..0x300, pages in 1_u64..0x300, ram in 1_u64..0x200) {
            let map = RamMap::new(ram * PAGE_SIZE).unwrap();
            let range = GpaRange::new(start * PAGE_SIZE, pages * PAGE_SIZE).unwrap();
            prop_assert_eq!(map.covers(range), start + pages <= ram);
        }
    }
}
