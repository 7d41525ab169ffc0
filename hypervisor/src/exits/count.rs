//! How often a vCPU left the guest, by reason: told when the VM has stopped.

use super::{EXITS, Exit};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one vCPU, which its own thread alone writes: a plain addition, no locked one. In cache
/// lines of their own, since every vCPU writes its counts at each exit.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ExitCounts([AtomicU64; EXITS.len()]);

/// The counts at one moment, in the order of [`EXITS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitTotals(pub [u64; EXITS.len()]);

impl ExitCounts {
    /// Counts an exit under its reason.
    pub fn count(&self, exit: &Exit<'_>) {
        if let Some(count) = self.0.get(exit.number()) {
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// As they are now; the vCPU may be counting on.
    #[must_use]
    pub fn totals(&self) -> ExitTotals {
        ExitTotals(self.0.each_ref().map(|count| count.load(Ordering::Relaxed)))
    }
}

impl ExitTotals {
    /// How many exits there were of the reason of that name; None without any.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<u64> {
        let index = EXITS.iter().position(|known| *known == name)?;
        self.0.get(index).copied().filter(|count| *count > 0)
    }

    /// How many exits there were, of every reason together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::ExitCounts;
    use crate::exits::{Exit, hlt::Hlt, intr::Intr};

    #[test]
    fn exits_are_counted_by_their_names() {
        let counts = ExitCounts::default();
        for exit in [Exit::Hlt(Hlt), Exit::Intr(Intr), Exit::Hlt(Hlt)] {
            counts.count(&exit);
        }
        let totals = counts.totals();
        assert_eq!(
            [totals.of("hlt"), totals.of("intr"), totals.of("io_in"), totals.of("no such")],
            [Some(2), Some(1), None, None]
        );
        assert_eq!(totals.sum(), 3);
    }
}
