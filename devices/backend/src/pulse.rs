//! What each thread of a device process is doing, for whoever watches the process: told without
//! waiting for the thread, which may hang.
//!
//! A clock alone cannot tell a hang from a disk that takes long. So each thread counts its steps,
//! and says where it is: one that waits for its front end, its guest or its storage may do so for
//! ever; one that is at work and comes no further does not do what its program says.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Where a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// It waits for its guest, or its front end.
    Waits = 0,
    /// It is at work: each step of it takes microseconds.
    Works = 1,
    /// The kernel reads or writes the device's storage for it, however long that takes.
    Stores = 2,
}

impl Place {
    /// Every place.
    pub const ALL: [Self; 3] = [Self::Waits, Self::Works, Self::Stores];
}

/// What was seen of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Steps that it has made; wraps.
    pub steps: u32,
    /// Where it is.
    pub place: Place,
}

/// A thread's steps and place. Two numbers that are not read together: a place may be one step
/// older than the count, which a second look tells.
#[derive(Debug, Default)]
pub struct Pulse {
    steps: AtomicU32,
    place: AtomicU8,
}

impl Pulse {
    /// The thread goes on, to this place.
    pub(crate) fn step(&self, place: Place) {
        // One writer: no need of an atomic addition.
        let steps = self.steps.load(Ordering::Relaxed).wrapping_add(1);
        self.place.store(place as u8, Ordering::Relaxed);
        self.steps.store(steps, Ordering::Relaxed);
    }

    /// What is seen of it.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let place = self.place.load(Ordering::Relaxed);
        let place = Place::ALL.into_iter().find(|known| *known as u8 == place);
        Seen { steps: self.steps.load(Ordering::Relaxed), place: place.unwrap_or(Place::Waits) }
    }
}
