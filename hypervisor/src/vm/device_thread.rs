//! The thread of the vmm process that talks to a device's process, and may wait for it. Each device
//! has one, so that no other waits with it.
//!
//! A vCPU that resets or activates a device leaves a request and goes on; this thread carries it
//! out, and the driver reads of its end in the status register. A device stops when it has done
//! what it has in hand, which on slow storage takes as long as it takes: this thread does not wait
//! for that answer, so that it hears of the process's end meanwhile.
//!
//! A process that is gone, hangs or breaks the protocol is not spoken to any more: the supervisor
//! is told, who can kill it and see that it is dead, and decides. Until then nobody knows whether
//! it still uses guest memory, so nothing that the driver asks of it is answered. Then its standby
//! goes on, or the guest goes on without it, or the VM has ended.

use super::orders::{Order, Orders};
use super::stop_slot::StopSlot;
use crate::devices::VirtioPci;
use crate::event::Event;
use crate::exits::{DeviceFault, Events, Stop};
use crate::vhost_user::{BackEnd, BackEndError, Begin, Heard, Stopping};
use casemate_device_transport::{Activation, Request, Ticket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long the end of a socket is left to the supervisor, which knows more: how the process died.
/// One that closed its socket and lives, or that nobody here started, is told of by this process.
const FOR_THE_SUPERVISOR: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Whose the process of a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Ours, and the supervisor asks it whether it hangs, and decides when it is lost.
    Watched,
    /// Ours, without a heartbeat: when it is lost, the VM ends.
    Unwatched,
    /// A program of others, which is nobody's here to end.
    Others,
}

/// A device as its thread has it.
#[derive(Debug)]
pub(super) struct Served {
    number: u8,
    whose: Whose,
    function: Arc<Mutex<VirtioPci>>,
    back_end: BackEnd,
    /// Has everything that the other has, and no ring.
    standby: Option<BackEnd>,
    /// Signalled when the device has to be told something.
    wake: Event,
    /// The device signals it when a ring makes no sense.
    error: Event,
    process: Process,
    /// Whether the standby has taken over.
    second: bool,
    /// What the device was told, from before it was told until it has stopped.
    running: Option<Activation>,
    /// The activation that is not answered.
    begins: Option<Ticket>,
    /// The reset that is not answered.
    stops: Option<Ticket>,
}

/// What is known of the process that serves a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    /// It is there.
    Serves,
    /// It cannot be gone on with, and may still be there.
    Lost,
    /// It is dead, and the guest goes on without it.
    Gone,
}

impl Served {
    pub(super) fn new(
        (number, whose): (u8, Whose),
        function: Arc<Mutex<VirtioPci>>,
        (back_end, standby): (BackEnd, Option<BackEnd>),
        (wake, error): (Event, Event),
    ) -> Self {
        let (process, second) = (Process::Serves, false);
        let (running, begins, stops) = (None, None, None);
        Self {
            number,
            whose,
            function,
            back_end,
            standby,
            wake,
            error,
            process,
            second,
            running,
            begins,
            stops,
        }
    }

    /// Waits until its processes are locked.
    ///
    /// # Errors
    /// The device's number, and what is wrong with one of them.
    pub(super) fn settle(&self) -> Result<(), (u8, BackEndError)> {
        if self.whose == Whose::Others {
            return Ok(());
        }
        let mut all = std::iter::once(&self.back_end).chain(&self.standby);
        all.try_for_each(|process| process.settle().map_err(|e| (self.number, e)))
    }

    /// The function, for the guest's buses.
    pub(super) fn shared_function(&self) -> Arc<Mutex<VirtioPci>> {
        self.function.clone()
    }

    fn function(&self) -> MutexGuard<'_, VirtioPci> {
        self.function.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that there is to do without waiting.
    fn turn(&mut self, order: Option<Order>) -> Result<(), DeviceFault> {
        match order {
            Some(Order::TakeOver) => self.take_over()?,
            Some(Order::Keep) => self.keep(),
            None => {}
        }
        self.listen()?;
        self.serve_requests()
    }

    /// Does what the driver asked for; the function is not held meanwhile, so that its registers
    /// answer.
    fn serve_requests(&mut self) -> Result<(), DeviceFault> {
        while self.process != Process::Lost && self.stops.is_none() {
            let request = self.function().take_request();
            match request {
                None => return Ok(()),
                Some(Request::Activate(ticket, _)) if self.process == Process::Gone => {
                    self.function().activated(ticket, false);
                }
                Some(Request::Reset(ticket)) if self.process == Process::Gone => {
                    self.function().stopped(ticket);
                }
                Some(Request::Activate(ticket, activation)) => {
                    self.running = Some(activation);
                    self.begins = Some(ticket);
                    self.activate(&activation, Begin::Anew)?;
                }
                Some(Request::Reset(ticket)) => {
                    self.stops = Some(ticket);
                    let stopping = self.back_end.begin_to_stop();
                    self.stopping(stopping)?;
                    // Where nobody watches whether it hangs, the answer is waited for here, as any
                    // of its answers: within a bound.
                    while self.whose != Whose::Watched && self.stops.is_some() {
                        let stopping = self.back_end.go_on_stopping();
                        self.stopping(stopping)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn activate(&mut self, activation: &Activation, begin: Begin) -> Result<(), DeviceFault> {
        let done = self.back_end.activate(activation, begin);
        // A refusal is a device that does not run, which its driver can reset, and which no other
        // process goes on with; not so one that cannot be talked to.
        match &done {
            Ok(()) => {}
            Err(BackEndError::Refused(_)) => self.running = None,
            Err(e) => return Err(fault(e)),
        }
        match self.begins.take() {
            Some(ticket) => self.function().activated(ticket, done.is_ok()),
            None if done.is_err() => self.function().broke(),
            None => {}
        }
        Ok(())
    }

    fn stopping(&mut self, stopping: Result<Stopping, BackEndError>) -> Result<(), DeviceFault> {
        if stopping.map_err(|e| fault(&e))? == Stopping::Done {
            self.has_stopped();
        }
        Ok(())
    }

    /// No process uses the rings any more.
    fn has_stopped(&mut self) {
        self.running = None;
        // Of the rings that were: the next driver's are others.
        let _ = self.error.take();
        if let Some(ticket) = self.stops.take() {
            self.function().stopped(ticket);
        }
    }

    /// The process that served the device is dead: its standby goes on.
    ///
    /// What the other answered is in the used ring, whose index the standby reads; what it had
    /// taken and not answered is done again, in the same order. A doorbell that it heard and did
    /// not heed is not lost: a queue that begins looks at its ring. Nor is an interrupt that it
    /// owed: each queue's is raised once, and one that is masked now is raised when it is not.
    fn take_over(&mut self) -> Result<(), DeviceFault> {
        let Some(standby) = self.standby.take() else { return Ok(()) };
        // Closing it is not in the filter, and it says nothing any more.
        std::mem::forget(std::mem::replace(&mut self.back_end, standby));
        (self.process, self.second) = (Process::Serves, true);
        if self.stops.is_some() {
            self.has_stopped();
        } else if let Some(activation) = self.running {
            self.activate(&activation, Begin::WhereUsed)?;
            self.function().interrupt_all(&activation);
        }
        Ok(())
    }

    /// The same without a standby: the driver is told, and can reset a device that does not answer.
    fn keep(&mut self) {
        self.process = Process::Gone;
        self.running = None;
        if self.stops.is_some() {
            self.has_stopped();
        } else if let Some(ticket) = self.begins.take() {
            self.function().activated(ticket, false);
        } else {
            self.function().broke();
        }
    }

    /// Looks at what came without being asked for, and at the answer that was not waited for.
    fn listen(&mut self) -> Result<(), DeviceFault> {
        if self.error.take() > 0 {
            self.function().broke();
        }
        if self.process != Process::Serves {
            return Ok(());
        }
        if self.stops.is_some() {
            if self.back_end.has_answer() {
                let stopping = self.back_end.go_on_stopping();
                self.stopping(stopping)?;
            }
            return Ok(());
        }
        match self.back_end.heard() {
            Heard::Nothing => Ok(()),
            Heard::Closed => Err(DeviceFault::Closed),
            Heard::Unasked => Err(DeviceFault::Unasked),
        }
    }
}

impl Served {
    /// Waits until there is something to do.
    fn wait(&self) {
        let mut fds = [
            PollFd::new(&self.wake, PollFlags::IN),
            PollFd::new(&self.error, PollFlags::IN),
            PollFd::from_borrowed_fd(self.back_end.as_fd(), PollFlags::IN),
        ];
        // A socket whose process is gone would be readable for ever.
        let polled = if self.process == Process::Serves { 3 } else { 2 };
        let _ = poll(fds.get_mut(..polled).unwrap_or_default(), None);
        let _ = self.wake.take();
    }
}

const fn fault(error: &BackEndError) -> DeviceFault {
    match error {
        BackEndError::Closed => DeviceFault::Closed,
        BackEndError::Silent(_) => DeviceFault::Silent,
        _ => DeviceFault::Breach,
    }
}

/// Serves a device until it fails and nobody is there to decide, which ends the VM.
pub(super) fn serve(device: &mut Served, orders: &Orders, events: &dyn Events, stop: &StopSlot) {
    loop {
        let order = orders.take(device.number);
        let done = device.turn(order);
        if order == Some(Order::TakeOver) && done.is_ok() {
            events.device_taken_over(device.number);
        }
        if let Err(fault) = done {
            device.process = Process::Lost;
            let is_watched = device.whose == Whose::Watched;
            if !is_watched && fault == DeviceFault::Closed {
                let _ = poll(&mut [], Some(&FOR_THE_SUPERVISOR));
            }
            if !(is_watched && events.device_lost(device.number, device.second, fault)) {
                return stop.set(Stop::DeviceFailed { device: device.number, fault });
            }
        }
        device.wait();
    }
}
