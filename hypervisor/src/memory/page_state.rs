//! Which guest pages are private and which are shared with the host, and how a guest changes that.

use crate::memory::GpaRange;

/// Who may read a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// Guest and host.
    Shared,
    /// The guest alone.
    Private,
}

/// Why a page-state change did not happen. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This VM has no private memory.
    #[error("this VM has no private memory")]
    NotConfidential,
    /// Part of the range is not RAM.
    #[error("part of the range is not RAM")]
    NotRam,
    /// The rate the policy allows is used up.
    #[error("too many page-state changes")]
    RateLimit,
    /// The kernel refused.
    #[error("the kernel refused: errno {0}")]
    Kernel(i32),
}

/// The page states of one VM.
pub trait PageStates: Send + Sync {
    /// Makes every page of `range` `to`. All or nothing is checked before the first page changes.
    ///
    /// # Errors
    /// [`Refusal`].
    fn convert(&self, range: GpaRange, to: Visibility) -> Result<(), Refusal>;
}

/// The page states of a VM without protection: everything is shared, for ever.
#[derive(Debug, Default)]
pub struct AllShared;

impl PageStates for AllShared {
    fn convert(&self, _: GpaRange, _: Visibility) -> Result<(), Refusal> {
        Err(Refusal::NotConfidential)
    }
}
