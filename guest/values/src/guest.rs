//! Numbers that a guest supplied.
//!
//! A [`Guest<T>`] is an allegation, not a number: it has no arithmetic, no `Deref`, cannot index,
//! and its `Debug` hides the value so that it cannot leak into a log by accident. It becomes a
//! number only by a conversion that names a limit. Think carefully before adding another way out.

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
    pub value: Shown,
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
        if value <= max { Ok(value) } else { Err(OutOfLimit { value: Shown(value), limit }) }
    }

    /// The distance from `base`, if an access of `len` bytes lies wholly within `base..base +
    /// size`.
    #[must_use]
    pub fn offset_in(self, base: u64, size: u64, len: u64) -> Option<u64> {
        let offset = self.0.into().checked_sub(base)?;
        (offset.checked_add(len)? <= size).then_some(offset)
    }

    /// Whether it is exactly `known`.
    pub fn is(self, known: u64) -> bool {
        self.0.into() == known
    }

    /// Whether no bit outside `known` is set; a request with another one is not understood.
    pub fn has_only(self, known: u64) -> bool {
        self.0.into() & !known == 0
    }

    /// Whether any bit of `mask` is set.
    pub fn has(self, mask: u64) -> bool {
        self.0.into() & mask != 0
    }

    /// Whether the bits of `mask` are exactly those of `known`.
    pub fn is_under(self, mask: u64, known: u64) -> bool {
        self.0.into() & mask == known
    }

    /// Whether it is `known` or more: to search a table of ours, or for a count that has to
    /// suffice.
    pub fn at_least(self, known: u64) -> bool {
        self.0.into() >= known
    }

    /// Its byte `index`, 0 being the lowest; 0 beyond the eighth.
    pub fn byte(self, index: usize) -> u8 {
        self.0.into().to_le_bytes().get(index).copied().unwrap_or(0)
    }

    /// The value for a log line or a report.
    pub fn shown(self) -> Shown {
        Shown(self.0.into())
    }
}

/// A guest's number on its way to a reader: it can be displayed and compared with itself, and
/// carried between processes as bytes, but nothing can be computed with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shown(u64);

impl Shown {
    /// For a message to another process, which shows it.
    #[must_use]
    pub const fn to_message(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    /// Out of such a message.
    #[must_use]
    pub const fn from_message(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::LowerHex for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
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
    fn what_is_shown_is_the_value_and_survives_a_message() {
        let shown = Guest::new(42_u32).shown();
        assert_eq!(format!("{shown} {shown:#x}"), "42 0x2a");
        assert_eq!(Shown::from_message(shown.to_message()), shown);
    }

    #[test]
    fn fields_are_read_without_giving_the_number() {
        let value = Guest::new(0x12_3456_u64);
        assert_eq!([0, 2, 8].map(|index| value.byte(index)), [0x56, 0x12, 0]);
        assert!(value.is_under(0xfff, 0x456) && !value.is_under(0xffff, 0x456));
        assert!(value.at_least(0x12_3456) && !value.at_least(0x12_3457));
    }

    #[test]
    fn limit_is_named_when_broken() {
        let broken = Guest::new(9_u16).at_most(8, "the queue size").unwrap_err();
        assert_eq!(broken.to_string(), "guest value 0x9 is not within the queue size");
    }
}
