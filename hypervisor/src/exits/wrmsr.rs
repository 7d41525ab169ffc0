//! KVM_EXIT_X86_WRMSR: a write of an MSR that KVM leaves to us. We serve none.

use crate::exits::Outcome;
use casemate_values::Guest;

/// A guest writes an MSR.
#[derive(Debug)]
pub struct Wrmsr<'a> {
    /// The number of the MSR.
    pub index: Guest<u32>,
    /// The value that the guest writes.
    pub data: Guest<u64>,
    /// The `error` byte, by which the guest gets #GP.
    pub reply: &'a mut [u8],
}

impl Wrmsr<'_> {
    /// Gives the guest #GP, as a processor without that MSR does.
    pub fn handle(self) -> Outcome {
        if let Some(error) = self.reply.first_mut() {
            *error = 1;
        }
        Outcome::Resume
    }
}
