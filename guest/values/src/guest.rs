//! Numbers that a guest supplied.
//!
//! A [`Guest<T>`] is an allegation, not a number: it has no arithmetic, no `Deref`, cannot index, and its
//! `Debug` hides the value so that it cannot leak into a log by accident. It becomes a number only by a
//! conversion that names a limit. Think carefully before adding another way out.

use std::fmt;

/// A value that came from a guest and has not been checked.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Guest<T>(T);

/// A guest's number was outside the limit that its use has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("guest value {value:#x} is not within {limit}")]
pub struct OutOfLimit {
    /// The value, for the log.
    pub value: u64,
    /// The limit it broke, in words.
    pub limit: &'static str,
}

impl<T> Guest<T> {
    /// Marks `raw` as supplied by a guest.
    pub const fn new(raw: T) -> Self {
        Self(raw)
    }
}

impl<T: Copy + Into<u64>> Guest<T> {
    /// The number, if it is at most `max`; `limit` says what the limit is.
    ///
    /// # Errors
    /// [`OutOfLimit`] when it is larger.
    pub fn at_most(self, max: u64, limit: &'static str) -> Result<u64, OutOfLimit> {
        let value = self.0.into();
        if value <= max { Ok(value) } else { Err(OutOfLimit { value, limit }) }
    }

    /// The distance from `base`, if an access of `len` bytes lies wholly within `base..base + size`.
    #[must_use]
    pub fn offset_in(self, base: u64, size: u64, len: u64) -> Option<u64> {
        let offset = self.0.into().checked_sub(base)?;
        (offset.checked_add(len)? <= size).then_some(offset)
    }

    /// Whether it is exactly `known`.
    pub fn is(self, known: u64) -> bool {
        self.0.into() == known
    }

    /// The bits outside `known`; a request with any of them set is not understood.
    pub fn unknown_bits(self, known: u64) -> u64 {
        self.0.into() & !known
    }

    /// Whether any bit of `mask` is set.
    pub fn has(self, mask: u64) -> bool {
        self.0.into() & mask != 0
    }

    /// The value for a log line or a report: never compute with it.
    pub fn shown(self) -> u64 {
        self.0.into()
    }
}

impl<T> fmt::Debug for Guest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_is_refused_when_the_access_leaves_the_range_or_wraps() {
        assert_eq!(Guest::new(0x1004_u64).offset_in(0x1000, 8, 4), Some(4));
        assert_eq!(Guest::new(0x1005_u64).offset_in(0x1000, 8, 4), None);
        assert_eq!(Guest::new(0xfff_u64).offset_in(0x1000, 8, 1), None);
        assert_eq!(Guest::new(u64::MAX).offset_in(0, u64::MAX, 8), None);
    }

    #[test]
    fn debug_does_not_show_the_value() {
        assert_eq!(format!("{:?}", Guest::new(42_u32)), "Guest(..)");
    }

    #[test]
    fn limit_is_named_when_broken() {
        let broken = Guest::new(9_u16).at_most(8, "the queue size").unwrap_err();
        assert_eq!(broken.to_string(), "guest value 0x9 is not within the queue size");
    }
}
