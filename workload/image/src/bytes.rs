//! Numbers of bytes, without overflow.

/// Rounds up to a multiple of `unit`; None when that is no number of 64 bits.
pub fn round_up(value: u64, unit: u64) -> Option<u64> {
    value.checked_next_multiple_of(unit)
}

/// A length as a number of 64 bits. `usize` has at most as many on every machine this runs on.
pub fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
