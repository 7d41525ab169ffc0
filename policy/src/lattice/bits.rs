//! Bit masks with bits that must and bits that must not be set: guest policy, platform information,
//! mitigation vectors.

use super::Lattice;

/// Admits `x` when every `must` bit is set and every `must_not` bit is clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits {
    must: u64,
    must_not: u64,
}

impl Bits {
    /// The mask; empty when a bit both must and must not be set.
    #[must_use]
    pub const fn new(must: u64, must_not: u64) -> Self {
        // One canonical contradiction, so that all empty masks are equal.
        if must & must_not == 0 {
            Self { must, must_not }
        } else {
            Self { must: u64::MAX, must_not: u64::MAX }
        }
    }

    /// Bits that must be set.
    #[must_use]
    pub const fn must(&self) -> u64 {
        self.must
    }

    /// Bits that must be clear, that is, zero.
    #[must_use]
    pub const fn must_not(&self) -> u64 {
        self.must_not
    }

    /// Whether `x` has the bits it must and none that it must not.
    #[must_use]
    pub const fn admits(&self, x: u64) -> bool {
        x & self.must == self.must && x & self.must_not == 0
    }

    /// The admitted value that differs from `x` in the fewest bits.
    #[must_use]
    pub fn nearest(&self, x: u64) -> Option<u64> {
        // Bits that must be set are set, those that must not cleared; no other bit changes, so no
        // admitted value is nearer.
        if self.is_empty() { None } else { Some((x | self.must) & !self.must_not) }
    }

    /// A value that `self` admits and `other` does not.
    #[must_use]
    pub fn witness_against(&self, other: &Self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        // The strictest and the loosest value that this rule admits: if the other refuses any
        // admitted value, it refuses one of these. It refuses a value for a bit that must be set
        // and need not here (clear in the first), or must be clear and need not here (set in the
        // second).
        [self.must, !self.must_not].into_iter().find(|x| self.admits(*x) && !other.admits(*x))
    }
}

impl Lattice for Bits {
    fn top() -> Self {
        Self { must: 0, must_not: 0 }
    }
    fn bottom() -> Self {
        Self { must: u64::MAX, must_not: u64::MAX }
    }
    fn meet(&self, other: &Self) -> Self {
        // Both sets of demands; `new` sees when one bit is in both.
        Self::new(self.must | other.must, self.must_not | other.must_not)
    }
    fn join(&self, other: &Self) -> Self {
        // What both demand. The join may admit more than the union of the two sets: it is the
        // strictest mask that admits both.
        Self { must: self.must & other.must, must_not: self.must_not & other.must_not }
    }
    fn le(&self, other: &Self) -> bool {
        // Stricter is to demand at least what the other does. Empty, with all bits in both, is
        // below everything.
        self.must & other.must == other.must && self.must_not & other.must_not == other.must_not
    }
}
