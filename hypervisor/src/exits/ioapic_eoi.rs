//! KVM_EXIT_IOAPIC_EOI: an interrupt of a user-space IOAPIC was acknowledged; ours is in the
//! kernel.

use crate::exits::Outcome;

/// End of interrupt.
#[derive(Debug)]
pub struct IoapicEoi {
    /// Interrupt vector.
    pub vector: u8,
}

impl IoapicEoi {
    /// Nothing waits for it.
    pub fn handle(self) -> Outcome {
        Outcome::Resume
    }
}
