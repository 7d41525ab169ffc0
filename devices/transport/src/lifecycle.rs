//! The life of a device (virtio 1.2, 2.1 and 3.1) as types: what must not happen in a state has no
//! method in that state's type.
//!
//! [`Negotiating`] has features to write and no queue. [`Negotiated`] has queues to set and
//! features that are fixed. [`Active`] has neither setter: its rings are what the device was given.
//! A reset drops the state, whichever it is, so nothing of it is left behind.

use crate::effects::{Activation, Request, Ticket};
use crate::features::{Accepted, forwarded};
use crate::identity::MAX_QUEUES;
use crate::ring::{Area, Half, Ring, Settings};
use casemate_values::{Guest, RamMap};

/// Bits of the device status register (2.1).
pub mod status {
    /// The driver has seen the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// It can drive it.
    pub const DRIVER: u8 = 2;
    /// It has set the device up and drives it.
    pub const DRIVER_OK: u8 = 4;
    /// Features are agreed on.
    pub const FEATURES_OK: u8 = 8;
    /// The device cannot go on.
    pub const NEEDS_RESET: u8 = 64;
    /// The driver has given up.
    pub const FAILED: u8 = 128;
}
use status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK, NEEDS_RESET};

/// The driver says what it accepts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Negotiating {
    pub(crate) accepted: Accepted,
}

/// Features are fixed; queues are set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Negotiated {
    accepted: Accepted,
    features: u64,
    queues: [Queue; MAX_QUEUES as usize],
}

#[derive(Debug, Clone, Copy)]
enum Queue {
    Off(Settings),
    On(Ring),
}

/// The device has its rings, or will have them as soon as somebody has told it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Active {
    before: Negotiated,
    phase: Phase,
    broken: bool,
}

/// What the device has been told of its activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing yet: the thread that talks to it has not taken the request.
    Requested,
    /// Perhaps everything, perhaps nothing: until the answer comes.
    Told(Ticket),
    /// It has all of it and runs.
    Running,
}

/// The state of a device.
#[allow(
    clippy::large_enum_variant,
    reason = "one for each device, made before the guest runs: nothing is allocated afterwards"
)]
#[derive(Debug, Clone, Copy)]
pub(crate) enum State {
    Negotiating(Negotiating),
    Negotiated(Negotiated),
    Active(Active),
    /// The driver asked for a reset of a device that may run: nothing of the driver is left but the
    /// status, which it reads until the device has stopped.
    Resetting {
        shown: u8,
        told: Option<Ticket>,
    },
}

/// The life of a device: its state, and what the driver has said of itself.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    /// ACKNOWLEDGE, DRIVER and FAILED as the driver set them; the rest follows from the state.
    driver: u8,
    state: State,
    tickets: u64,
    /// Largest size that a queue can be given.
    queue_size: u16,
}

impl Negotiating {
    /// Fixes the features, if the device can run with them.
    fn agree(self, offered: u64, queue_size: u16) -> Option<Negotiated> {
        let features = self.accepted.agree(offered)?;
        let queues = [Queue::Off(Settings::new(queue_size)); MAX_QUEUES as usize];
        Some(Negotiated { accepted: self.accepted, features, queues })
    }
}

impl Negotiated {
    /// Changes a queue that is not enabled.
    pub(crate) fn settings(&mut self, queue: usize) -> Option<&mut Settings> {
        match self.queues.get_mut(queue)? {
            Queue::Off(settings) => Some(settings),
            Queue::On(_) => None,
        }
    }

    /// Enables a queue whose ring is where a ring can be; another stays off and says so when it is
    /// read. Nothing disables it but a reset.
    pub(crate) fn enable(&mut self, queue: usize, ram: &RamMap) {
        if let Some(queue) = self.queues.get_mut(queue)
            && let Queue::Off(settings) = queue
            && let Some(ring) = settings.ring(ram)
        {
            *queue = Queue::On(ring);
        }
    }

    const fn activate(self) -> Active {
        Active { before: self, phase: Phase::Requested, broken: false }
    }

    fn activation(&self) -> Activation {
        let rings = self.queues.map(|queue| match queue {
            Queue::On(ring) => Some(ring),
            Queue::Off(_) => None,
        });
        Activation { features: forwarded(self.features), rings }
    }
}

impl Life {
    pub(crate) fn new(queue_size: u16) -> Self {
        let state = State::Negotiating(Negotiating::default());
        Self { driver: 0, state, tickets: 0, queue_size }
    }

    /// The device status register, as a driver reads it.
    pub(crate) const fn status(&self) -> u8 {
        match &self.state {
            State::Negotiating(_) => self.driver,
            State::Negotiated(_) => self.driver | FEATURES_OK,
            State::Active(active) => {
                let broken = if active.broken { NEEDS_RESET } else { 0 };
                self.driver | FEATURES_OK | DRIVER_OK | broken
            }
            State::Resetting { shown, .. } => *shown,
        }
    }

    /// The driver writes the status register; 0 is [`Life::reset`].
    ///
    /// Not for a device in a reset, whose driver has to wait.
    /// Bits are only ever added (2.1.1 forbids to clear one), each when those before it are there:
    /// what comes out of order is not taken, and reads back as not set. Once a driver has given up,
    /// only a reset leads on.
    pub(crate) fn write_status(&mut self, value: Guest<u8>, offered: u64) {
        if value.has(ACKNOWLEDGE.into()) {
            self.driver |= ACKNOWLEDGE;
        }
        if value.has(DRIVER.into()) && self.driver & ACKNOWLEDGE != 0 {
            self.driver |= DRIVER;
        }
        if value.has(FAILED.into()) {
            self.driver |= FAILED;
        }
        if self.driver & (DRIVER | FAILED) != DRIVER {
            return;
        }
        if value.has(FEATURES_OK.into())
            && let State::Negotiating(negotiating) = self.state
            && let Some(negotiated) = negotiating.agree(offered, self.queue_size)
        {
            self.state = State::Negotiated(negotiated);
        }
        if value.has(DRIVER_OK.into())
            && let State::Negotiated(negotiated) = self.state
        {
            self.state = State::Active(negotiated.activate());
        }
    }

    /// The driver writes 0. A device that was told nothing has nothing to stop.
    pub(crate) fn reset(&mut self) {
        let told = match &self.state {
            State::Resetting { .. } => return,
            State::Active(Active { phase: Phase::Told(_) | Phase::Running, .. }) => true,
            _ => false,
        };
        self.state = if told {
            State::Resetting { shown: self.status(), told: None }
        } else {
            State::Negotiating(Negotiating::default())
        };
        self.driver = 0;
    }

    pub(crate) const fn negotiating(&mut self) -> Option<&mut Negotiating> {
        match &mut self.state {
            State::Negotiating(negotiating) => Some(negotiating),
            _ => None,
        }
    }

    pub(crate) const fn negotiated(&mut self) -> Option<&mut Negotiated> {
        match &mut self.state {
            State::Negotiated(negotiated) => Some(negotiated),
            _ => None,
        }
    }

    /// Whether the driver has said DRIVER_OK and the device may use its queues.
    pub(crate) const fn is_active(&self) -> bool {
        matches!(self.state, State::Active(_))
    }

    /// Whether the driver has to wait until the device has stopped.
    pub(crate) const fn is_resetting(&self) -> bool {
        matches!(self.state, State::Resetting { .. })
    }

    /// Whether the answer to an activation is waited for.
    pub(crate) const fn is_told(&self) -> bool {
        matches!(self.state, State::Active(Active { phase: Phase::Told(_), .. }))
    }

    pub(crate) const fn is_broken(&self) -> bool {
        matches!(self.state, State::Active(Active { broken: true, .. }))
    }

    /// What the driver accepted, to be read back.
    pub(crate) fn accepted(&self) -> Accepted {
        match &self.state {
            State::Negotiating(negotiating) => negotiating.accepted,
            State::Negotiated(before) | State::Active(Active { before, .. }) => before.accepted,
            State::Resetting { .. } => Accepted::default(),
        }
    }

    const fn queue(&self) -> Option<&Negotiated> {
        match &self.state {
            State::Negotiated(before) | State::Active(Active { before, .. }) => Some(before),
            _ => None,
        }
    }

    fn at(&self, queue: usize) -> Option<&Queue> {
        self.queue()?.queues.get(queue)
    }

    pub(crate) fn queue_size(&self, queue: usize) -> u16 {
        match self.at(queue) {
            Some(Queue::Off(settings)) => settings.size(),
            Some(Queue::On(ring)) => ring.size,
            None => self.queue_size,
        }
    }

    pub(crate) fn is_enabled(&self, queue: usize) -> bool {
        matches!(self.at(queue), Some(Queue::On(_)))
    }

    pub(crate) fn queue_address(&self, queue: usize, area: Area, half: Half) -> [u8; 4] {
        match self.at(queue) {
            Some(Queue::Off(settings)) => settings.address(area, half),
            Some(Queue::On(ring)) => ring.address(area, half),
            None => [0; 4],
        }
    }

    /// Whether [`Life::take_request`] has something.
    pub(crate) const fn has_request(&self) -> bool {
        matches!(
            self.state,
            State::Active(Active { phase: Phase::Requested, .. })
                | State::Resetting { told: None, .. }
        )
    }

    /// What the device has to be told, once. There is never more than one thing: a reset that comes
    /// before the activation was taken cancels it, and nothing is written during a reset.
    pub(crate) fn take_request(&mut self) -> Option<Request> {
        let ticket = Ticket(self.tickets.wrapping_add(1));
        let request = match &mut self.state {
            State::Active(active) if active.phase == Phase::Requested => {
                active.phase = Phase::Told(ticket);
                Request::Activate(ticket, active.before.activation())
            }
            State::Resetting { told, .. } if told.is_none() => {
                *told = Some(ticket);
                Request::Reset(ticket)
            }
            _ => return None,
        };
        self.tickets = ticket.0;
        Some(request)
    }

    /// The device answered to an activation. An answer that comes after the driver asked for a
    /// reset is for nobody.
    pub(crate) fn activated(&mut self, ticket: Ticket, runs: bool) {
        if let State::Active(active) = &mut self.state
            && active.phase == Phase::Told(ticket)
        {
            active.phase = Phase::Running;
            active.broken |= !runs;
        }
    }

    /// The device has stopped.
    pub(crate) fn stopped(&mut self, ticket: Ticket) {
        if let State::Resetting { told, .. } = &self.state
            && *told == Some(ticket)
        {
            self.state = State::Negotiating(Negotiating::default());
        }
    }

    /// The device cannot go on; says whether the driver has to be told.
    pub(crate) const fn broke(&mut self) -> bool {
        match &mut self.state {
            State::Active(active) if !active.broken => {
                active.broken = true;
                true
            }
            _ => false,
        }
    }
}
