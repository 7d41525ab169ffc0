//! Ranges of guest physical addresses.

/// A range of guest physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// First byte, a guest physical address.
    pub start: u64,
    /// Bytes; none for an empty range.
    pub size: u64,
}

impl Range {
    /// One past the last byte; `None` when that is no 64-bit number.
    #[must_use]
    pub const fn checked_end(self) -> Option<u64> {
        self.start.checked_add(self.size)
    }

    /// One past the last byte, or the last address there is.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.start.saturating_add(self.size)
    }

    /// Whether every byte of `other` lies in it. An empty range lies where its start does.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    /// Whether they share a byte.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end() && other.start < self.end() && self.size != 0 && other.size != 0
    }

    /// From `start` to `end`; empty when that is no way up.
    #[must_use]
    pub const fn between(start: u64, end: u64) -> Self {
        Self { start, size: end.saturating_sub(start) }
    }

    /// Its first `size` bytes, or all of it, and the rest, which may be empty.
    #[must_use]
    pub fn split(self, size: u64) -> (Self, Self) {
        let size = size.min(self.size);
        // `size` is at most its own, so only the addition of a start near the end of the address
        // space can saturate.
        let rest = Self { start: self.start.saturating_add(size), size: self.size - size };
        (Self { start: self.start, size }, rest)
    }

    /// Whether it starts and ends on `unit`, a power of two.
    #[must_use]
    pub const fn is_aligned(self, unit: u64) -> bool {
        (self.start | self.size) & unit.wrapping_sub(1) == 0
    }
}

/// At most `N` ranges, without allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranges<const N: usize> {
    items: [Range; N],
    count: usize,
}

/// A list has no room for another range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyRanges;

impl core::fmt::Display for TooManyRanges {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("more ranges than the parameters can hold")
    }
}

impl core::error::Error for TooManyRanges {}

impl<const N: usize> Default for Ranges<N> {
    fn default() -> Self {
        Self { items: [Range { start: 0, size: 0 }; N], count: 0 }
    }
}

impl<const N: usize> Ranges<N> {
    /// Appends a range, whatever its place among the others.
    pub fn push(&mut self, range: Range) -> Result<(), TooManyRanges> {
        let slot = self.items.get_mut(self.count).ok_or(TooManyRanges)?;
        *slot = range;
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// The ranges, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Range] {
        self.items.get(..self.count).unwrap_or(&[])
    }

    /// Whether one of them contains all of `range`.
    #[must_use]
    pub fn cover(&self, range: Range) -> bool {
        self.as_slice().iter().any(|each| each.contains(range))
    }
}
