//! KVM_EXIT_SHUTDOWN: triple fault; for SNP also a corrupted VMSA.

use crate::exits::{Outcome, Stop};

/// The vCPU cannot go on.
#[derive(Debug)]
pub struct Shutdown;

impl Shutdown {
    /// Stops the VM: a triple fault, or a guest that ended itself so.
    pub fn handle(self) -> Outcome {
        Outcome::Stop(Stop::Shutdown)
    }
}
