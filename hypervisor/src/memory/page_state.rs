//! Which guest pages are private and which are shared with the host, and how a guest changes that.

use crate::memory::GpaRange;
use casemate_policy::PageRule;

/// Who may read a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// Guest and host can both read and write it.
    Shared,
    /// Only the guest can.
    Private,
}

/// Why a page-state change, or a write to shared pages, did not happen. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This VM has no private memory.
    #[error("this VM has no private memory")]
    NotConfidential,
    /// Part of the range is not RAM.
    #[error("part of the range is not RAM")]
    NotRam,
    /// Part of the range is private.
    #[error("part of the range is private")]
    NotShared,
    /// The policy's rate is used up: later.
    #[error("too many page-state changes: later")]
    RateLimit(PageRule),
    /// The policy's limits forbid it.
    #[error("the policy's limits on page states forbid it")]
    Denied(PageRule),
    /// The policy's limits end the guest.
    #[error("the policy's limits on page states end the guest")]
    Killed(PageRule),
    /// The kernel refused to change the state, or to give memory up.
    #[error("the kernel refused: errno {0}")]
    Kernel(i32),
}

impl Refusal {
    /// The policy's rule that refuses; none where it is not the policy.
    #[must_use]
    pub const fn denied_by(self) -> Option<PageRule> {
        match self {
            Self::RateLimit(rule) | Self::Denied(rule) | Self::Killed(rule) => Some(rule),
            Self::NotConfidential | Self::NotRam | Self::NotShared | Self::Kernel(_) => None,
        }
    }
}

/// How often a guest has changed its pages so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageStateTotals {
    /// Pages that became private.
    pub to_private: u64,
    /// Pages that became shared.
    pub to_shared: u64,
    /// Requests that were refused.
    pub refused: u64,
}

impl PageStateTotals {
    pub(super) fn count(&mut self, to: Visibility, changed: Result<u64, Refusal>) {
        let (total, pages) = match (changed, to) {
            (Ok(pages), Visibility::Private) => (&mut self.to_private, pages),
            (Ok(pages), Visibility::Shared) => (&mut self.to_shared, pages),
            (Err(_), _) => (&mut self.refused, 1),
        };
        *total = total.saturating_add(pages);
    }
}

/// The page states of one VM.
pub trait PageStates: Send + Sync {
    /// Makes every page of `range` `to`, and gives the number of pages that were not. All is
    /// checked before the first page changes.
    ///
    /// # Errors
    /// [`Refusal`].
    fn convert(&self, range: GpaRange, to: Visibility) -> Result<u64, Refusal>;

    /// Writes `bytes` at `gpa`, to pages that are all shared and stay so meanwhile.
    ///
    /// # Errors
    /// [`Refusal`].
    fn write_shared(&self, gpa: u64, bytes: &[u8]) -> Result<(), Refusal>;

    /// What was changed so far; None where nothing can be.
    fn totals(&self) -> Option<PageStateTotals> {
        None
    }
}

/// The page states of a VM without protection: everything is shared, for ever.
#[derive(Debug, Default)]
pub struct AllShared;

impl PageStates for AllShared {
    fn convert(&self, _: GpaRange, _: Visibility) -> Result<u64, Refusal> {
        Err(Refusal::NotConfidential)
    }
    fn write_shared(&self, _: u64, _: &[u8]) -> Result<(), Refusal> {
        Err(Refusal::NotConfidential)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_without_protection_has_nothing_to_convert() {
        let page = GpaRange::new(0, 4096).unwrap();
        assert_eq!(AllShared.convert(page, Visibility::Private), Err(Refusal::NotConfidential));
        assert_eq!(AllShared.write_shared(0, b"x"), Err(Refusal::NotConfidential));
    }
}
