//! KVM_EXIT_DEBUG: single steps and breakpoints, which we never enable.

use crate::exits::{Outcome, Stop};

/// KVM stopped for a debugger, and there is none.
#[derive(Debug)]
pub struct Debug;

impl Debug {
    /// Stops the VM: nobody asked KVM for debugging.
    pub fn handle(self) -> Outcome {
        Outcome::Stop(Stop::UnexpectedExit { reason: 4 })
    }
}
