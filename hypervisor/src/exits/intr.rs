//! KVM_EXIT_INTR, EINTR, EAGAIN: the vCPU left the guest for the host's sake, or waits for its start-up.

use crate::exits::Outcome;

/// The run was interrupted.
#[derive(Debug)]
pub struct Intr;

impl Intr {
    /// Goes on; the run loop looks at the stop flag before it enters the guest again.
    pub fn handle(self) -> Outcome {
        Outcome::Resume
    }
}
