//! KVM_EXIT_X86_RDMSR: a read of an MSR that KVM leaves to us. We serve none.

use crate::exits::Outcome;
use casemate_values::Guest;

/// A guest reads an MSR.
#[derive(Debug)]
pub struct Rdmsr<'a> {
    /// The number of the MSR.
    pub index: Guest<u32>,
    /// The `msr` structure: `error` is its first byte, `data` its last eight.
    pub reply: &'a mut [u8],
}

impl Rdmsr<'_> {
    /// Gives the guest #GP, as a processor without that MSR does.
    pub fn handle(self) -> Outcome {
        if let Some(error) = self.reply.first_mut() {
            *error = 1;
        }
        Outcome::Resume
    }
}
