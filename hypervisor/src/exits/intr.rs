//! KVM_EXIT_INTR, EINTR, EAGAIN: the vCPU left the guest for the host's sake, or waits for its
//! start-up.

use crate::exits::Outcome;

/// The run was interrupted.
#[derive(Debug)]
pub struct Intr;

impl Intr {
    /// Goes on. A vCPU of a VM that has stopped does not enter the guest again: the run loop waits
    /// where a vCPU waits for room in the console's queue, which is closed then.
    pub fn handle(self) -> Outcome {
        Outcome::Resume
    }
}
