//! Counted use: at most so many in one second, at most so many in all.
//!
//! A second is a fixed window, so up to twice `per_second` can fall into one second that straddles
//! two windows. In return two limits have an exact meet, which two token buckets do not have.

use super::Lattice;

/// How much was used, the request to be decided included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Used in the current one-second window, of the clock's own seconds.
    pub in_second: u64,
    /// Used since the counter began, the present second included.
    pub total: u64,
}

/// Admits a usage within both ceilings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    per_second: u64,
    total: u64,
}

impl Limit {
    /// At most `per_second` in one second and `total` in all; a zero admits no use.
    #[must_use]
    pub const fn new(per_second: u64, total: u64) -> Self {
        // A second's ceiling above the total is the total: one form for one set, and no use where
        // either is zero.
        if per_second == 0 || total == 0 {
            Self { per_second: 0, total: 0 }
        } else if per_second > total {
            // No second can use more than the total.
            Self { per_second: total, total }
        } else {
            Self { per_second, total }
        }
    }

    /// Ceiling of one second, never above that of all.
    #[must_use]
    pub const fn per_second(&self) -> u64 {
        self.per_second
    }

    /// Ceiling in all, for the counter's life.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Whether the usage is within both ceilings.
    #[must_use]
    pub const fn admits(&self, usage: &Usage) -> bool {
        // A usage of nothing is admitted by any limit but the empty one, which admits nothing at
        // all.
        usage.in_second <= self.per_second && usage.total <= self.total && self.total != 0
    }

    /// The nearest admitted usage.
    #[must_use]
    pub fn nearest(&self, usage: &Usage) -> Option<Usage> {
        if self.is_empty() {
            return None;
        }
        let (in_second, total) =
            (usage.in_second.min(self.per_second), usage.total.min(self.total));
        Some(Usage { in_second, total })
    }

    /// A usage that `self` admits and `other` does not.
    #[must_use]
    pub fn witness_against(&self, other: &Self) -> Option<Usage> {
        // Just over the other's ceilings first, then this limit's own: what this one admits and the
        // other does not exceeds one of the two ceilings.
        let (per, second) = (self.per_second, other.per_second.saturating_add(1));
        let mut tries = [
            Usage { in_second: second, total: second },
            Usage { in_second: 1, total: other.total.saturating_add(1) },
            Usage { in_second: per, total: per },
            Usage { in_second: 1, total: self.total },
        ]
        .into_iter();
        tries.find(|usage| self.admits(usage) && !other.admits(usage))
    }
}

impl Lattice for Limit {
    fn top() -> Self {
        Self { per_second: u64::MAX, total: u64::MAX }
    }
    fn bottom() -> Self {
        Self { per_second: 0, total: 0 }
    }
    fn meet(&self, other: &Self) -> Self {
        Self::new(self.per_second.min(other.per_second), self.total.min(other.total))
    }
    fn join(&self, other: &Self) -> Self {
        Self::new(self.per_second.max(other.per_second), self.total.max(other.total))
    }
    fn le(&self, other: &Self) -> bool {
        self.per_second <= other.per_second && self.total <= other.total
    }
}
