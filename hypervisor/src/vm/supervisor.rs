//! The supervisor: opens everything, spawns the vmm process, then only watches.
//!
//! It relays console bytes, keeps the timeline, passes on a wish to power off, ends the VM when its time is up, and
//! outlives it to tell how it ended. It does not trust the vmm process: a message that makes no sense ends the VM.

use super::console::HostConsole;
use super::name::Name;
use super::profile;
use super::protocol::{FromVmm, MESSAGE_SIZE, Phase, ToVmm};
use super::say;
use super::timeline::Timeline;
use crate::exits::{Note, Stop};
use casemate_sandbox::{
    Action, Born, Child, Exit as ProcessEnd, FdTable, Layers, SandboxError, freeze_heap,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How a VM ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Stopped(Stop),
    /// The launch failed, for this reason.
    LaunchFailed(String),
    /// It ran longer than it may.
    TimedOut(Duration),
    /// It switched itself off after someone had asked for that.
    PoweredOffAsAsked,
    /// Someone asked twice to end it.
    Killed,
    /// The vmm process ended without a word.
    VmmDied(Option<ProcessEnd>),
    /// The vmm process said something that makes no sense.
    VmmLied(String),
}

/// What the supervisor watches over.
#[derive(Debug)]
pub struct Watched {
    /// The vmm process.
    pub vmm: Child,
    /// Messages with it.
    pub control: OwnedFd,
    /// Console bytes with it.
    pub guest_console: OwnedFd,
    /// The host's console.
    pub console: HostConsole,
    /// The VM's name.
    pub name: Name,
    /// Readable when a signal asks to end the VM: a byte per signal.
    pub signals: UnixStream,
    /// Lines of `kind pid`, for who asks.
    pub processes: String,
    /// Longest run.
    pub timeout: Option<Duration>,
    /// The steps so far.
    pub timeline: Timeline,
    /// Names of the guest's boot marks.
    pub mark_name: fn(u8) -> Option<&'static str>,
}

/// Locks the supervisor itself: from here on it opens nothing and starts nothing.
fn lock(w: &Watched) -> Result<(), SandboxError> {
    let setup = Born::here(Layers::for_this_process("supervisor")).confine()?;
    freeze_heap(HEAP)?;
    let [input, output, terminal] = w.console.raw_fds();
    let stderr = rustix::stdio::stderr().as_raw_fd();
    let fds = FdTable::new()
        .with_raw(profile::INPUTS, input.into_iter().chain([w.signals.as_raw_fd()]))
        .with_raw(profile::OUTPUTS, output.into_iter().chain([stderr]))
        .with_raw(profile::TERMINAL, terminal)
        .with(profile::SOCKETS, &w.control)
        .with(profile::SOCKETS, &w.guest_console)
        .with(profile::NAME, &w.name)
        .with(profile::CHILD, &w.vmm);
    setup.lock(&profile::SUPERVISOR, &fds, Action::Kill)?;
    Ok(())
}

/// Heap for messages and the timeline.
const HEAP: usize = 256 * 1024;

/// Lines about one VM that the vmm process can cause us to print.
const NOTES: u32 = 100;

/// Progress of the watch.
struct Watch {
    w: Watched,
    asked: u32,
    notes_left: u32,
    locked: bool,
    deadline: Option<Instant>,
    ended: Option<End>,
}

/// Watches until the VM has ended; nothing of it is left then.
pub fn watch(watched: Watched) -> (End, Timeline) {
    let deadline = watched.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut watch =
        Watch { w: watched, asked: 0, notes_left: NOTES, locked: false, deadline, ended: None };
    let end = loop {
        if let Some(end) = watch.ended.take() {
            break end;
        }
        watch.turn();
    };
    let _ = watch.w.vmm.kill();
    let died = watch.w.vmm.wait().ok();
    // Who asked twice, or set a time, waits for no reader; nobody waits for one after a signal.
    let at_once = matches!(end, End::Killed | End::TimedOut(_));
    let give_up = (!at_once).then(|| watch.w.signals.as_fd());
    watch.w.console.drain(watch.w.guest_console.as_fd(), give_up);
    let end = match end {
        // What failed before its body ran, it told its parent's sandbox.
        End::VmmDied(_) if !watch.locked => match watch.w.vmm.confined() {
            Ok(_) | Err(SandboxError::Died { .. }) => End::VmmDied(died),
            Err(e) => End::LaunchFailed(e.to_string()),
        },
        End::VmmDied(_) => End::VmmDied(died),
        end => end,
    };
    watch.w.timeline.record("exit");
    (end, watch.w.timeline)
}

impl Watch {
    /// Waits for something and deals with it.
    fn turn(&mut self) {
        let Some(seen) = self.wait() else { return };
        if seen.signals {
            self.take_signals();
        }
        self.w.console.turn(self.w.guest_console.as_fd(), seen.console);
        if seen.asked {
            self.w.name.answer(&self.w.processes);
        }
        // Messages before death: the last one says how the VM ended.
        if seen.control {
            self.take_messages();
        }
        if seen.died && self.ended.is_none() {
            self.take_messages();
            self.ended.get_or_insert(End::VmmDied(None));
        }
    }

    fn wait(&mut self) -> Option<Seen> {
        let left = match self.deadline {
            None => None,
            Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                Some(left) => Some(left),
                None => {
                    let timeout = self.w.timeout.unwrap_or_default();
                    self.ended = Some(End::TimedOut(timeout));
                    return None;
                }
            },
        };
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let [guest, input, output] = self.w.console.poll_fds(self.w.guest_console.as_fd());
        let mut fds = [
            PollFd::new(&self.w.signals, PollFlags::IN),
            PollFd::new(&self.w.control, PollFlags::IN),
            PollFd::new(&self.w.vmm, PollFlags::IN),
            PollFd::new(&self.w.name, PollFlags::IN),
            guest,
            input,
            output,
        ];
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => {
                self.ended = Some(End::LaunchFailed(format!("cannot wait for the VM: {e}")));
                return None;
            }
        }
        let [signals, control, died, asked, console @ ..] = fds.map(|fd| fd.revents());
        let readable = |events: PollFlags| events.intersects(PollFlags::IN);
        Some(Seen {
            signals: readable(signals),
            control: readable(control),
            died: readable(died),
            asked: readable(asked),
            console,
        })
    }

    /// The first signal asks the guest to power off; a second one ends it.
    fn take_signals(&mut self) {
        let mut bytes = [0; 16];
        let count = rustix::io::read(&self.w.signals, &mut bytes).unwrap_or(0);
        for _ in 0..count {
            self.asked += 1;
            if self.asked >= 2 {
                self.ended.get_or_insert(End::Killed);
                return;
            }
            say("asked the guest to power off; once more ends it at once");
            let packet = ToVmm::PowerButton.encode();
            let _ = send(&self.w.control, &packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    fn take_messages(&mut self) {
        let mut packet = [0; MESSAGE_SIZE];
        while let Ok((len, _)) = recv(&self.w.control, &mut packet[..], RecvFlags::DONTWAIT) {
            if len == 0 || self.ended.is_some() {
                return;
            }
            match FromVmm::decode(packet.get(..len).unwrap_or(&[])) {
                Ok(message) => self.take(message),
                Err(e) => self.ended = Some(End::VmmLied(e.to_string())),
            }
        }
    }

    fn take(&mut self, message: FromVmm) {
        match message {
            FromVmm::Phase(phase) => {
                self.w.timeline.record(phase_name(phase));
                if phase == Phase::Locked && !self.locked {
                    self.lock_too();
                }
            }
            FromVmm::Launched { pages, micros } => {
                let each = micros.checked_div(pages).unwrap_or(0);
                let step = format!("launched {pages} pages, {each} µs each");
                self.w.timeline.record(step);
            }
            FromVmm::Mark(step) => match (self.w.mark_name)(step) {
                Some(name) => self.w.timeline.record(name),
                None => self.w.timeline.record(format!("guest mark {step}")),
            },
            FromVmm::Note(note) => self.note(&note_text(note)),
            FromVmm::ConsoleDropped(bytes) => {
                self.note(&format!("{bytes} console bytes were dropped: their reader is too slow"));
            }
            // The workload was told to end: its status says nothing about it.
            FromVmm::Stopped(Stop::PowerOff { .. }) if self.asked > 0 => {
                self.ended = Some(End::PoweredOffAsAsked);
            }
            FromVmm::Stopped(stop) => self.ended = Some(End::Stopped(stop)),
            FromVmm::Failed(reason) => self.ended = Some(End::LaunchFailed(reason)),
        }
    }

    /// The vmm process is locked, so nothing has to be opened any more.
    fn lock_too(&mut self) {
        self.locked = true;
        if let Err(e) = self.w.vmm.confined().map(|_| ()).and_then(|()| lock(&self.w)) {
            self.ended = Some(End::LaunchFailed(e.to_string()));
        }
    }

    fn note(&mut self, text: &str) {
        if let Some(left) = self.notes_left.checked_sub(1) {
            self.notes_left = left;
            say(text);
        }
    }
}

struct Seen {
    signals: bool,
    control: bool,
    died: bool,
    asked: bool,
    console: [PollFlags; 3],
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Born => "vmm process",
        Phase::Memory => "memory",
        Phase::Vcpus => "vCPUs",
        Phase::Locked => "locked",
        Phase::FirstInstruction => "first guest instruction",
    }
}

fn note_text(note: Note) -> String {
    match note {
        Note::PageStateRefused { gpa, pages } => {
            format!("refused the guest's page-state change of {pages} pages at {gpa:#x}")
        }
        Note::UnknownHypercall { number } => format!("refused the guest's hypercall {number}"),
    }
}
