//! A device that waits for more than its queues: one thread serves all of them, and what else the
//! device has, such as sockets to the host.
//!
//! [`Device`](crate::Device) answers each request when it comes. Here a queue can be one of empty
//! buffers that are filled when there is something to put in, so the device is asked what it waits
//! for, and gets all its queues at once when something has stirred.

use crate::lane::{Lane, Ring, State, tell};
use crate::pulse::Place;
use crate::table::Mode;
use casemate_device_queue::{GuestMemory, Head, QueueError, Running, Taken};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

/// A device whose queues are served together. It is asked and told by one thread only.
pub trait PolledDevice: Send + 'static {
    /// Features of this device type that it offers. The frame adds those of the transport.
    fn features(&self) -> u64;

    /// Its configuration space; read-only.
    fn config(&self) -> &[u8];

    /// How many queues it has.
    fn queues(&self) -> u16;

    /// How many of them, from the first on, must run for it to work. QEMU keeps the last queue of a
    /// socket device to itself.
    fn needed(&self) -> usize;

    /// Descriptors that it opens at once at most while it serves.
    fn later_descriptors(&self) -> u16;

    /// The features that its driver took, said before [`PolledDevice::started`].
    fn negotiated(&mut self, _features: u64) {}

    /// The queues that it needs run from now on. `resumed` when one of them goes on in the middle:
    /// its driver has had the device before, and does not know that it was stopped.
    fn started(&mut self, resumed: bool);

    /// A queue does not run any more. What the device has of its driver is over.
    fn stopped(&mut self);

    /// Tells `add` what it waits for besides its queues, and for what of each; gives how long it
    /// waits at most. Asked only while the queues that it needs run.
    fn wait_for<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>, PollFlags)) -> Option<Duration>;

    /// Does what can be done now without waiting, with the queues from the first on that run;
    /// `seen` having come of what it waited for, in the same order. It gives up between two
    /// requests when `wanted` says so. Says whether there is more to do at once.
    ///
    /// # Errors
    /// The index of a queue that its driver broke.
    fn turn<M: GuestMemory>(
        &mut self,
        queues: &mut [Served<'_, M>],
        seen: &[PollFlags],
        wanted: &dyn Fn() -> bool,
    ) -> Result<bool, usize>;
}

/// A queue that runs, in the hand of its device.
pub struct Served<'a, M> {
    ring: &'a mut Running,
    memory: &'a M,
    tell: &'a dyn Fn(),
    untold: bool,
}

impl<M> std::fmt::Debug for Served<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").field("untold", &self.untold).finish_non_exhaustive()
    }
}

impl<'a, M: GuestMemory> Served<'a, M> {
    /// The queue of a ring; `tell` tells its driver that there are answers.
    pub fn new(ring: &'a mut Running, memory: &'a M, tell: &'a dyn Fn()) -> Self {
        Self { ring, memory, tell, untold: false }
    }

    /// Takes the next request, if there is one.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn take(&mut self) -> Result<Option<Taken<'_, M>>, QueueError> {
        self.ring.take(self.memory)
    }

    /// Answers a request; the driver is told by [`Served::tell`].
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn answer(&mut self, head: Head, written: u32) -> Result<(), QueueError> {
        self.untold = true;
        self.ring.answer(self.memory, head, written)
    }

    /// Writes an answer that the driver does not see before [`Served::publish`].
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn stage(&mut self, head: Head, written: u32) -> Result<(), QueueError> {
        self.ring.stage(self.memory, head, written)
    }

    /// Lets the driver see the answers that were staged; it is told by [`Served::tell`].
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn publish(&mut self) -> Result<(), QueueError> {
        self.untold = true;
        self.ring.publish(self.memory)
    }

    /// How many answers are staged.
    #[must_use]
    pub const fn staged(&self) -> u16 {
        self.ring.staged()
    }

    /// Whether every entry of the ring is taken and staged: no more can come.
    #[must_use]
    pub const fn is_all_staged(&self) -> bool {
        self.ring.staged() >= self.ring.size()
    }

    /// Writes to an address that a request named, see [`Writable::place`]: before it is answered,
    /// or while its answer is staged.
    ///
    /// [`Writable::place`]: casemate_device_queue::Writable::place
    ///
    /// # Errors
    /// [`QueueError::Gone`].
    pub fn write(&self, gpa: u64, bytes: &[u8]) -> Result<(), QueueError> {
        Ok(self.memory.write(gpa, bytes)?)
    }

    /// Tells the driver of answers, where there are any and it wants to know.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn tell(&mut self) -> Result<(), QueueError> {
        if std::mem::take(&mut self.untold) && self.ring.wants_interrupt(self.memory)? {
            (self.tell)();
        }
        Ok(())
    }

    /// Asks to be notified, or not to be, as the device can do something about requests now or not;
    /// whether there are some already that it was asked to be notified of.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn listen_while(&mut self, wish: bool) -> Result<bool, QueueError> {
        if wish {
            return self.ring.allow_notifications(self.memory);
        }
        self.ring.suppress_notifications(self.memory).map(|()| false)
    }
}

/// What the thread knows of its lanes from one round to the next.
struct Seen {
    /// How often each ring had begun to run when it was looked at last.
    begun: Vec<u64>,
    runs: bool,
}

/// The thread of a device whose queues are served together.
pub(crate) fn serve<D: PolledDevice>(lanes: &[Arc<Lane>], mut device: D) {
    let mut seen = Seen { begun: vec![0; lanes.len()], runs: false };
    let (mut stirred, mut at_once) = (Vec::new(), true);
    loop {
        let mut states: Vec<_> = lanes.iter().map(|lane| lane.hold()).collect();
        if states.iter().any(|state| state.over) {
            return;
        }
        pulse(lanes, Place::Works);
        seen.look(&states, &mut device, &mut stirred);
        let more = seen.runs && round(lanes, &mut states, &mut device, &stirred);
        let kicks: Vec<_> = states.iter().map(|state| state.kick_to_wait_for()).collect();
        drop(states);
        at_once = more || std::mem::take(&mut at_once);
        pulse(lanes, Place::Waits);
        stirred = wait(lanes, &kicks, &device, seen.runs, at_once);
        at_once = false;
    }
}

/// The thread goes on, to this place, for whoever watches it. It is one for all queues.
fn pulse(lanes: &[Arc<Lane>], place: Place) {
    lanes.iter().for_each(|lane| lane.pulse.step(place));
}

impl Seen {
    /// Looks which rings run. What was seen of the device's descriptors is void when it has been
    /// stopped: they may be others by now.
    fn look<D: PolledDevice>(
        &mut self,
        states: &[MutexGuard<'_, State>],
        device: &mut D,
        stirred: &mut Vec<PollFlags>,
    ) {
        let needed = || states.iter().take(device.needed());
        let run = needed().all(|state| state.runs());
        let anew = needed().zip(&self.begun).any(|(state, begun)| state.begun != *begun);
        let resumed = needed().any(|state| state.resumed);
        if self.runs && (!run || anew) {
            device.stopped();
            stirred.clear();
            self.runs = false;
        }
        if run && !self.runs {
            device.negotiated(states.first().map_or(0, |state| state.features));
            device.started(resumed);
            stirred.clear();
            self.runs = true;
            self.begun = states.iter().map(|state| state.begun).collect();
        }
    }
}

/// One turn of the device; whether there is more to do at once.
fn round<D: PolledDevice>(
    lanes: &[Arc<Lane>],
    states: &mut [MutexGuard<'_, State>],
    device: &mut D,
    stirred: &[PollFlags],
) -> bool {
    let wanted = || lanes.iter().any(|lane| lane.is_wanted());
    let calls: Vec<(Mode, Option<Arc<OwnedFd>>)> =
        states.iter().map(|state| (state.mode, state.call.clone())).collect();
    let tells: Vec<_> = calls
        .iter()
        .map(|(mode, call)| move || call.iter().for_each(|call| tell(*mode, call)))
        .collect();
    let mut queues = Vec::with_capacity(states.len());
    for (state, tell) in states.iter_mut().zip(&tells) {
        let state: &mut State = state;
        let runs = state.runs();
        let (Ring::Running(ring), Some(memory), true) = (&mut state.ring, &state.memory, runs)
        else {
            break;
        };
        queues.push(Served::new(ring, memory.as_ref(), tell));
    }
    match device.turn(&mut queues, stirred, &wanted) {
        Ok(more) => more,
        Err(broken) => {
            drop(queues);
            if let Some(state) = states.get_mut(broken) {
                state.broken();
            }
            // Once more, to be told that it has stopped.
            true
        }
    }
}

/// Waits until something has stirred, or does not wait; what the device's own descriptors have.
fn wait<D: PolledDevice>(
    lanes: &[Arc<Lane>],
    kicks: &[Option<Arc<OwnedFd>>],
    device: &D,
    runs: bool,
    at_once: bool,
) -> Vec<PollFlags> {
    let mut fds = Vec::with_capacity(2 * lanes.len());
    fds.extend(lanes.iter().map(|lane| PollFd::new(lane.wake(), PollFlags::IN)));
    let kicked: Vec<_> =
        kicks.iter().enumerate().filter_map(|(i, kick)| Some((i, kick.as_ref()?))).collect();
    fds.extend(kicked.iter().map(|(_, kick)| PollFd::new(*kick, PollFlags::IN)));
    let own = fds.len();
    let mut patience = None;
    if runs {
        let mut add = |fd, events| fds.push(PollFd::from_borrowed_fd(fd, events));
        patience = device.wait_for(&mut add);
    }
    let patience = if at_once { Some(Duration::ZERO) } else { patience };
    let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
    while poll(&mut fds, patience.as_ref()) == Err(Errno::INTR) {}
    let came: Vec<_> = fds.iter().map(PollFd::revents).collect();
    drop(fds);
    let (events, of_device) = came.split_at_checked(own).unwrap_or((&came, &[]));
    for (lane, _) in lanes.iter().zip(events).filter(|(_, came)| !came.is_empty()) {
        lane.woken();
    }
    let of_kicks = events.iter().skip(lanes.len());
    for ((index, kick), _) in kicked.iter().zip(of_kicks).filter(|(_, came)| !came.is_empty()) {
        if let Some(lane) = lanes.get(*index) {
            lane.kicked(kick);
        }
    }
    of_device.to_vec()
}
