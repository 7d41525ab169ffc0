//! A lane: one queue, the thread that serves it, and how the control thread changes it.

use crate::device::{Device, Turn};
use crate::pulse::{Place, Pulse};
use crate::table::Mode;
use crate::throttle::Throttle;
use casemate_device_queue::{Memory, Negotiating, QueueError, RingError, Running, Taken};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A queue in each of its states. Only the first has setters.
#[derive(Debug)]
pub(crate) enum Ring {
    Negotiating(Negotiating),
    Running(Running),
    /// The driver broke it, at this place. It stays so until the front end stops it.
    Broken(u16),
}

/// What the lane's lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) ring: Ring,
    pub(crate) enabled: bool,
    pub(crate) kick: Option<Arc<OwnedFd>>,
    /// What was sent as a kick is none; it is not waited for again.
    pub(crate) deaf: bool,
    pub(crate) call: Option<Arc<OwnedFd>>,
    pub(crate) err: Option<OwnedFd>,
    pub(crate) memory: Option<Arc<Memory>>,
    /// What the driver took.
    pub(crate) features: u64,
    /// Whose events these are.
    pub(crate) mode: Mode,
    /// Whether the process is locked and serves: before, nothing of a guest is read.
    pub(crate) open: bool,
    /// Whether the thread is to end.
    pub(crate) over: bool,
    /// How often the ring has begun to run.
    pub(crate) begun: u64,
    /// Whether it began in the middle: behind entries that were answered before.
    pub(crate) resumed: bool,
}

#[derive(Debug)]
pub(crate) struct Lane {
    state: Mutex<State>,
    /// The control thread wants the lock: set before it asks for it, so that the lane's thread
    /// gives it up after the request in hand, however many wait.
    wanted: AtomicBool,
    given_back: Condvar,
    wake: OwnedFd,
    /// Of the lane's thread.
    pub(crate) pulse: Pulse,
}

/// What a lane's thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It waits for a kick: the ring is empty.
    Wait,
    /// It looks at its ring.
    Look,
    /// The same when so long has passed: the device's limits are reached.
    LookAfter(Duration),
}

/// A lane whose thread waits; it goes on when this is dropped.
#[derive(Debug)]
pub(crate) struct Paused<'a> {
    lane: &'a Lane,
    state: MutexGuard<'a, State>,
}

impl Deref for Paused<'_> {
    type Target = State;
    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Paused<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        // Still under the lock, so that the lane's thread cannot miss it.
        self.lane.wanted.store(false, Ordering::SeqCst);
        self.lane.given_back.notify_all();
        // Whatever changed, the thread looks at its ring again, and waits for the right kick.
        signal(&self.lane.wake);
    }
}

/// Adds one to an event of this process, or of the vmm process: those do not block, and one that is
/// full has been told.
fn signal(event: &impl AsFd) {
    while write(event, &1_u64.to_ne_bytes()) == Err(Errno::INTR) {}
}

/// The same for an event whose flags are somebody else's: a write to one that is full and blocks
/// lasts until somebody reads it (eventfd(2)), and its thread holds the lane meanwhile, so that the
/// process would not even end with its front end.
fn signal_of_others(event: &impl AsFd) {
    let mut events = [PollFd::new(event, PollFlags::OUT)];
    while poll(&mut events, Some(&Timespec::default())) == Err(Errno::INTR) {}
    if events.iter().all(|event| event.revents().intersects(PollFlags::OUT)) {
        signal(event);
    }
}

/// Takes what an event has. None for what is no event: an event that polls readable gives a number,
/// and never 0 (eventfd(2)).
fn taken(event: &impl AsFd) -> Option<()> {
    let mut count = [0; 8];
    loop {
        match read(event, &mut count) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Some(()),
            Ok(8) if count != [0; 8] => return Some(()),
            _ => return None,
        }
    }
}

/// Tells a driver, or its front end, by its event.
pub(crate) fn tell(mode: Mode, event: &impl AsFd) {
    match mode {
        Mode::Ours => signal(event),
        Mode::Foreign => signal_of_others(event),
    }
}

impl State {
    /// Begins to run the ring, if all is there.
    ///
    /// # Errors
    /// The ring is not where it was said to be.
    pub(crate) fn start(&mut self) -> Result<(), RingError> {
        let ready = self.enabled && self.open && self.kick.is_some();
        let (true, Ring::Negotiating(ring), Some(memory)) = (ready, &self.ring, &self.memory)
        else {
            return Ok(());
        };
        match ring.activate(memory.as_ref()) {
            Ok(running) => {
                self.resumed = ring.next() != 0;
                self.begun = self.begun.wrapping_add(1);
                self.ring = Ring::Running(running);
            }
            // More is to come.
            Err(RingError::Unset) => {}
            Err(refused) => return Err(refused),
        }
        Ok(())
    }

    /// Stops the ring; where it is to go on. Everything else must be set again, whatever the state.
    pub(crate) fn stop(&mut self) -> u16 {
        let mut stopped = Negotiating::default();
        stopped.set_next(match &self.ring {
            Ring::Running(running) => running.answered(),
            Ring::Negotiating(ring) => ring.next(),
            Ring::Broken(next) => *next,
        });
        self.ring = Ring::Negotiating(stopped);
        stopped.next()
    }

    /// The ring is of no use any more: the front end is told, and the rest is its.
    pub(crate) fn broken(&mut self) {
        self.ring = Ring::Broken(self.stop());
        self.err.iter().for_each(|err| tell(self.mode, err));
    }

    pub(crate) fn runs(&self) -> bool {
        self.enabled && matches!(self.ring, Ring::Running(_))
    }

    /// The kick, where there is something to wait for.
    pub(crate) fn kick_to_wait_for(&self) -> Option<Arc<OwnedFd>> {
        self.kick.clone().filter(|_| self.runs() && !self.deaf)
    }

    /// Answers requests until there are none, the control thread wants the lane, or the device's
    /// limits are reached.
    fn work<D: Device>(
        &mut self,
        device: &D,
        kept: &mut D::Lane,
        wanted: &AtomicBool,
        pulse: &Pulse,
    ) -> Result<Next, QueueError> {
        let (Ring::Running(ring), Some(memory)) = (&mut self.ring, &self.memory) else {
            return Ok(Next::Wait);
        };
        let memory = memory.as_ref();
        let untold = Cell::new(0_u16);
        let tell = || {
            if untold.replace(0) > 0 {
                self.call.iter().for_each(|call| tell(self.mode, call));
            }
        };
        let turn = Turn::new(self.features, &tell, pulse);
        loop {
            ring.suppress_notifications(memory)?;
            let next = loop {
                if wanted.load(Ordering::SeqCst) {
                    break Next::Look;
                }
                // Before a request is taken: what was taken is answered, so a ring that is to stop
                // never waits for this.
                if let Some(wait) = device.throttle().and_then(Throttle::wait) {
                    break Next::LookAfter(wait);
                }
                pulse.step(Place::Works);
                let (head, bytes, written) = match ring.take(memory)? {
                    None => break Next::Wait,
                    Some(Taken::Request(head, request)) => {
                        let (readable, writable) = (request.readable.len(), request.writable.len());
                        let bytes = u64::from(readable).saturating_add(writable.into());
                        (head, bytes, device.answer(kept, &turn, request))
                    }
                    // What is wrong with it only its driver could use, and has no way to hear.
                    Some(Taken::Malformed(head, _)) => (head, 0, 0),
                };
                device.throttle().into_iter().for_each(|throttle| throttle.spend(bytes));
                ring.answer(memory, head, written)?;
                untold.set(untold.get().saturating_add(1));
                if untold.get() >= device.burst() && ring.wants_interrupt(memory)? {
                    tell();
                }
            };
            if untold.get() > 0 && ring.wants_interrupt(memory)? {
                tell();
            }
            untold.set(0);
            if next != Next::Wait || !ring.allow_notifications(memory)? {
                return Ok(next);
            }
        }
    }
}

impl Lane {
    pub(crate) fn new(mode: Mode) -> std::io::Result<Self> {
        let state = State {
            ring: Ring::Negotiating(Negotiating::default()),
            enabled: false,
            kick: None,
            deaf: false,
            call: None,
            err: None,
            memory: None,
            features: 0,
            mode,
            open: false,
            over: false,
            begun: 0,
            resumed: false,
        };
        Ok(Self {
            state: Mutex::new(state),
            wanted: AtomicBool::new(false),
            given_back: Condvar::new(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            pulse: Pulse::default(),
        })
    }

    /// Waits until the lane's thread has finished the request in hand, and keeps it from the next.
    pub(crate) fn pause(&self) -> Paused<'_> {
        self.wanted.store(true, Ordering::SeqCst);
        Paused { lane: self, state: self.state.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// The descriptors that the lane reads and writes.
    pub(crate) fn events(&self) -> Vec<RawFd> {
        let state = self.pause();
        let shared = state.kick.iter().chain(&state.call).map(AsRawFd::as_raw_fd);
        let others = state.err.iter().chain([&self.wake]);
        shared.chain(others.map(AsRawFd::as_raw_fd)).collect()
    }

    /// Takes the lane for its thread: when the control thread does not want it.
    pub(crate) fn hold(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |_: &mut State| self.is_wanted();
        self.given_back.wait_while(state, wanted).unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the control thread wants the lane.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// What wakes the lane's thread.
    pub(crate) const fn wake(&self) -> &OwnedFd {
        &self.wake
    }

    /// The lane's thread has seen that it was woken.
    pub(crate) fn woken(&self) {
        taken(&self.wake);
    }

    /// The lane's thread has seen a kick, of this event.
    pub(crate) fn kicked(&self, kick: &Arc<OwnedFd>) {
        if taken(kick).is_none() {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            // Not another one that has come meanwhile.
            state.deaf |= state.kick.as_ref().is_some_and(|now| Arc::ptr_eq(kick, now));
        }
    }

    /// The thread of one queue: waits for its kick, answers what is there, and starts again, until
    /// the session ends.
    pub(crate) fn serve<D: Device>(&self, device: &D, mut kept: D::Lane) {
        let mut next = Next::Wait;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let wanted = |_: &mut State| self.wanted.load(Ordering::SeqCst);
            state =
                self.given_back.wait_while(state, wanted).unwrap_or_else(PoisonError::into_inner);
            if state.over {
                return;
            }
            if next == Next::Look && state.runs() {
                let worked = state.work(device, &mut kept, &self.wanted, &self.pulse);
                next = worked.unwrap_or_else(|_| {
                    state.broken();
                    Next::Wait
                });
                continue;
            }
            // A kick tells nothing new to who waits for its time.
            let after = if let Next::LookAfter(after) = next { Some(after) } else { None };
            let kick = state.kick.clone();
            let kick = kick.filter(|_| after.is_none() && state.runs() && !state.deaf);
            drop(state);
            self.pulse.step(Place::Waits);
            let heard = self.wait(kick.as_ref(), after);
            self.pulse.step(Place::Works);
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            // Not another one that has come meanwhile.
            let same = |now: &Arc<OwnedFd>| kick.as_ref().is_some_and(|was| Arc::ptr_eq(was, now));
            state.deaf |= !heard && state.kick.as_ref().is_some_and(same);
            next = Next::Look;
        }
    }

    /// Wakes the lane's thread, to look at its ring again.
    pub(crate) fn look_again(&self) {
        signal(&self.wake);
    }

    /// Waits for a kick, to be woken, or until so long has passed. False when the kick is none.
    fn wait(&self, kick: Option<&Arc<OwnedFd>>, after: Option<Duration>) -> bool {
        let after = after.and_then(|after| Timespec::try_from(after).ok());
        // poll(2) passes over descriptors it is not given, so without a kick there is one entry.
        let mut events =
            [PollFd::new(&self.wake, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        if let (Some(kick), [_, second]) = (kick, &mut events) {
            *second = PollFd::new(kick, PollFlags::IN);
        }
        let polled = if kick.is_some() { 2 } else { 1 };
        let Some(polled) = events.get_mut(..polled) else { return true };
        while poll(polled, after.as_ref()) == Err(Errno::INTR) {}
        let ready = |index: usize| polled.get(index).is_some_and(|e| !e.revents().is_empty());
        let (woken, kicked) = (ready(0), ready(1));
        if woken {
            taken(&self.wake);
        }
        !kicked || kick.is_none_or(|kick| taken(kick).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::tell;
    use crate::table::Mode;
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::io::{read, write};

    /// Protects a device process from its front end: an event that blocks and is full is not
    /// written to, one that has room is. Would not end if it did not hold. Cannot tell what becomes
    /// of an event that is filled between the look and the write.
    #[test]
    fn an_event_of_others_that_is_full_is_not_waited_for() {
        let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let full = (u64::MAX - 1).to_ne_bytes();
        write(&event, &full).unwrap();
        tell(Mode::Foreign, &event);
        let mut count = [0; 8];
        read(&event, &mut count).unwrap();
        assert_eq!(count, full);
        tell(Mode::Foreign, &event);
        read(&event, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
    }
}
