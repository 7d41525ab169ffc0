//! What a device is to the frame around it.

use crate::pulse::{Place, Pulse};
use crate::throttle::Throttle;
use casemate_device_queue::{GuestMemory, Request};

/// A device that answers requests one by one, in order. Its queues are served by a thread each.
pub trait Device: Send + Sync + 'static {
    /// What a queue's thread keeps from request to request, made before the lock: buffers.
    type Lane: Send + 'static;

    /// Features of this device type that it offers. The frame adds those of the transport.
    fn features(&self) -> u64;

    /// Its configuration space; read-only.
    fn config(&self) -> &[u8];

    /// How many queues it has.
    fn queues(&self) -> u16;

    /// How many answers the driver may be left untold of while more requests wait: each costs it an
    /// interrupt, and waiting for the next costs it time.
    fn burst(&self) -> u16;

    /// What bounds how much of it its guest gets, where something does.
    fn throttle(&self) -> Option<&Throttle> {
        None
    }

    /// What one queue's thread keeps.
    fn lane(&self) -> Self::Lane;

    /// Answers one request: how many bytes of `request.writable` are written, from the first on.
    /// Every request has an answer; a device has no way to be silent.
    fn answer<M: GuestMemory>(
        &self,
        lane: &mut Self::Lane,
        turn: &Turn<'_>,
        request: Request<'_, M>,
    ) -> u32;
}

/// What is around one request.
pub struct Turn<'a> {
    features: u64,
    tell: &'a dyn Fn(),
    pulse: &'a Pulse,
}

impl std::fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("features", &self.features).finish_non_exhaustive()
    }
}

impl<'a> Turn<'a> {
    /// The turn of a request, with the features that the driver took. `tell` tells it of the
    /// answers that it has not been told of; `pulse` is the thread's that serves it.
    pub const fn new(features: u64, tell: &'a dyn Fn(), pulse: &'a Pulse) -> Self {
        Self { features, tell, pulse }
    }

    /// Whether the driver took every feature of `mask`.
    #[must_use]
    pub const fn has(&self, mask: u64) -> bool {
        self.features & mask == mask
    }

    /// To be called before something that takes long: tells the driver of what is done so far.
    pub fn about_to_wait(&self) {
        (self.tell)();
    }

    /// Does something that takes as long as the device's storage does: who watches the process
    /// takes none of it for a hang.
    pub fn storing<T>(&self, store: impl FnOnce() -> T) -> T {
        self.pulse.step(Place::Stores);
        let stored = store();
        self.pulse.step(Place::Works);
        stored
    }
}
