//! What an operator is told of a running VM: events in the spans of the VM, of each process and of
//! each vCPU.
//!
//! A locked process has no log: it may open nothing, and text of its making is text that a guest
//! may have made. It sends messages of a fixed size over its control socket
//! ([`crate::vm::protocol`]), and here they become events, in our words. What a process can cause
//! to be told is bounded, whatever it sends, and what is left out is counted: so a process that a
//! guest has taken over can neither fill the log nor hide in it.

use super::{Asked, End, GuestMark, Happened};
use crate::exits::{ExitTotals, Note, VcpuStep};
use crate::memory::PageStateTotals;
use crate::vm::cgroup::RanOut;
use crate::vm::kind::ProcessKind;
use crate::vm::protocol::{Denied, FromVmm, Phase};
use casemate_device_net::{Refusal, Refused};
use casemate_diagnostics::{Span, event_in, span_in};
use casemate_foreign_text::{line, value};
use casemate_sandbox::{Exit, Report, State};

/// Messages of one process that become events. One that does what its program says sends fewer: the
/// steps of the launch, 32 marks and 100 notes of the guest, 65 counts of each rule that denies it
/// something, three messages for each of 64 vCPUs, its last word.
const TOLD: u32 = 512;

/// A VM's place in an operator's log.
#[derive(Debug, Clone)]
pub(in crate::vm) struct Place {
    /// The VM's span.
    pub vm: Span,
    /// How many vCPUs have a span in it.
    pub vcpus: u32,
}

impl Place {
    /// The place of a VM of this name.
    pub(in crate::vm) fn of(name: &str, vcpus: u32) -> Self {
        Self { vm: span_in!(Span::none(), "vm", named = value(name)), vcpus }
    }
}

/// What is told of the VM, and what was.
#[derive(Debug)]
pub(super) struct Telling {
    vm: Span,
    own: Span,
    processes: Vec<Process>,
}

/// One process.
#[derive(Debug)]
struct Process {
    span: Span,
    vcpus: Vec<Span>,
    left: u32,
    untold: u64,
}

impl Telling {
    /// Of a VM whose processes have just been started: kinds and process ids.
    pub(super) fn new(place: &Place, started: impl Iterator<Item = (ProcessKind, u32)>) -> Self {
        let vm = place.vm.clone();
        let process = |kind: ProcessKind, pid: u32| {
            let span = span_in!(vm, "process", kind = kind.name(), pid = pid);
            event_in!(span, INFO, Vm, "the process serves the VM");
            span
        };
        let own = process(ProcessKind::Supervisor, std::process::id());
        let processes = started.map(|(kind, pid)| {
            let span = process(kind, pid);
            // Before the supervisor's lock: afterwards its heap does not grow.
            let vcpus = if kind.runs_vcpus() { place.vcpus } else { 0 };
            let vcpus = (0..vcpus).map(|index| span_in!(span, "vcpu", index = index)).collect();
            Process { span, vcpus, left: TOLD, untold: 0 }
        });
        Self { own, processes: processes.collect(), vm }
    }

    /// Tells what a process has said; whether it can be true: a vCPU that does not exist says
    /// nothing.
    pub(super) fn heard(&mut self, index: usize, message: &FromVmm) -> bool {
        match self.processes.get_mut(index) {
            Some(process) => process.heard(message),
            None => true,
        }
    }

    /// Tells what a network device has not let its guest send.
    pub(super) fn refused(&mut self, index: usize, refused: Refused) {
        let Some(process) = self.processes.get_mut(index) else { return };
        if !process.may_be_told() {
            return;
        }
        let why = match refused.why {
            Refusal::Source => "it says that another card sent it",
            Refusal::Unread => "it cannot be read",
            Refusal::Destination => "network.egress",
            Refusal::Rate => "network.rate",
        };
        let times = refused.times;
        event_in!(
            process.span,
            WARN,
            Policy,
            "a network device refuses to send",
            why = why,
            times = times
        );
    }

    /// Tells what the supervisor has seen itself. What it knows from a message was told as that,
    /// and what came before the processes when it came.
    pub(super) fn happened(&self, what: &Happened) {
        match what {
            // Of the others it is told by their place: several can be of one kind.
            Happened::Confined(ProcessKind::Supervisor, report) => confined(&self.own, report),
            Happened::AllConfined => {
                event_in!(self.vm, DEBUG, Sandbox, "every process is confined");
            }
            Happened::Ended(end) => ended(&self.vm, end),
            Happened::DeviceLost { device, why, then } => {
                let device = value(device);
                event_in!(
                    self.vm,
                    WARN,
                    Vm,
                    "a device has lost a process",
                    device = device,
                    why = line(why),
                    then = line(then)
                );
            }
            Happened::DeviceTakenOver { device } => {
                event_in!(self.vm, INFO, Vm, "a standby serves", device = value(device));
            }
            Happened::Asked(how) => {
                let what = match how {
                    Asked::PowerOff => "power off",
                    Asked::End => "end at once",
                };
                event_in!(self.vm, INFO, Vm, "the VM is asked by its name", to = what);
            }
            Happened::Limited { device, .. } => {
                let device = value(device);
                event_in!(self.vm, INFO, Vm, "a device has other limits", device = device);
            }
            Happened::Reached(_)
            | Happened::LogRepaired(_)
            | Happened::GuestSays(_)
            | Happened::Confined(..)
            | Happened::Refused(..) => {}
        }
    }

    /// Tells that someone asked the VM to do something.
    pub(super) fn asked(&self, what: &'static str) {
        event_in!(self.vm, INFO, Vm, "the VM is asked", to = what);
    }

    /// Tells that a killed process has not ended yet, and was in its storage when it was seen last.
    pub(super) fn in_storage(&self, index: usize) {
        let Some(process) = self.processes.get(index) else { return };
        event_in!(process.span, WARN, Vm, "the process was killed, and its storage holds it");
    }

    /// Tells how a process has ended, and what it said beyond what is told.
    pub(super) fn gone(&self, index: usize, how: Option<Exit>) {
        let Some(process) = self.processes.get(index) else { return };
        if process.untold > 0 {
            let untold = process.untold;
            event_in!(process.span, WARN, Vm, "messages were left out", untold = untold);
        }
        event_in!(process.span, INFO, Vm, "the process has ended", how = how.map(value));
    }

    /// Tells that the process in this place is confined. By place: several can be of one kind.
    pub(super) fn confined(&self, index: usize, report: &Report) {
        let process = self.processes.get(index);
        confined(process.map_or(&self.own, |process| &process.span), report);
    }
}

impl Process {
    fn heard(&mut self, message: &FromVmm) -> bool {
        let vcpu = match message {
            FromVmm::Vcpu { index, .. } | FromVmm::Exits { vcpu: index, .. } => Some(*index),
            _ => None,
        };
        let vcpu = vcpu.map(|index| self.vcpus.get(usize::try_from(index).unwrap_or(usize::MAX)));
        let Some(span) = vcpu.unwrap_or(Some(&self.span)) else { return false };
        let span = span.clone();
        if self.may_be_told() {
            tell(&span, message);
        }
        true
    }

    /// Whether one more message of it becomes an event; otherwise it is counted.
    fn may_be_told(&mut self) -> bool {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return true;
        }
        if self.untold == 0 {
            event_in!(self.span, WARN, Vm, "it says too much: the rest is only counted");
        }
        self.untold = self.untold.saturating_add(1);
        false
    }
}

/// A message as an event.
fn tell(span: &Span, message: &FromVmm) {
    match message {
        FromVmm::Phase(phase) => tell_step(span, *phase),
        FromVmm::Launched { pages, micros } => {
            let (pages, micros) = (*pages, *micros);
            event_in!(span, INFO, Vm, "pages are launched", pages = pages, micros = micros);
        }
        FromVmm::Mark(mark) => {
            event_in!(span, DEBUG, Vm, "the guest marks a step", step = value(GuestMark(*mark)));
        }
        FromVmm::Note(Note::PageStateRefused { gpa, pages }) => {
            event_in!(
                span,
                INFO,
                Vm,
                "a page-state change was refused",
                gpa = value(format_args!("{gpa:#x}")),
                pages = value(pages)
            );
        }
        FromVmm::Note(Note::UnknownHypercall { number }) => {
            event_in!(span, INFO, Vm, "a hypercall was refused", number = value(number));
        }
        FromVmm::Denied(Denied { rule, times, pages }) => {
            let (rule, times, pages) = (rule.path(), *times, *pages);
            event_in!(
                span,
                WARN,
                Policy,
                "the policy denies the guest something",
                rule = rule,
                times = times,
                pages = pages
            );
        }
        FromVmm::Vcpu { step: VcpuStep::FirstExit, .. } => {
            event_in!(span, DEBUG, Vcpu, "the vCPU runs");
        }
        FromVmm::Vcpu { step: VcpuStep::Stopped, .. } => {
            event_in!(span, INFO, Vcpu, "the vCPU has ended the VM");
        }
        FromVmm::DeviceLost { device, second, fault } => {
            let (device, second) = (u32::from(*device), *second);
            event_in!(
                span,
                DEBUG,
                Vm,
                "it cannot go on with the process of a device",
                number = device,
                second = second,
                why = value(fault)
            );
        }
        FromVmm::DeviceTakenOver { device } => {
            let device = u32::from(*device);
            event_in!(span, DEBUG, Vm, "it goes on with a standby", number = device);
        }
        FromVmm::Exits { totals, .. } => tell_exits(span, totals),
        FromVmm::PageStates(PageStateTotals { to_private, to_shared, refused }) => {
            event_in!(
                span,
                DEBUG,
                Vm,
                "page states were changed",
                to_private = *to_private,
                to_shared = *to_shared,
                refused = *refused
            );
        }
        FromVmm::Stopped(stop) => {
            event_in!(span, DEBUG, Vm, "it says that the VM has stopped", why = line(stop));
        }
        FromVmm::Failed(why) => {
            event_in!(span, DEBUG, Vm, "it says that the launch has failed", why = line(why));
        }
    }
}

fn tell_step(span: &Span, phase: Phase) {
    match phase {
        Phase::Born => event_in!(span, DEBUG, Vm, "it is in its namespaces"),
        Phase::Memory => event_in!(span, DEBUG, Vm, "guest memory has its contents"),
        Phase::Vcpus => event_in!(span, DEBUG, Vm, "the vCPUs have their registers"),
        Phase::Locked => event_in!(span, DEBUG, Sandbox, "it says that it is locked"),
        Phase::FirstInstruction => event_in!(span, INFO, Vm, "the guest starts"),
    }
}

/// Counts of each reason that there was, by its name in [`crate::exits::EXITS`].
fn tell_exits(span: &Span, totals: &ExitTotals) {
    event_in!(
        span,
        DEBUG,
        Vcpu,
        "exits of the vCPU",
        all = totals.sum(),
        debug = totals.of("debug"),
        errno = totals.of("errno"),
        fail_entry = totals.of("fail_entry"),
        hlt = totals.of("hlt"),
        hypercall = totals.of("hypercall"),
        internal_error = totals.of("internal_error"),
        intr = totals.of("intr"),
        io_in = totals.of("io_in"),
        io_out = totals.of("io_out"),
        ioapic_eoi = totals.of("ioapic_eoi"),
        memory_fault = totals.of("memory_fault"),
        mmio_read = totals.of("mmio_read"),
        mmio_write = totals.of("mmio_write"),
        rdmsr = totals.of("rdmsr"),
        req_certs = totals.of("req_certs"),
        shutdown = totals.of("shutdown"),
        system_event = totals.of("system_event"),
        unknown = totals.of("unknown"),
        wrmsr = totals.of("wrmsr")
    );
}

/// How a process is confined: it is the kernel's and, of a child, its own word, taken down before
/// it met its guest.
fn confined(span: &Span, report: &Report) {
    let (mut applied, mut missing) = (0_u32, 0_u32);
    for (layer, state) in report.iter() {
        let layer = layer.name();
        match state {
            State::Applied(details) => {
                applied += 1;
                let details = Some(details).filter(|details| !details.is_empty()).map(line);
                event_in!(
                    span,
                    TRACE,
                    Sandbox,
                    "the layer is in force",
                    layer = layer,
                    details = details
                );
            }
            State::Missing(why) => {
                missing += 1;
                event_in!(
                    span,
                    WARN,
                    Sandbox,
                    "the layer is missing",
                    layer = layer,
                    why = line(why)
                );
            }
            State::Off => {}
        }
    }
    event_in!(span, INFO, Sandbox, "the process is confined", layers = applied, missing = missing);
}

/// The kernel has killed a process for memory.
fn out_of_memory(vm: &Span, kind: &'static str, ran_out: &RanOut) {
    let why = line(ran_out);
    event_in!(vm, ERROR, Vm, "the VM has ended", end = "out-of-memory", kind = kind, why = why);
}

/// How the VM has ended. That it says so of itself, or is asked to, is its usual end; everything
/// that the host has to mend is an error.
fn ended(vm: &Span, end: &End) {
    match end {
        End::Stopped(stop) if stop.is_success() => {
            event_in!(vm, INFO, Vm, "the VM has ended", end = "stopped", why = line(stop));
        }
        End::Stopped(stop) => {
            event_in!(vm, WARN, Vm, "the VM has ended", end = "stopped", why = line(stop));
        }
        End::PoweredOffAsAsked => {
            event_in!(vm, INFO, Vm, "the VM has ended", end = "powered-off-as-asked");
        }
        End::Killed => event_in!(vm, INFO, Vm, "the VM has ended", end = "killed"),
        End::TimedOut(after) => {
            let after = after.as_secs();
            event_in!(vm, WARN, Vm, "the VM has ended", end = "timed-out", seconds = after);
        }
        End::GraceOver(after) => {
            let after = after.as_secs();
            event_in!(vm, WARN, Vm, "the VM has ended", end = "grace-over", seconds = after);
        }
        End::LaunchFailed(why) => {
            event_in!(vm, ERROR, Vm, "the VM has ended", end = "launch-failed", why = line(why));
        }
        End::ProcessDied { kind, how } => {
            event_in!(
                vm,
                ERROR,
                Vm,
                "the VM has ended",
                end = "process-died",
                kind = kind.name(),
                how = how.map(value)
            );
        }
        End::OutOfMemory { kind, ran_out } => out_of_memory(vm, kind.name(), ran_out),
        End::DeviceFailed { kind, reason } => {
            event_in!(
                vm,
                ERROR,
                Vm,
                "the VM has ended",
                end = "device-failed",
                kind = kind.name(),
                why = line(reason)
            );
        }
        End::DeviceLost { device, why } => {
            event_in!(
                vm,
                ERROR,
                Vm,
                "the VM has ended",
                end = "device-lost",
                device = value(device),
                why = line(why)
            );
        }
        End::DeniedByPolicy { rule } => {
            let rule = rule.path();
            event_in!(vm, WARN, Vm, "the VM has ended", end = "denied-by-policy", rule = rule);
        }
        End::NotLogged { why, end } => {
            event_in!(vm, ERROR, Vm, "the VM has ended", end = "not-logged", why = line(why));
            if let Some(end) = end {
                ended(vm, end);
            }
        }
        End::ProcessLied { kind, what } => {
            event_in!(
                vm,
                ERROR,
                Vm,
                "the VM has ended",
                end = "process-lied",
                kind = kind.name(),
                why = line(what)
            );
        }
    }
}

#[cfg(test)]
#[path = "telling_tests.rs"]
mod tests;
