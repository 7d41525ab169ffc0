//! KVM_EXIT_INTERNAL_ERROR: KVM could not emulate an instruction or deliver an event.

use crate::exits::{Outcome, Stop};

/// KVM gave up on an instruction or an event.
#[derive(Debug)]
pub struct InternalError {
    /// 1 emulation, 2 simultaneous exceptions, 3 event delivery, 4 unexpected exit.
    pub suberror: u32,
}

impl InternalError {
    /// Stops the VM, with KVM's reason.
    pub fn handle(self) -> Outcome {
        Outcome::Stop(Stop::InternalError { suberror: self.suberror })
    }
}
