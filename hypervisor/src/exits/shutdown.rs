//! KVM_EXIT_SHUTDOWN: triple fault; for SNP also a corrupted VMSA.

use crate::exits::{Outcome, Stop};

/// The vCPU cannot go on.
#[derive(Debug)]
pub struct Shutdown;

impl Shutdown {
    /// Stops the VM.
    pub fn handle(self) -> Outcome {
        Outcome::Stop(Stop::Shutdown)
    }
}
