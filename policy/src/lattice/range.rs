//! Closed intervals of numbers: floors, ceilings, sizes, versions and ordered levels.

use super::Lattice;

/// Admits `min <= x <= max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    min: u64,
    max: u64,
}

impl Range {
    /// The interval from `min` to `max`, both included; empty when `min > max`.
    #[must_use]
    pub const fn new(min: u64, max: u64) -> Self {
        // Every interval the wrong way round is this one: one form for the empty set.
        if min > max { Self { min: 1, max: 0 } } else { Self { min, max } }
    }

    /// Everything from `min` up to the greatest number.
    #[must_use]
    pub const fn at_least(min: u64) -> Self {
        Self::new(min, u64::MAX)
    }

    /// Everything from zero up to `max`.
    #[must_use]
    pub const fn at_most(max: u64) -> Self {
        Self::new(0, max)
    }

    /// The least admitted number; 1 when there is none.
    #[must_use]
    pub const fn min(&self) -> u64 {
        self.min
    }

    /// The greatest admitted number; 0 when there is none.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// Whether `x` lies in the interval.
    #[must_use]
    pub const fn admits(&self, x: u64) -> bool {
        self.min <= x && x <= self.max
    }

    /// The admitted number nearest to `x`.
    #[must_use]
    pub fn nearest(&self, x: u64) -> Option<u64> {
        // Clamping wants ordered ends, so the empty interval is asked for first.
        if self.is_empty() { None } else { Some(x.clamp(self.min, self.max)) }
    }

    /// A number that `self` admits and `other` does not.
    #[must_use]
    pub fn witness_against(&self, other: &Self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        // Just beyond the other's ends first: the smallest step over the line is the best example.
        let above = other.max.saturating_add(1).max(self.min);
        let below = other.min.saturating_sub(1).min(self.max);
        let mut tries = [below, above, self.min, self.max].into_iter();
        tries.find(|x| self.admits(*x) && !other.admits(*x))
    }
}

impl Lattice for Range {
    fn top() -> Self {
        Self { min: 0, max: u64::MAX }
    }
    fn bottom() -> Self {
        Self { min: 1, max: 0 }
    }
    fn meet(&self, other: &Self) -> Self {
        // The empty interval has ends of its own, which must not take part in a comparison of ends.
        if self.is_empty() || other.is_empty() {
            return Self::bottom();
        }
        Self::new(self.min.max(other.min), self.max.min(other.max))
    }
    fn join(&self, other: &Self) -> Self {
        // The least interval above both: it may hold numbers between them that neither admits.
        if self.is_empty() {
            *other
        } else if other.is_empty() {
            *self
        } else {
            Self::new(self.min.min(other.min), self.max.max(other.max))
        }
    }
    fn le(&self, other: &Self) -> bool {
        self.is_empty() || (other.min <= self.min && self.max <= other.max)
    }
    fn is_empty(&self) -> bool {
        self.min > self.max
    }
}
