//! The processes of a VM, each of a named kind: what they say, how they end.

use super::heartbeat::Heartbeat;
use super::post::{Condemned, Post};
use super::refused::Counts;
use super::{End, Loss};
use crate::config::Leaf;
use crate::vm::cgroup::{Limited, Made};
use crate::vm::kind::ProcessKind;
use crate::vm::protocol::{BadMessage, Denied, FromVmm, ToVmm};
use crate::vm::recorder::WRITTEN;
use crate::vm::recorder::message::{FromRecorder, LONGEST_ANSWER, ToRecorder};
use casemate_device_process::{FromDevice, LimitsMet, PathSocket};
use casemate_sandbox::{Child, Exit, Report, SandboxError};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a process that says it is confined may take to prove it by its report, which it has
/// sent before: the wait is for a process that lies.
const REPORT: Duration = Duration::from_secs(5);

/// One process.
#[derive(Debug)]
pub struct Member {
    kind: ProcessKind,
    process: Child,
    control: OwnedFd,
    confined: bool,
    /// Of a device process: what it is for.
    pub(super) post: Option<Post>,
    pub(super) heartbeat: Heartbeat,
    /// Of a network device: what it has not let its guest send.
    pub(super) refused: Counts,
    /// Of those, what was passed on to the decision log.
    pub(super) logged: Counts,
    /// That it is to end.
    pub(super) condemned: Option<Condemned>,
    /// That it has closed its control socket, which has nothing to tell any more.
    pub(super) closed: bool,
    /// That it has ended, and the VM goes on.
    pub(super) gone: bool,
    /// Of a janitor: what it is to remove, until it says that it can.
    sockets: Vec<PathSocket>,
    /// The same of a janitor of control groups.
    groups: Option<Made>,
    /// What their limits are.
    limited: Option<Limited>,
    /// The place of its own control group among the VM's.
    place: Option<u8>,
}

/// What a child said, in the words of its kind.
#[derive(Debug)]
pub(super) enum Said {
    Vmm(FromVmm),
    Device(FromDevice),
    Recorder(FromRecorder),
    /// Nothing any more: its end of the socket is closed.
    Closed,
}

/// How long a process that closed its control socket may take to end: the kernel closes descriptors
/// before it tells of the end of a process.
const END: Duration = Duration::from_secs(1);

/// What was seen of one child in a round of polling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stirred {
    pub(super) control: bool,
    pub(super) died: bool,
}

/// Descriptors that are polled per child.
pub(super) const POLLED: usize = 2;

impl Member {
    /// A child of a kind; `control` carries messages with it.
    #[must_use]
    pub const fn new(kind: ProcessKind, process: Child, control: OwnedFd) -> Self {
        Self {
            kind,
            process,
            control,
            confined: false,
            post: None,
            heartbeat: Heartbeat::NEW,
            refused: Counts::NONE,
            logged: Counts::NONE,
            condemned: None,
            closed: false,
            gone: false,
            sockets: Vec::new(),
            groups: None,
            limited: None,
            place: None,
        }
    }

    /// The same of a device.
    #[must_use]
    pub fn of_device(kind: ProcessKind, process: Child, control: OwnedFd, post: Post) -> Self {
        let mut member = Self::new(kind, process, control);
        member.post = Some(post);
        member
    }

    /// The same of a janitor. Until it is confined this process removes `sockets` itself: a janitor
    /// that fails before would remove nothing.
    #[must_use]
    pub fn of_janitor(process: Child, control: OwnedFd, sockets: Vec<PathSocket>) -> Self {
        let mut member = Self::new(ProcessKind::Janitor, process, control);
        member.sockets = sockets;
        member
    }

    /// The same of a janitor of control groups.
    pub(in crate::vm) fn of_group_janitor(
        process: Child,
        control: OwnedFd,
        groups: Made,
        limited: Limited,
    ) -> Self {
        let mut member = Self::new(ProcessKind::GroupJanitor, process, control);
        (member.groups, member.limited) = (Some(groups), Some(limited));
        member
    }

    /// The control group in which it began, where the VM has any; None of those that have to
    /// outlive the others.
    pub(in crate::vm) fn leaf(&self) -> Option<Leaf<'_>> {
        let name = self.post.as_ref().map_or("", |post| post.name.as_str());
        match self.kind {
            ProcessKind::Vmm | ProcessKind::VmmConfidential => Some(Leaf::Vmm),
            ProcessKind::Block => Some(Leaf::Block(name)),
            ProcessKind::BlockStandby => Some(Leaf::Standby(name)),
            ProcessKind::Console => Some(Leaf::Console),
            ProcessKind::Rng => Some(Leaf::Rng),
            ProcessKind::Vsock => Some(Leaf::Vsock),
            ProcessKind::Net => Some(Leaf::Net(name)),
            ProcessKind::Connector => Some(Leaf::Connector),
            ProcessKind::Recorder => Some(Leaf::Recorder),
            ProcessKind::Supervisor | ProcessKind::Janitor | ProcessKind::GroupJanitor => None,
        }
    }

    /// Its control group is the one in this place.
    pub(in crate::vm) const fn in_group(&mut self, place: Option<u8>) {
        self.place = place;
    }

    /// It is no standby any more.
    pub(super) const fn serves(&mut self) {
        self.kind = ProcessKind::Block;
    }

    /// How it ended, where it has.
    pub(super) fn exit(&mut self) -> Option<Exit> {
        self.process.wait_at_most(0).ok().flatten()
    }

    pub(super) const fn kind(&self) -> ProcessKind {
        self.kind
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) const fn control(&self) -> &OwnedFd {
        &self.control
    }

    pub(super) const fn process(&self) -> &Child {
        &self.process
    }

    pub(super) fn poll(&self) -> [(BorrowedFd<'_>, PollFlags); POLLED] {
        // A socket whose other end is closed would be readable for ever.
        let control = if self.closed { self.process.as_fd() } else { self.control.as_fd() };
        [(control, PollFlags::IN), (self.process.as_fd(), PollFlags::IN)]
    }

    /// The next message that waits; None when there is none. A child that sends without end is
    /// served one message at a time, so it cannot keep its supervisor from anything else.
    pub(super) fn next_message(&self) -> Option<Result<Said, BadMessage>> {
        // Longer than any message of any kind.
        let mut packet = [0; LONGEST_ANSWER + 1];
        let mut take = || recv(&self.control, &mut packet[..], RecvFlags::DONTWAIT);
        // A child that ended before it read all that it was sent: the kernel tells that once, in
        // place of the next packet (unix(7), `unix_release_sock`). What the child said comes after.
        let (len, _) = match take() {
            Err(Errno::CONNRESET) => take(),
            taken => taken,
        }
        .ok()?;
        let bytes = packet.get(..len)?;
        Some(match self.kind {
            _ if bytes.is_empty() => Ok(Said::Closed),
            ProcessKind::Vmm | ProcessKind::VmmConfidential => {
                FromVmm::decode(bytes).map(Said::Vmm)
            }
            ProcessKind::Block
            | ProcessKind::BlockStandby
            | ProcessKind::Console
            | ProcessKind::Rng
            | ProcessKind::Vsock
            | ProcessKind::Net
            | ProcessKind::Connector
            | ProcessKind::Janitor
            | ProcessKind::GroupJanitor => {
                FromDevice::decode(bytes).map(Said::Device).ok_or_else(|| BadMessage::of(bytes))
            }
            ProcessKind::Recorder => FromRecorder::decode(bytes).map(Said::Recorder),
            // Nobody has a supervisor as a child.
            ProcessKind::Supervisor => Err(BadMessage::of(bytes)),
        })
    }

    /// Of a janitor of control groups that has ended: which limits were met.
    fn limits_met(&self) -> Option<LimitsMet> {
        while let Some(Ok(said)) = self.next_message() {
            match said {
                Said::Device(FromDevice::LimitsMet(met)) => return Some(met),
                Said::Closed => break,
                _ => {}
            }
        }
        None
    }

    /// Tells it something; a child that does not read loses it. Whether it was sent.
    pub(super) fn tell(&self, message: &[u8]) -> bool {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        send(&self.control, message, flags).is_ok()
    }

    /// Whether it ends of itself, soon.
    pub(super) fn is_ending(&mut self) -> bool {
        let millis = u32::try_from(END.as_millis()).unwrap_or(u32::MAX);
        matches!(self.process.wait_at_most(millis), Ok(Some(_)))
    }

    /// Takes its report on how it was confined, once; None when it was taken before.
    pub(super) fn confined(&mut self) -> Result<Option<Report>, SandboxError> {
        if self.confined {
            return Ok(None);
        }
        let report = self.process.confined_within(REPORT)?.clone();
        self.confined = true;
        self.sockets.drain(..).for_each(PathSocket::leave);
        self.groups.take().into_iter().for_each(Made::leave);
        Ok(Some(report))
    }

    pub(super) const fn is_confined(&self) -> bool {
        self.confined
    }

    /// Ends it: after the grace of its kind at the latest.
    fn end(&mut self, ended: Instant) -> Option<Exit> {
        if self.kind == ProcessKind::Recorder {
            self.tell(&ToRecorder::End.encode());
        }
        if self.kind.is_janitor() {
            // Any word will do, and so would the end of this process.
            self.tell(&[1]);
        }
        let left = self.kind.grace().saturating_sub(ended.elapsed());
        if !left.is_zero() {
            let millis = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
            if let Ok(Some(exit)) = self.process.wait_at_most(millis) {
                return Some(exit);
            }
        }
        let _ = self.process.kill();
        let millis = u32::try_from(GIVE_UP.as_millis()).unwrap_or(u32::MAX);
        let exit = self.process.wait_at_most(millis).ok().flatten();
        if exit.is_none() {
            self.process.abandon();
        }
        self.sockets.clear();
        self.groups = None;
        exit
    }
}

/// A process that is dropped ends at once, but for a janitor, which does its work before: whether
/// the VM has run, or something failed between its start and there.
impl Drop for Member {
    fn drop(&mut self) {
        if self.kind.is_janitor() {
            let _ = self.end(Instant::now());
        }
    }
}

/// What failed, and that a process or thread was refused, where one was.
fn with_limit(reason: &str, limited: &Limited, met: LimitsMet) -> String {
    let limit = limited.refused(met).map(|limit| format!(" ({limit})"));
    format!("{reason}{}", limit.unwrap_or_default())
}

/// How long a killed process is waited for at the end of its VM. One that takes longer is in the
/// kernel, in storage that does not answer: nobody can end it sooner, and it runs no instruction of
/// its own any more.
const GIVE_UP: Duration = Duration::from_secs(10);

/// The processes of a VM in the order in which they are ended: first what runs the guest.
#[derive(Debug)]
pub(super) struct Children(Vec<Member>);

impl Children {
    pub(super) const fn new(members: Vec<Member>) -> Self {
        Self(members)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.iter()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Member> {
        self.0.get_mut(index)
    }

    pub(super) fn all_confined(&self) -> bool {
        self.0.iter().all(Member::is_confined)
    }

    /// Tells every process that runs vCPUs; whether each was told.
    pub(super) fn tell_vmm(&self, message: ToVmm) -> bool {
        self.0.iter().filter(|m| m.kind.runs_vcpus()).all(|m| m.tell(&message.encode()))
    }

    /// Has it logged, where there is a log. A count that is lost is in the next one.
    pub(super) fn log(&self, denied: Denied) {
        let recorders = self.0.iter().filter(|m| m.kind == ProcessKind::Recorder);
        recorders.for_each(|m| {
            m.tell(&ToRecorder::Denied(denied).encode());
        });
    }

    /// The place of the socket device, if it has ended or does so now: its connector may be the
    /// first to notice.
    pub(super) fn vsock_that_ended(&mut self) -> Option<usize> {
        let mut all = self.0.iter_mut().enumerate();
        let (index, member) = all.find(|(_, member)| member.kind == ProcessKind::Vsock)?;
        member.is_ending().then_some(index)
    }

    /// The places of those that run vCPUs.
    pub(super) fn running_vcpus(&self) -> Vec<usize> {
        let runs = |(index, member): (usize, &Member)| member.kind.runs_vcpus().then_some(index);
        self.0.iter().enumerate().filter_map(runs).collect()
    }

    /// Ends all of them; nothing of them is left. The end of the one in place `who`, which died by
    /// itself, is made exact. With it comes how each has ended, as far as that can be told.
    pub(super) fn end(&mut self, end: End, who: Option<usize>) -> (End, Vec<Option<Exit>>) {
        let ended = Instant::now();
        let exits: Vec<_> = self.0.iter_mut().map(|member| member.end(ended)).collect();
        let end = self.unlogged(&exits, end);
        let end = self.exactly(&exits, end, who);
        (self.by_limits(end, who), exits)
    }

    /// The end of a VM by that of the process in place `who`.
    fn exactly(&mut self, exits: &[Option<Exit>], end: End, who: Option<usize>) -> End {
        let (&End::ProcessDied { kind, .. }, Some(who)) = (&end, who) else { return end };
        let how = exits.get(who).copied().flatten();
        // What failed before its body ran, it has told its parent's sandbox.
        let unborn = self.0.get_mut(who).filter(|member| !member.confined);
        match unborn.map(|member| member.process.confined_within(REPORT).map(|_| ())) {
            None | Some(Ok(()) | Err(SandboxError::Died { .. })) => End::ProcessDied { kind, how },
            Some(Err(e)) => End::LaunchFailed(e.to_string()),
        }
    }

    /// The end of a VM with what its limits had to do with it.
    fn by_limits(&self, end: End, who: Option<usize>) -> End {
        let of_groups = |member: &&Member| member.kind == ProcessKind::GroupJanitor;
        let janitor = self.0.iter().find(of_groups);
        let Some((limited, met)) =
            janitor.and_then(|janitor| Some((janitor.limited.as_ref()?, janitor.limits_met()?)))
        else {
            return end;
        };
        let ran_out = |member: &Member| limited.ran_out(member.place?, met);
        const KILLED: Option<Exit> = Some(Exit::Signal(libc::SIGKILL));
        match end {
            End::ProcessDied { kind, how: KILLED } => {
                let found = who.and_then(|who| self.0.get(who)).and_then(ran_out);
                found.map_or(End::ProcessDied { kind, how: KILLED }, |ran_out| End::OutOfMemory {
                    kind,
                    ran_out,
                })
            }
            End::DeviceLost { device, why: Loss::Died(KILLED) } => {
                let its =
                    |member: &&Member| member.post.as_ref().is_some_and(|post| post.name == device);
                let found = self.0.iter().filter(its).find_map(ran_out);
                let why = found.map_or(Loss::Died(KILLED), Loss::OutOfMemory);
                End::DeviceLost { device, why }
            }
            // One that could not have a thread may be too early for a word of its own.
            End::ProcessDied { kind, how: Some(how) } if limited.refused(met).is_some() => {
                End::DeviceFailed { kind, reason: with_limit(&how.to_string(), limited, met) }
            }
            End::LaunchFailed(reason) => End::LaunchFailed(with_limit(&reason, limited, met)),
            End::DeviceFailed { kind, reason } => {
                End::DeviceFailed { kind, reason: with_limit(&reason, limited, met) }
            }
            end => end,
        }
    }

    /// The end of a VM whose recorder could not write what was left to it.
    fn unlogged(&self, exits: &[Option<Exit>], end: End) -> End {
        let mut ended = self.0.iter().zip(exits);
        let Some((_, exit)) = ended.find(|(m, _)| m.kind == ProcessKind::Recorder) else {
            return end;
        };
        let is_its_own = match &end {
            End::ProcessDied { kind, .. } | End::ProcessLied { kind, .. } => {
                *kind == ProcessKind::Recorder
            }
            End::NotLogged { .. } => true,
            _ => false,
        };
        if is_its_own || *exit == Some(Exit::Code(WRITTEN)) {
            return end;
        }
        let mut why = exit.map_or_else(|| "it did not end".to_owned(), |exit| exit.to_string());
        for member in self.0.iter().filter(|member| member.kind == ProcessKind::Recorder) {
            while let Some(Ok(Said::Recorder(said))) = member.next_message() {
                if let FromRecorder::Failed { text, .. } = said {
                    why = text;
                }
            }
        }
        End::NotLogged { why, end: Some(Box::new(end)) }
    }
}
