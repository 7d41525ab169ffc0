//! KVM_EXIT_SYSTEM_EVENT: with SNP, the guest ends itself through the GHCB.

use crate::exits::{Outcome, Stop};
use casemate_values::Guest;

/// `KVM_SYSTEM_EVENT_SEV_TERM`: a confidential guest asked for its end.
const SEV_TERM: u32 = 6;
/// GHCB MSR value of a termination request: code 0x100 in bits 11:0 (GHCB specification, 2.3.1).
const TERMINATE: u64 = 0x100;

/// KVM reports an event of the whole VM.
#[derive(Debug)]
pub struct SystemEvent {
    /// Which event, one of `KVM_SYSTEM_EVENT_*`.
    pub kind: u32,
    /// First data word; for SEV_TERM the value of the GHCB MSR.
    pub data: Option<Guest<u64>>,
}

impl SystemEvent {
    /// Stops the VM, with the guest's reason where it gave one.
    pub fn handle(self) -> Outcome {
        const SHUTDOWN: u32 = 1;
        const RESET: u32 = 2;
        Outcome::Stop(match (self.kind, self.data) {
            (SHUTDOWN, _) => Stop::PowerOff { status: None },
            (RESET, _) => Stop::Reset,
            // Bits 15:12 are the reason's set, 23:16 its code.
            (SEV_TERM, Some(msr)) if msr.is_under(0xfff, TERMINATE) => {
                Stop::Terminated { set: msr.byte(1) >> 4, code: msr.byte(2) }
            }
            // The NAE form carries only the GHCB's address; the reason is lost.
            (SEV_TERM, _) => Stop::Terminated { set: 0, code: 0 },
            _ => Stop::UnexpectedExit { reason: 24 },
        })
    }
}
