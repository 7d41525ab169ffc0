//! An exit reason that we do not know or did not enable, or a `kvm_run` that contradicts itself.

use crate::exits::{Outcome, Stop};

/// An exit that this program does not know.
#[derive(Debug)]
pub struct Unknown {
    /// `exit_reason` as KVM gave it.
    pub reason: u32,
}

impl Unknown {
    /// Stops the VM: an exit nobody handles would repeat for ever.
    pub fn handle(self) -> Outcome {
        Outcome::Stop(Stop::UnexpectedExit { reason: self.reason })
    }
}
