//! KVM_EXIT_FAIL_ENTRY: the processor refused the guest state; an SNP guest can cause it with a bad
//! AP VMSA.

use crate::exits::{Outcome, Stop};

/// The guest could not be entered.
#[derive(Debug)]
pub struct FailEntry {
    /// The processor's reason, for people.
    pub reason: u64,
}

impl FailEntry {
    /// Stops the VM: its state cannot be entered.
    pub fn handle(self) -> Outcome {
        Outcome::Stop(Stop::FailEntry { reason: self.reason })
    }
}
