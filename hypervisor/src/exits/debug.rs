//! KVM_EXIT_DEBUG: single steps and breakpoints, which we never enable.

use crate::exits::{Outcome, Stop};

/// A debug event.
#[derive(Debug)]
pub struct Debug;

impl Debug {
    /// Stops the VM.
    pub fn handle(self) -> Outcome {
        Outcome::Stop(Stop::UnexpectedExit { reason: 4 })
    }
}
