//! Who asks about the VM by its name, and what they are told: see [`crate::vm::manage`].
//!
//! Nobody who asks is waited for, and one round serves each of a few connections once, so that they
//! cannot keep the supervisor from its VM. They are of the VM's user, or root: whoever is not gets
//! no connection ([`crate::vm::name::Name::answer`]).

use super::{Asked, End, Happened, Lines, Member, RunningVm};
use crate::vm::manage::{
    Answer, Ending, Facts, ProcessFact, Request, State, VmFacts, Waits, millis,
};
use crate::vm::name::Told;
use casemate_device_process::{Limits, ToDevice};
use std::time::{Duration, Instant};

/// What who asks is told.
#[derive(Debug)]
pub(super) struct Known {
    /// What the VM was started as.
    vm: VmFacts,
    started: Instant,
    lines: Lines,
    /// How it ended.
    ended: Option<Ending>,
    /// Whether the guest has begun.
    pub(super) guest_runs: bool,
}

impl Known {
    pub(super) fn new(vm: VmFacts, started: Instant) -> Self {
        Self { vm, started, lines: Lines::default(), ended: None, guest_runs: false }
    }

    /// Takes down what happened.
    pub(super) fn happened(&mut self, at: Instant, what: &Happened) {
        if let Happened::Ended(end) = what {
            self.ended = Some(ending(end));
        }
        self.lines.add(at.saturating_duration_since(self.started), what);
    }
}

/// How it ended, for who asked for its end.
const fn ending(end: &End) -> Ending {
    match end {
        End::PoweredOffAsAsked => Ending::AsAsked,
        End::GraceOver(_) => Ending::GraceOver,
        End::Killed => Ending::Killed,
        _ => Ending::Otherwise,
    }
}

impl RunningVm {
    /// Serves who has asked, each once, and takes one more, if there is one.
    pub(super) fn serve_askers(&mut self, stirred: &[bool], one_more: bool) {
        // From the last on: who is left makes the places behind it others.
        for (place, _) in stirred.iter().enumerate().rev().filter(|(_, stirred)| **stirred) {
            if let Some(request) = self.askers.request(place) {
                self.do_as_asked(place, &request);
            }
        }
        if one_more {
            let there = self.processes.iter().filter(|told| !told.gone);
            let asker = self.name.answer(&there.map(Told::to_string).collect::<String>());
            if let Some(asker) = asker {
                self.askers.add(asker);
            }
        }
        self.tell_askers();
    }

    /// Tells who waits for it what there is.
    pub(super) fn tell_askers(&mut self) {
        let Self { askers, known, .. } = self;
        askers.tell(|waits| match waits {
            Waits::Lines(from) => {
                (from < known.lines.next()).then(|| Answer::Lines(known.lines.page(from)))
            }
            Waits::End => known.ended.map(Answer::Ended),
        });
    }

    fn do_as_asked(&mut self, place: usize, request: &Request) {
        let answer = match *request {
            Request::Facts => Answer::Facts(Box::new(self.facts())),
            Request::Lines(from) => Answer::Lines(self.known.lines.page(from)),
            // What is to come can be waited for, not what is beyond it.
            Request::NextLines(from) => {
                let from = from.min(self.known.lines.next());
                return self.askers.wait(place, Waits::Lines(from));
            }
            Request::WaitForEnd => return self.askers.wait(place, Waits::End),
            Request::Limit(ref device, limits) => self.limit(device, limits),
            Request::Stop if self.ended => Answer::Ends,
            Request::Stop => {
                if self.grace_over.is_none() {
                    self.tell(Happened::Asked(Asked::PowerOff));
                    self.press_power_button();
                }
                let left = self.grace_over.map(|at| at.saturating_duration_since(Instant::now()));
                Answer::Asked(Duration::from_millis(left.map_or(0, millis)))
            }
            Request::End => {
                if !self.ended {
                    self.tell(Happened::Asked(Asked::End));
                }
                // First the answer: ending a VM takes as long as its processes do.
                self.askers.answer(place, &Answer::Ends);
                return self.kill();
            }
        };
        self.askers.answer(place, &answer);
    }

    /// Tells every process of a disk or a network device, a standby too: it goes on within the same
    /// limits.
    fn limit(&mut self, device: &str, limits: Limits) -> Answer {
        let message = ToDevice::Limit(limits).encode();
        let of = |member: &&Member| {
            let named = member.post.as_ref().is_some_and(|post| post.name == device);
            named && !member.gone
        };
        let told: Vec<bool> =
            self.children.iter().filter(of).map(|member| member.tell(&message)).collect();
        if told.is_empty() {
            return Answer::Refused(
                "no process of it serves a disk or a network device of that name".into(),
            );
        }
        // Of what is full of questions nobody knows whether it will ever read; its heartbeat does.
        if told.contains(&false) {
            return Answer::Refused("a process of that device does not listen".into());
        }
        // A name is one device's.
        let VmFacts { disks, nets, .. } = &mut self.known.vm;
        disks.iter_mut().filter(|fact| fact.name == device).for_each(|fact| fact.limit(limits));
        nets.iter_mut().filter(|fact| fact.name == device).for_each(|fact| fact.limit(limits));
        self.tell(Happened::Limited { device: device.to_owned(), limits });
        Answer::Done
    }

    fn facts(&self) -> Facts {
        let state = match () {
            () if self.ended => State::Ended,
            () if self.grace_over.is_some() => State::Stopping,
            () if self.known.guest_runs => State::Running,
            () => State::Starting,
        };
        // The first is this process, which is locked when all others are, and before that has no
        // guest.
        let own = (None, self.locked);
        let of = |member: &Member| {
            (member.post.as_ref().map(|post| post.name.clone()), member.is_confined())
        };
        let members = std::iter::once(own).chain(self.children.iter().map(of));
        let process = |(told, (device, locked)): (&Told, (Option<String>, bool))| ProcessFact {
            kind: told.kind.name().into(),
            pid: told.pid,
            device,
            locked,
            without: told.without.iter().map(|layer| layer.name().into()).collect(),
        };
        let there = self.processes.iter().zip(members).filter(|(told, _)| !told.gone);
        let mut vm = self.known.vm.clone();
        for net in &mut vm.nets {
            let mut members = self.children.iter();
            let its = members.find(|one| one.post.as_ref().is_some_and(|it| it.name == net.name));
            net.refused = its.map(|member| member.refused.all().into()).unwrap_or_default();
        }
        Facts {
            state,
            uptime_ms: millis(self.known.started.elapsed()),
            processes: there.map(process).collect(),
            vm,
        }
    }
}
