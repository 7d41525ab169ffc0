//! Why a VM stopped.

use crate::event::Event;
use crate::exits::Stop;
use std::sync::{Mutex, PoisonError};

/// Where whoever stops the VM first leaves the reason.
#[derive(Debug)]
pub(super) struct StopSlot {
    reason: Mutex<Option<Stop>>,
    event: Event,
}

impl StopSlot {
    /// Empty; `event` is signalled when there is a reason.
    pub(super) const fn new(event: Event) -> Self {
        Self { reason: Mutex::new(None), event }
    }

    /// The first reason is the one that counts.
    pub(super) fn set(&self, stop: Stop) {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(stop);
        self.event.signal();
    }

    /// The first reason that was given, if there is one.
    pub(super) fn get(&self) -> Option<Stop> {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
