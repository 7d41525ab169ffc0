//! KVM_EXIT_HYPERCALL: a guest changes the state of its pages (MAP_GPA_RANGE).
//!
//! Three paths lead here from an SNP guest: the MSR protocol (one page), the page-state-change NAE
//! (batches) and a VMMCALL from CPL0, whose arguments are arbitrary: the kernel checks only
//! alignment and wrap (`arch/x86/kvm/x86.c`, `____kvm_emulate_hypercall`).

use crate::exits::{Machine, Note, Outcome, Stop};
use crate::memory::{GpaRange, Refusal, Visibility};
use casemate_layout::ports::mark;
use casemate_values::Guest;

/// `KVM_HC_MAP_GPA_RANGE`: change the state of pages.
const MAP_GPA_RANGE: u64 = 12;
/// `KVM_MAP_GPA_RANGE_ENCRYPTED`: this bit alone says "private".
const ATTR_PRIVATE: u64 = 1 << 4;
/// Page-size hints, bits 3:0; we convert at 4 KiB whatever they say.
const ATTR_PAGE_SIZE: u64 = 0xf;
/// The only failures KVM lets us return (`kvm_is_valid_map_gpa_range_ret`).
const EINVAL: u64 = libc::EINVAL as u64;
const EAGAIN: u64 = libc::EAGAIN as u64;

/// A guest makes a hypercall that user space serves.
#[derive(Debug)]
pub struct Hypercall<'a> {
    /// Which hypercall, as the guest says.
    pub number: Guest<u64>,
    /// GPA, page count, attributes.
    pub args: [Guest<u64>; 3],
    /// What the guest gets back. Linux 6.12 does not clear it, so every path writes it.
    pub reply: &'a mut [u8; 8],
}

impl Hypercall<'_> {
    /// Serves MAP_GPA_RANGE and refuses everything else, in the reply.
    pub fn handle(self, machine: &Machine) -> Outcome {
        let (result, outcome) = if self.number.is(MAP_GPA_RANGE) {
            self.map_gpa_range(machine)
        } else {
            machine.note(Note::UnknownHypercall { number: self.number.shown() });
            (EINVAL, Outcome::Resume)
        };
        *self.reply = result.to_le_bytes();
        outcome
    }

    fn map_gpa_range(&self, machine: &Machine) -> (u64, Outcome) {
        let [gpa, pages, attributes] = self.args;
        let to =
            if attributes.has(ATTR_PRIVATE) { Visibility::Private } else { Visibility::Shared };
        let range = GpaRange::from_guest(gpa, pages)
            .ok()
            .filter(|_| attributes.has_only(ATTR_PRIVATE | ATTR_PAGE_SIZE))
            .filter(|range| machine.ram.covers(*range));
        let changed = range
            .ok_or(Refusal::NotRam)
            .and_then(|range| machine.pages.convert(range, to).map(|changed| (range, changed)));
        if let (Some(range), Err(refusal)) = (range, changed) {
            machine.denied(refusal, range);
        }
        let refused = match changed {
            Ok((range, 0)) if to == Visibility::Private => {
                mark_by_page(machine, range);
                return (0, Outcome::Resume);
            }
            Ok(_) => return (0, Outcome::Resume),
            Err(Refusal::RateLimit(_)) => (EAGAIN, Outcome::Resume),
            Err(Refusal::Killed(_)) => (EINVAL, Outcome::Stop(Stop::PageStateLimit)),
            Err(_) => (EINVAL, Outcome::Resume),
        };
        machine.note(Note::PageStateRefused { gpa: gpa.shown(), pages: pages.shown() });
        refused
    }
}

/// Boot code without port I/O marks its steps by asking for pages that are private already.
fn mark_by_page(machine: &Machine, range: GpaRange) {
    if let (Some(step), 1) = (mark::step_of_page(range.start()), range.pages())
        && machine.guard.may_mark()
    {
        machine.events.mark(step);
    }
}
