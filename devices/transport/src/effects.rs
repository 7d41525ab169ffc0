//! What an access asks of the rest of the VM, as data.

use crate::identity::MAX_QUEUES;
use crate::ring::Ring;

/// Queues of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueSet(u32);

impl QueueSet {
    pub(crate) fn insert(&mut self, queue: u16) {
        self.0 |= 1_u32.checked_shl(queue.into()).unwrap_or(0);
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Only this one, or none.
    pub(crate) fn of(queue: Option<u16>) -> Self {
        let mut set = Self::default();
        queue.into_iter().for_each(|queue| set.insert(queue));
        set
    }

    /// The queues in it, ascending.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        (0..MAX_QUEUES).filter(move |queue| self.0 & 1 << queue != 0)
    }
}

/// What the thread that made an access, or told of a device, has to do next. None of it can block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct Effects {
    /// Interrupts go elsewhere now: [`Function::route`](crate::Function::route) of this function's
    /// sources has changed.
    pub routes: bool,
    /// Raise these queues' interrupts once, after the routes were changed: while their vector led
    /// nowhere an interrupt may have come.
    pub signal: QueueSet,
    /// Raise the interrupt for changes of configuration, after the routes were changed.
    pub signal_config: bool,
    /// [`Function::take_request`](crate::Function::take_request) has something for the thread that
    /// talks to the device.
    pub request: bool,
    /// Wake the device for these queues: a doorbell was rung and KVM did not take it, or the device
    /// has just begun. A driver rings as soon as it has said DRIVER_OK, when its device is perhaps
    /// still being told of its rings; one that listens already takes the event, finds no ring, and
    /// would never look again (QEMU's storage daemon does so).
    pub kick: QueueSet,
}

/// What can raise an interrupt of the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A queue whose used ring has grown.
    Queue(u16),
    /// A change of configuration, which here is only: the device needs a reset.
    Config,
}

/// Which request an answer belongs to: an answer to an older one is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ticket(pub(crate) u64);

/// What the device has to be told, by a thread that may wait for it.
#[allow(
    clippy::large_enum_variant,
    reason = "one lives at a time, and a box would allocate in a process whose heap is frozen"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Begin: answer with [`Function::activated`](crate::Function::activated).
    Activate(Ticket, Activation),
    /// Stop, touch guest memory no more: answer with
    /// [`Function::stopped`](crate::Function::stopped) once that is certain.
    Reset(Ticket),
}

/// What driver and transport agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activation {
    /// Features for the device: never ACCESS_PLATFORM.
    pub features: u64,
    /// The queues that the driver enabled, by their numbers.
    pub rings: [Option<Ring>; MAX_QUEUES as usize],
}
