//! KVM_EXIT_IOAPIC_EOI: an interrupt of a user-space IOAPIC was acknowledged; ours is in the
//! kernel.

use crate::exits::Outcome;

/// The guest has ended an interrupt of a split interrupt controller.
#[derive(Debug)]
pub struct IoapicEoi {
    /// The vector that it ended.
    pub vector: u8,
}

impl IoapicEoi {
    /// Nothing waits for it.
    pub fn handle(self) -> Outcome {
        Outcome::Resume
    }
}
