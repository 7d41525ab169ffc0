//! KVM_EXIT_MEMORY_FAULT: an access whose kind (private, shared) differs from the page's state.

use crate::exits::{Machine, Outcome, Stop};
use crate::memory::{GpaRange, PAGE_SIZE, Refusal, Visibility};
use casemate_values::Guest;

/// KVM found a page in another state than the access needs.
#[derive(Debug)]
pub struct MemoryFault {
    /// Address of the page, as KVM gives it.
    pub gpa: Guest<u64>,
    /// Bytes; always 4096 on x86.
    pub size: Guest<u64>,
    /// Whether the access was to private memory.
    pub private: bool,
}

impl MemoryFault {
    /// Converts the page when it is RAM; stops the guest otherwise. A fault outside RAM can never
    /// be served: converting it would loop for ever. That a vCPU faults on RAM for ever,
    /// [`crate::exits::Progress`] sees.
    pub fn handle(self, machine: &Machine) -> Outcome {
        let stop =
            Outcome::Stop(Stop::MemoryFault { gpa: self.gpa.shown(), private: self.private });
        let Ok(size) = self.size.at_most(1 << 30, "the largest page") else { return stop };
        let pages = Guest::new(size.div_ceil(PAGE_SIZE));
        let Ok(range) = GpaRange::from_guest(self.gpa, pages) else { return stop };
        if !machine.ram.covers(range) {
            return stop;
        }
        let to = if self.private { Visibility::Private } else { Visibility::Shared };
        match machine.pages.convert(range, to) {
            Ok(_) => Outcome::Resume,
            Err(refusal) => {
                machine.denied(refusal, range);
                match refusal {
                    Refusal::Killed(_) => Outcome::Stop(Stop::PageStateLimit),
                    _ => stop,
                }
            }
        }
    }
}
