//! Subsets of a short closed list: protection modes, processor generations, signer kinds, on and
//! off.

use super::Lattice;

/// Admits the listed choices, by their index in the field's list. `any` also admits a value that is
/// not in the list of this version ([`Choice::UNKNOWN`]); listing every known choice does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice(u32);

impl Choice {
    /// The index that stands for a value not in the list.
    pub const UNKNOWN: u64 = 31;

    /// Exactly these indices; those above 31 are ignored.
    #[must_use]
    pub fn only(indices: impl IntoIterator<Item = u64>) -> Self {
        Self(indices.into_iter().fold(0, |mask, index| mask | Self::bit(index)))
    }

    const fn bit(index: u64) -> u32 {
        if index < 32 { 1 << index } else { 0 }
    }

    /// Whether the choice with this index is admitted.
    #[must_use]
    pub const fn admits(&self, index: u64) -> bool {
        self.0 & Self::bit(index) != 0
    }

    /// The first admitted index, in the order of the field's list.
    #[must_use]
    pub fn sample(&self) -> Option<u64> {
        (self.0 != 0).then(|| u64::from(self.0.trailing_zeros()))
    }

    /// An index that `self` admits and `other` does not.
    #[must_use]
    pub fn witness_against(&self, other: &Self) -> Option<u64> {
        Self(self.0 & !other.0).sample()
    }
}

impl Lattice for Choice {
    fn top() -> Self {
        Self(u32::MAX)
    }
    fn bottom() -> Self {
        Self(0)
    }
    fn meet(&self, other: &Self) -> Self {
        Self(self.0 & other.0)
    }
    fn join(&self, other: &Self) -> Self {
        Self(self.0 | other.0)
    }
    fn le(&self, other: &Self) -> bool {
        self.0 & !other.0 == 0
    }
}
