//! KVM_EXIT_HLT: seen only without the in-kernel local APIC, which every VM of ours has.

use crate::exits::{Outcome, Stop};

/// The guest halted and nothing will wake it.
#[derive(Debug)]
pub struct Hlt;

impl Hlt {
    /// Stops the VM: resuming would spin.
    pub fn handle(self) -> Outcome {
        Outcome::Stop(Stop::UnexpectedExit { reason: 5 })
    }
}
