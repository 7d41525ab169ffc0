//! Devices whose processes are lost: who is told, who goes on, and when the VM ends.
//!
//! A process is lost in one of three ways: it dies; it hangs, which its heartbeat tells
//! ([`super::heartbeat`]), or the vmm process, which waits for it; it says what it must not. In the
//! second and third it is killed. What comes next waits until the kernel says that it is dead, by
//! its pidfd: until then it may write to the image and to guest memory. One that does not die of
//! SIGKILL cannot be taken over from; where it was in its storage, that is waited for, as the guest
//! would have had to.
//!
//! Once it is dead, its standby goes on where that is admitted ([`Loss::may_be_taken_over`]); there
//! is one standby and so one takeover for a device. Else the configuration's `on_device_death` says
//! whether the VM ends or the guest goes on without the device.

use super::heartbeat::{EVERY, Hang, Unasked};
use super::post::{Condemned, Overdue};
use super::{End, Happened, Loss, Member, RunningVm, Then};
use crate::config::OnDeviceDeath;
use crate::exits::DeviceFault;
use crate::vm::kind::ProcessKind;
use crate::vm::protocol::ToVmm;
use casemate_device_process::{FromDevice, ToDevice};
use std::time::Instant;

/// What is wrong with a process that says again that it is locked.
const LOCKED_TWICE: &str = "it said twice that it is locked";

impl RunningVm {
    /// What a device process says.
    pub(super) fn take_from_device(
        &mut self,
        index: usize,
        kind: ProcessKind,
        message: FromDevice,
    ) {
        let Some(member) = self.children.get_mut(index) else { return };
        let (is_watched, was_locked) = (member.post.is_some(), member.is_confined());
        let may_end = member.post.as_ref().is_some_and(|post| post.may_end);
        let twice = message == FromDevice::Locked && was_locked;
        match message {
            // Said again it means nothing, so that who has the process could say it for ever.
            FromDevice::Locked if twice && is_watched => {
                self.condemn(index, Loss::Lied(LOCKED_TWICE.into()));
            }
            FromDevice::Locked if twice => {
                self.end(End::ProcessLied { kind, what: LOCKED_TWICE.into() });
            }
            message if !is_watched => self.take_from_unwatched(index, kind, message),
            FromDevice::Locked => self.take_report(index, kind),
            FromDevice::Ended(reason) | FromDevice::Failed(reason) => {
                self.condemn(index, Loss::Said(reason));
            }
            FromDevice::Refused(refused) if kind == ProcessKind::Net => {
                self.refused(index, refused);
            }
            FromDevice::OverRate if may_end => self.over_rate(index),
            FromDevice::Refused(_) | FromDevice::OverRate => {
                let what = "it told what only a network device tells, or one under another policy"
                    .to_owned();
                self.condemn(index, Loss::Lied(what));
            }
            FromDevice::LimitsMet(_) => {
                self.condemn(index, Loss::Lied("it told of limits that it cannot see".into()));
            }
            FromDevice::Beat(beat) => {
                let Some(member) = self.children.get_mut(index) else { return };
                match member.heartbeat.heard(&beat) {
                    Ok(None) => {}
                    Ok(Some(hang)) => self.condemn(index, Loss::Hung(hang)),
                    Err(Unasked) => {
                        let what = "it answered what nobody had asked".to_owned();
                        self.condemn(index, Loss::Lied(what));
                    }
                }
            }
        }
    }

    /// The vmm process cannot go on with the process of a device: the first, or the second one.
    pub(super) fn lost_to_the_vmm(
        &mut self,
        vmm: ProcessKind,
        device: u8,
        second: bool,
        fault: DeviceFault,
    ) {
        let of_device = |index: &usize| {
            let post = self.children.iter().nth(*index).and_then(|member| member.post.as_ref());
            post.is_some_and(|post| post.device == device)
        };
        // In the order in which they were started: the one that serves first, then its standby.
        let all: Vec<usize> = (0..self.children.iter().count()).filter(of_device).collect();
        match all.get(usize::from(second)) {
            Some(index) => self.condemn(*index, Loss::Faulty(fault)),
            None => {
                let what = "it told of a device that there is not".to_owned();
                self.end(End::ProcessLied { kind: vmm, what });
            }
        }
    }

    /// The vmm process says that a standby serves, which it was told to let happen, once.
    pub(super) fn taken_over(&mut self, vmm: ProcessKind, device: u8) {
        let post = |member: &Member| member.post.clone().filter(|post| post.device == device);
        let second = self.children.iter().filter(|member| post(member).is_some()).nth(1);
        let served = second.filter(|second| second.kind() == ProcessKind::Block);
        let bit = 1_u32.checked_shl(device.into()).unwrap_or(0);
        let Some(post) = served.and_then(post).filter(|_| self.taken_over & bit == 0) else {
            let what = "it told of a takeover that there was not".to_owned();
            return self.end(End::ProcessLied { kind: vmm, what });
        };
        self.taken_over |= bit;
        self.tell(Happened::DeviceTakenOver { device: post.name });
    }

    /// Sees to it that a device process ends. The first reason counts.
    pub(super) fn condemn(&mut self, index: usize, why: Loss) {
        let Some(member) = self.children.get_mut(index) else { return };
        if member.gone || member.condemned.is_some() {
            return;
        }
        // It has died since this was seen, or of what was seen: its end is told next, and counts.
        if why.is_how_it_seemed() && member.exit().is_some() {
            return;
        }
        let killed = !matches!(why, Loss::Said(_) | Loss::Faulty(DeviceFault::Closed));
        if killed {
            let _ = member.process().kill();
        }
        member.condemned = Some(Condemned::new(why, killed, Instant::now()));
    }

    /// A device process has closed its control socket. It has no call for that, so it is dying, and
    /// how it ends tells why.
    pub(super) fn closed_by_device(&mut self, index: usize) {
        if let Some(member) = self.children.get_mut(index) {
            member.closed = true;
        }
        self.condemn(index, Loss::Faulty(DeviceFault::Closed));
    }

    /// A device process is dead, as the kernel says.
    pub(super) fn device_died(&mut self, index: usize) {
        self.hear_vmm(index);
        let Some(member) = self.children.get_mut(index).filter(|_| !self.ended) else { return };
        let kind = member.kind();
        // What failed before it was locked has told its parent's sandbox, and has no guest.
        if !member.is_confined() {
            return self.end_by(End::ProcessDied { kind, how: None }, Some(index));
        }
        let exit = member.exit();
        let before = member.condemned.take().map(|Condemned { why, killed, .. }| (why, killed));
        let loss = Loss::at_the_end(before, exit);
        let ended_with_the_vm = matches!(loss, Loss::Said(_));
        self.retire(index, exit);
        // A device ends because the vmm process does, and the kernel may show the second first.
        if ended_with_the_vm {
            for vmm in self.children.running_vcpus() {
                let Some(member) = self.children.get_mut(vmm) else { continue };
                if member.is_ending() {
                    let kind = member.kind();
                    return self.died(vmm, kind);
                }
            }
        }
        if kind == ProcessKind::BlockStandby {
            self.report_loss(index, loss, Then::NoStandbyLeft);
        } else {
            self.replace(index, loss);
        }
    }

    /// A dead process is not waited for or named any more.
    fn retire(&mut self, index: usize, exit: Option<casemate_sandbox::Exit>) {
        if let Some(member) = self.children.get_mut(index) {
            member.gone = true;
        }
        // The first is this process.
        if let Some(told) = self.processes.get_mut(index + 1) {
            told.gone = true;
        }
        self.telling.gone(index, exit);
    }

    /// What becomes of a device whose process is dead.
    fn replace(&mut self, index: usize, loss: Loss) {
        let standby = self.standby_of(index).filter(|_| self.is_confined);
        let Some(post) = self.children.get_mut(index).and_then(|member| member.post.clone()) else {
            return;
        };
        let (device, kept) = (post.device, post.on_death == OnDeviceDeath::Keep);
        let told = match standby {
            Some(standby) if loss.may_be_taken_over() => {
                self.promote(standby);
                self.report_loss(index, loss.clone(), Then::StandbyGoesOn);
                self.children.tell_vmm(ToVmm::TakeOver { device })
            }
            _ if kept && self.is_confined => {
                self.report_loss(index, loss.clone(), Then::GuestGoesOn);
                self.children.tell_vmm(ToVmm::Keep { device })
            }
            _ => false,
        };
        if !told {
            self.end(End::DeviceLost { device: post.name, why: loss });
        }
    }

    /// The process that stands by for the device of the one in place `index`, fit to go on.
    fn standby_of(&self, index: usize) -> Option<usize> {
        let device = self.children.iter().nth(index)?.post.as_ref()?.device;
        self.children.iter().position(|member| {
            member.kind() == ProcessKind::BlockStandby
                && member.post.as_ref().is_some_and(|post| post.device == device)
                && !member.gone
                && member.condemned.is_none()
        })
    }

    /// A standby serves from now on.
    fn promote(&mut self, index: usize) {
        if let Some(member) = self.children.get_mut(index) {
            member.serves();
        }
        if let Some(told) = self.processes.get_mut(index + 1) {
            told.kind = ProcessKind::Block;
        }
    }

    fn report_loss(&mut self, index: usize, why: Loss, then: Then) {
        let post = self.children.get_mut(index).and_then(|member| member.post.clone());
        let device = post.map_or_else(String::new, |post| post.name);
        self.tell(Happened::DeviceLost { device, why, then });
    }

    /// Asks every device process whether it hangs, when it is time; kills those that were given a
    /// moment to end; gives up those that were killed and do not.
    pub(super) fn look_after_devices(&mut self) {
        let now = Instant::now();
        if self.ended {
            return;
        }
        for index in 0..self.children.iter().count() {
            let Some(member) = self.children.get_mut(index) else { return };
            let stores = member.heartbeat.stores();
            let overdue = member.condemned.as_mut().filter(|one| one.until <= now && !member.gone);
            match overdue.map(|condemned| condemned.when_overdue(stores, now)) {
                None => {}
                Some(Overdue::Kill) => {
                    let _ = member.process().kill();
                }
                Some(Overdue::WaitOn) => self.telling.in_storage(index),
                Some(Overdue::GiveUp) => {
                    let name = member.post.as_ref().map(|post| post.name.clone());
                    let device = name.unwrap_or_default();
                    return self.end(End::DeviceLost { device, why: Loss::Unkillable });
                }
            }
        }
        let Some(at) = self.next_beat.filter(|at| *at <= now) else { return };
        // Not as often as was missed: see [`super::heartbeat`].
        self.next_beat = now.checked_add(EVERY).or(Some(at));
        for index in 0..self.children.iter().count() {
            let Some(member) = self.children.get_mut(index) else { return };
            if member.post.is_none() || member.gone || member.condemned.is_some() {
                continue;
            }
            match member.heartbeat.ask() {
                Ok(None) => {}
                // What does not fit is not answered either.
                Ok(Some(number)) => {
                    member.tell(&ToDevice::Beat(number).encode());
                }
                Err(hang @ (Hang::Silent | Hang::Stuck)) => self.condemn(index, Loss::Hung(hang)),
            }
        }
    }

    /// When [`RunningVm::look_after_devices`] has something to do.
    pub(super) fn devices_until(&self) -> Option<Instant> {
        let condemned = self.children.iter().filter(|member| !member.gone);
        let condemned = condemned.filter_map(|member| member.condemned.as_ref());
        condemned.map(|condemned| condemned.until).chain(self.next_beat).min()
    }
}
