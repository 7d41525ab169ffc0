//! KVM_RUN failed. Most errnos are within a guest's reach (an unsupported GHCB event gives EINVAL,
//! a bad request page EIO), so none of them is a fault of the host or of this program.

use crate::exits::{Outcome, Stop};

/// KVM_RUN returned an error that is neither an interruption nor a memory fault.
#[derive(Debug)]
pub struct Errno {
    /// The errno of KVM_RUN.
    pub errno: i32,
}

impl Errno {
    /// Stops the VM: KVM cannot run this vCPU.
    pub fn handle(self) -> Outcome {
        Outcome::Stop(Stop::RunFailed { errno: self.errno })
    }
}
