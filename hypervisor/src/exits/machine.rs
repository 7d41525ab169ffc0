//! What handlers see of a VM: address spaces, memory map, page states, a guard and an event sink.
//! Never KVM, so that every handler runs, and is fuzzed, without it.

use crate::bus::{Bus, Effect};
use crate::exits::outcome::{DeviceFault, Outcome, Stop};
use crate::memory::{GpaRange, PageStates, RamMap, Refusal};
use casemate_attestation::evidence::GuestCertTable;
use casemate_policy::PageRule;
use casemate_values::Shown;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a VM tells of what happens in it. Called from vCPU threads: must not block.
pub trait Events: Send + Sync {
    /// The guest marked a step of its boot.
    fn mark(&self, step: u8);
    /// A line worth logging that a guest can cause; the caller has bounded how many.
    fn note(&self, note: Note);
    /// A rule of the policy denied a page-state change of so many pages. Called for each one,
    /// however many a guest causes: who is told bounds what comes of it.
    fn denied(&self, rule: PageRule, pages: u64);
    /// A vCPU has come to a step of its life, each once.
    fn vcpu(&self, _index: u32, _step: VcpuStep) {}
    /// The process of a device cannot be gone on with. Whether there is somebody who sees to it
    /// that it is dead and says what becomes of the device; where not, the VM stops. `second` is
    /// the process that had taken over from the first.
    fn device_lost(&self, _device: u8, _second: bool, _fault: DeviceFault) -> bool {
        false
    }
    /// Another process serves a device from now on.
    fn device_taken_over(&self, _device: u8) {}
}

/// What becomes of a vCPU that an operator wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VcpuStep {
    /// It has left the guest for the first time, so it runs: another than the first one enters the
    /// guest long before the guest starts it.
    FirstExit,
    /// It has ended the VM.
    Stopped,
}

/// What a guest can cause to be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// A page-state change was refused.
    PageStateRefused {
        /// The address that the guest named.
        gpa: Shown,
        /// The number of pages named.
        pages: Shown,
    },
    /// A hypercall nobody serves.
    UnknownHypercall {
        /// The number that the guest gave.
        number: Shown,
    },
}

/// Bounds what a guest can make the host do or write over the VM's life.
///
/// Limits: counts only, no clock (a clock would be one more system call for the locked process).
#[derive(Debug)]
pub struct Guard {
    notes_left: AtomicU32,
    marks_left: AtomicU32,
}

/// Notes that one VM may log over its life.
const NOTES_PER_VM: u32 = 100;
/// Boot marks that one VM may make.
const MARKS_PER_VM: u32 = 32;

impl Default for Guard {
    fn default() -> Self {
        Self { notes_left: AtomicU32::new(NOTES_PER_VM), marks_left: AtomicU32::new(MARKS_PER_VM) }
    }
}

impl Guard {
    /// Whether one more note may be logged.
    pub fn may_note(&self) -> bool {
        take_one(&self.notes_left)
    }

    /// Whether one more boot mark may be told.
    pub fn may_mark(&self) -> bool {
        take_one(&self.marks_left)
    }
}

fn take_one(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// A VM as its exit handlers see it.
pub struct Machine {
    /// Who answers which port.
    pub pio: Bus,
    /// Who answers which address that is no RAM.
    pub mmio: Bus,
    /// Where RAM is, which never changes.
    pub ram: RamMap,
    /// Which pages are private, and how to change that.
    pub pages: Box<dyn PageStates>,
    /// Certificates for extended guest requests.
    pub certs: Option<GuestCertTable>,
    /// What a guest may do in a row without making progress.
    pub guard: Guard,
    /// Who is told what happens.
    pub events: Box<dyn Events>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("pio", &self.pio).field("mmio", &self.mmio).finish()
    }
}

impl Machine {
    /// Carries out what a device write asked for.
    pub(crate) fn apply(&self, effect: Effect) -> Outcome {
        match effect {
            Effect::None => Outcome::Resume,
            Effect::Mark(step) => {
                if self.guard.may_mark() {
                    self.events.mark(step);
                }
                Outcome::Resume
            }
            Effect::PowerOff { status } => Outcome::Stop(Stop::PowerOff { status }),
            Effect::Reset => Outcome::Stop(Stop::Reset),
            Effect::BootRefused(code) => Outcome::Stop(Stop::BootRefused(code)),
            Effect::Refused(code) => Outcome::Stop(Stop::Refused(code)),
        }
    }

    /// Tells of a refusal if it is the policy's.
    pub(crate) fn denied(&self, refusal: Refusal, range: GpaRange) {
        if let Some(rule) = refusal.denied_by() {
            self.events.denied(rule, range.pages());
        }
    }

    /// Logs `note` if the VM has notes left.
    pub(crate) fn note(&self, note: Note) {
        if self.guard.may_note() {
            self.events.note(note);
        }
    }
}
