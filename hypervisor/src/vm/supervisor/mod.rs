//! The supervisor: holds the processes of a running VM and tells what becomes of them.
//!
//! [`RunningVm`] is a library's handle. It prints nothing, owns no signal, and ends no process but
//! its own children; whoever holds it decides what to show, when to press the power button, and
//! what the end means. It does not trust its children: a message that makes no sense ends the VM.
//!
//! It owns the time: the processes of a VM have no clock, or no use for one. The longest run and
//! the grace after the power button are kept here.

mod children;
mod console;
mod devices;
mod end;
mod event;
mod heartbeat;
mod lock;
mod loss;
mod managing;
mod polling;
mod post;
mod refused;
mod telling;

pub use children::Member;
pub use console::{GuestConsole, Moved, Source};
pub use end::End;
pub use event::{Asked, Event, GuestMark, Happened, Step, Then};
pub use heartbeat::Hang;
pub use lock::Outside;
pub use loss::Loss;
pub use polling::Ready;
pub use post::Post;
pub(in crate::vm) use telling::Place;

use super::kind::ProcessKind;
use super::manage::{Clients, Lines, VmFacts};
use super::name::{Name, Told};
use super::protocol::{FromVmm, Phase, ToVmm};
use super::recorder::message::FromRecorder;
use crate::exits::{Note, Stop};
use casemate_device_process::FromDevice;
use casemate_sandbox::{Layers, Report, SandboxError};
use children::{Children, Said, Stirred};
use managing::Known;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use telling::Telling;

/// Refusals that one VM can cause to be told.
const NOTES: u32 = 100;
/// Guest marks that are told at most: a guest can mark as often as it likes.
const MARKS: u32 = 32;
/// Messages of one child that are taken in one round.
const MESSAGES: usize = 16;

/// How long a VM may take for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Longest run.
    pub run: Option<Duration>,
    /// From the power button to the end.
    pub grace: Duration,
}

/// A VM that was started. Dropping it ends it.
#[derive(Debug)]
pub struct RunningVm {
    children: Children,
    console: GuestConsole,
    name: Name,
    /// The supervisor and its children, for who asks.
    processes: Vec<Told>,
    telling: Telling,
    /// Who asks about the VM, and what they are told.
    askers: Clients,
    known: Known,
    /// The supervisor's own layers.
    layers: Layers,
    /// Whether they, and its filter, are in force.
    locked: bool,
    times: Times,
    run_over: Option<Instant>,
    grace_over: Option<Instant>,
    events: VecDeque<Event>,
    /// When device processes are asked next; None before they are locked, and without any.
    next_beat: Option<Instant>,
    /// Whether every process is confined.
    is_confined: bool,
    /// Devices whose standby serves, as the vmm process says: a bit each.
    taken_over: u32,
    notes_left: u32,
    marks_left: u32,
    /// Steps of the launch that were told, a bit for each.
    steps: u32,
    ended: bool,
}

impl RunningVm {
    pub(super) fn new(
        members: Vec<Member>,
        console: GuestConsole,
        name: Name,
        times: Times,
        events: VecDeque<Event>,
        layers: Layers,
        (place, facts): (&Place, VmFacts),
    ) -> Self {
        let started = members.iter().map(|member| (member.kind(), member.pid()));
        let telling = Telling::new(place, started);
        let told = |kind, pid| Told { kind, pid, without: Vec::new(), gone: false };
        let own = told(ProcessKind::Supervisor, std::process::id());
        let children = members.iter().map(|member| told(member.kind(), member.pid()));
        let processes = std::iter::once(own).chain(children).collect();
        let started = events.front().map_or_else(Instant::now, |first| first.at);
        let mut known = Known::new(facts, started);
        events.iter().for_each(|event| known.happened(event.at, &event.what));
        let mut vm = Self {
            children: Children::new(members),
            console,
            name,
            processes,
            telling,
            askers: Clients::new(),
            known,
            layers,
            locked: false,
            times,
            run_over: times.run.and_then(|run| Instant::now().checked_add(run)),
            grace_over: None,
            events,
            next_beat: None,
            is_confined: false,
            taken_over: 0,
            notes_left: NOTES,
            marks_left: MARKS,
            steps: 0,
            ended: false,
        };
        vm.take_early_reports();
        vm
    }

    /// Recorders are confined before the policy is asked.
    fn take_early_reports(&mut self) {
        let kinds: Vec<ProcessKind> = self.children.iter().map(Member::kind).collect();
        for (index, kind) in kinds.into_iter().enumerate() {
            if kind == ProcessKind::Recorder {
                self.take_report(index, kind);
            }
        }
    }

    /// The guest's console. Reading it is up to the holder, also after the end until it is over.
    #[must_use]
    pub const fn console(&self) -> &GuestConsole {
        &self.console
    }

    /// The next thing that happened.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether the VM has ended: its last event says how.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Presses the power button, and begins the grace after which a guest that has not switched
    /// itself off is ended. Pressed again it neither lengthens nor shortens the grace.
    pub fn press_power_button(&mut self) {
        self.telling.asked("power off");
        self.children.tell_vmm(ToVmm::PowerButton);
        if self.grace_over.is_none() {
            self.grace_over = Instant::now().checked_add(self.times.grace);
        }
    }

    /// Ends the VM at once.
    pub fn kill(&mut self) {
        self.telling.asked("end at once");
        self.end(End::Killed);
    }

    /// Ends the VM because its holder cannot go on.
    pub fn fail(&mut self, reason: impl Into<String>) {
        self.end(End::LaunchFailed(reason.into()));
    }

    /// Locks the calling process with the supervisor's profile. It can then use only this VM and
    /// what `outside` names. Call it at [`Happened::AllConfined`].
    ///
    /// # Errors
    /// [`SandboxError`]; the process is then confined in part and must end.
    pub fn lock_this_process(&mut self, outside: &Outside<'_>) -> Result<(), SandboxError> {
        let report = lock::lock(self, outside)?;
        self.lacks(0, &report);
        self.locked = true;
        self.tell(Happened::Confined(ProcessKind::Supervisor, report));
        Ok(())
    }

    /// Takes what one child said. Messages before death: the last one says how the VM ended.
    fn serve(&mut self, index: usize, stirred: Stirred) {
        if stirred.control || stirred.died {
            for _ in 0..MESSAGES {
                let Some(member) = self.children.get_mut(index) else { return };
                let (kind, is_device) = (member.kind(), member.post.is_some());
                if member.gone {
                    return;
                }
                match member.next_message() {
                    _ if self.ended => return,
                    None if stirred.died => return self.died(index, kind),
                    None => return,
                    Some(Ok(Said::Vmm(message))) => self.take(index, kind, message),
                    Some(Ok(Said::Device(message))) => self.take_from_device(index, kind, message),
                    // By rule: a VM that is to be logged does not run unlogged.
                    Some(Ok(Said::Recorder(FromRecorder::Failed { text, .. }))) => {
                        self.end(End::NotLogged { why: text, end: None });
                    }
                    Some(Ok(Said::Recorder(_))) => {
                        let what = "it answered what nobody had asked".to_owned();
                        self.end(End::ProcessLied { kind, what });
                    }
                    Some(Ok(Said::Closed)) if is_device && stirred.died => {
                        return self.died(index, kind);
                    }
                    Some(Ok(Said::Closed)) if is_device => return self.closed_by_device(index),
                    // It cannot say how the VM ends any more, so it is not left running.
                    Some(Ok(Said::Closed)) if member.is_ending() => return self.died(index, kind),
                    Some(Ok(Said::Closed)) => {
                        let what = "it closed its control socket".to_owned();
                        return self.end(End::ProcessLied { kind, what });
                    }
                    Some(Err(e)) if is_device => {
                        return self.condemn(index, Loss::Lied(e.to_string()));
                    }
                    Some(Err(e)) => {
                        self.end(End::ProcessLied { kind, what: e.to_string() });
                    }
                }
            }
        }
    }

    /// A process is gone by itself.
    fn died(&mut self, index: usize, kind: ProcessKind) {
        let member = self.children.get_mut(index);
        if member.is_some_and(|member| member.post.is_some()) {
            return self.device_died(index);
        }
        self.hear_vmm(index);
        self.end_by(End::ProcessDied { kind, how: None }, Some(index));
    }

    /// Takes what the vmm process has said before something is made of a device's end: a device
    /// ends because the vmm process does, which has then said why, and the kernel may show the
    /// second before the first.
    fn hear_vmm(&mut self, device: usize) {
        for index in self.children.running_vcpus() {
            if index != device {
                self.serve(index, Stirred { control: true, died: false });
            }
        }
    }

    /// What a process says that serves devices and is not asked whether it hangs.
    fn take_from_unwatched(&mut self, index: usize, kind: ProcessKind, message: FromDevice) {
        match message {
            FromDevice::Locked => self.take_report(index, kind),
            FromDevice::Ended(reason) | FromDevice::Failed(reason) => {
                self.hear_vmm(index);
                let first = (kind == ProcessKind::Connector && !self.ended)
                    .then(|| self.children.vsock_that_ended())
                    .flatten();
                if let Some(device) = first {
                    return self.serve(device, Stirred { control: true, died: true });
                }
                self.end(End::DeviceFailed { kind, reason });
            }
            FromDevice::Beat(_)
            | FromDevice::LimitsMet(_)
            | FromDevice::Refused(_)
            | FromDevice::OverRate => {
                let what = "it answered what nobody had asked".to_owned();
                self.end(End::ProcessLied { kind, what });
            }
        }
    }

    fn take(&mut self, index: usize, kind: ProcessKind, message: FromVmm) {
        if !self.telling.heard(index, &message) {
            let what = "it told of a vCPU that there is not".to_owned();
            return self.end(End::ProcessLied { kind, what });
        }
        if let Some(step) = once(&message) {
            if self.steps & step != 0 {
                let what = "it told of the same step twice".to_owned();
                return self.end(End::ProcessLied { kind, what });
            }
            self.steps |= step;
        }
        match message {
            FromVmm::Phase(phase) => {
                self.tell(Happened::Reached(step(kind, phase)));
                self.known.guest_runs |= phase == Phase::FirstInstruction;
                if phase == Phase::Locked {
                    self.take_report(index, kind);
                }
            }
            FromVmm::Launched { pages, micros } => {
                self.tell(Happened::Reached(Step::Launched { pages, micros }));
            }
            FromVmm::Mark(step) => {
                if let Some(left) = self.marks_left.checked_sub(1) {
                    self.marks_left = left;
                    self.tell(Happened::GuestSays(GuestMark(step)));
                }
            }
            FromVmm::Note(note) => self.note(kind, note),
            FromVmm::Denied(denied) => self.children.log(denied),
            FromVmm::DeviceLost { device, second, fault } => {
                self.lost_to_the_vmm(kind, device, second, fault);
            }
            FromVmm::DeviceTakenOver { device } => self.taken_over(kind, device),
            // For an operator's log only.
            FromVmm::Vcpu { .. } | FromVmm::Exits { .. } | FromVmm::PageStates(_) => {}
            // The workload was told to end: its status says nothing about it.
            FromVmm::Stopped(Stop::PowerOff { .. }) if self.grace_over.is_some() => {
                self.end(End::PoweredOffAsAsked);
            }
            FromVmm::Stopped(stop) => self.end(End::Stopped(stop)),
            FromVmm::Failed(reason) => self.end(End::LaunchFailed(reason)),
        }
    }

    /// The process says that it is locked: its report, which it sent before, proves the layers.
    fn take_report(&mut self, index: usize, kind: ProcessKind) {
        let Some(member) = self.children.get_mut(index) else { return };
        match member.confined() {
            Ok(None) => {}
            Ok(Some(report)) => {
                // The first is this process.
                self.lacks(index + 1, &report);
                self.telling.confined(index, &report);
                self.tell(Happened::Confined(kind, report));
                if self.children.all_confined() {
                    self.is_confined = true;
                    let devices = self.children.iter().any(|member| member.post.is_some());
                    self.next_beat = devices.then(Instant::now);
                    self.tell(Happened::AllConfined);
                }
            }
            Err(e) => self.end(End::LaunchFailed(e.to_string())),
        }
    }

    /// Takes down which optional layers a process runs without, for who asks.
    fn lacks(&mut self, place: usize, report: &Report) {
        if let Some(told) = self.processes.get_mut(place) {
            told.without = report.missing().map(|(layer, _)| layer).collect();
        }
    }

    fn note(&mut self, kind: ProcessKind, note: Note) {
        if let Some(left) = self.notes_left.checked_sub(1) {
            self.notes_left = left;
            self.tell(Happened::Refused(kind, note));
        }
    }

    fn check_times(&mut self) {
        let now = Instant::now();
        let over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if over(self.run_over) {
            self.end(End::TimedOut(self.times.run.unwrap_or_default()));
        } else if over(self.grace_over) {
            self.end(End::GraceOver(self.times.grace));
        }
    }

    fn tell(&mut self, what: Happened) {
        self.telling.happened(&what);
        let at = Instant::now();
        self.known.happened(at, &what);
        self.events.push_back(Event { at, what });
    }

    /// The first end is the one that counts. Afterwards no process is left.
    fn end(&mut self, end: End) {
        self.end_by(end, None);
    }

    /// The same where it is the process in place `who` that died.
    fn end_by(&mut self, end: End, who: Option<usize>) {
        if !self.ended {
            self.ended = true;
            let (end, exits) = self.children.end(end, who);
            for (index, exit) in exits.into_iter().enumerate() {
                // Of one that was gone before, it was told then.
                if self.children.iter().nth(index).is_some_and(|member| !member.gone) {
                    self.telling.gone(index, exit);
                }
            }
            self.tell(Happened::Ended(end));
            // Its holder may not wait for anything any more.
            self.tell_askers();
        }
    }
}

/// The bit of a message that makes sense once: without this a process could fill the supervisor's
/// memory with steps.
const fn once(message: &FromVmm) -> Option<u32> {
    match message {
        FromVmm::Phase(phase) => Some(1 << *phase as u32),
        FromVmm::Launched { .. } => Some(1),
        _ => None,
    }
}

fn step(kind: ProcessKind, phase: Phase) -> Step {
    match phase {
        Phase::Born => Step::Born(kind),
        Phase::Memory => Step::Memory,
        Phase::Vcpus => Step::Vcpus,
        Phase::Locked => Step::Locked,
        Phase::FirstInstruction => Step::FirstInstruction,
    }
}

#[cfg(test)]
mod tests;
