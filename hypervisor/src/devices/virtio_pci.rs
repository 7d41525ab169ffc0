//! A device process as the guest sees it: a virtio-pci function on the buses.
//!
//! The function itself is `casemate-device-transport`'s; here it meets the buses on one side and
//! [`Wires`] on the other, which carry out what its accesses ask for.

use crate::bus::{BusDevice, Effect};
use casemate_device_transport::{Activation, Effects, Function, Message, Request, Ticket};

/// Largest queue of any device.
pub const QUEUE_SIZE: u16 = 256;

/// What a function's accesses lead to. Called with the function in the hand, by vCPUs too: nothing
/// of it waits for a device.
pub trait Wires: Send {
    /// Interrupts go here from now on: each queue's, then that for changes of configuration.
    fn route(&mut self, routes: &mut dyn Iterator<Item = Option<Message>>);
    /// Raises a queue's interrupt.
    fn interrupt(&mut self, queue: u16);
    /// Raises the interrupt for changes of configuration.
    fn interrupt_config(&mut self);
    /// Wakes the device for a queue.
    fn kick(&mut self, queue: u16);
    /// Wakes the thread that talks to the device.
    fn request(&mut self);
}

/// A function and its wires.
pub struct VirtioPci {
    function: Function,
    wires: Box<dyn Wires>,
}

impl std::fmt::Debug for VirtioPci {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtioPci").field("kind", &self.function.identity().kind).finish()
    }
}

impl VirtioPci {
    /// A function whose accesses lead to these wires.
    #[must_use]
    pub fn new(function: Function, wires: Box<dyn Wires>) -> Self {
        Self { function, wires }
    }

    /// What the device has to be told now.
    pub fn take_request(&mut self) -> Option<Request> {
        self.function.take_request()
    }

    /// The device runs, or cannot.
    pub fn activated(&mut self, ticket: Ticket, runs: bool) {
        let effects = self.function.activated(ticket, runs);
        self.perform(effects);
    }

    /// The device has stopped.
    pub fn stopped(&mut self, ticket: Ticket) {
        let effects = self.function.stopped(ticket);
        self.perform(effects);
    }

    /// The device cannot go on.
    pub fn broke(&mut self) {
        let effects = self.function.broke();
        self.perform(effects);
    }

    /// Raises the interrupt of each queue that runs, once: another process has taken the device
    /// over, and the one before it may have owed one. An interrupt for nothing is legal (virtio
    /// 1.2, 4.1.4.5); one that has no route now is raised when it has one again.
    pub fn interrupt_all(&mut self, running: &Activation) {
        for (queue, ring) in (0..).zip(&running.rings) {
            if ring.is_some() {
                self.wires.interrupt(queue);
            }
        }
    }

    pub(super) fn config_read(&self, offset: u64, data: &mut [u8]) {
        self.function.config_read(offset, data);
    }

    pub(super) fn config_write(&mut self, offset: u64, data: &[u8]) {
        let effects = self.function.config_write(offset, data);
        self.perform(effects);
    }

    /// Routes first: an interrupt that is raised before KVM has its route is lost.
    fn perform(&mut self, effects: Effects) {
        if effects.routes {
            self.wires.route(&mut self.function.routes());
        }
        for queue in effects.signal.iter() {
            self.wires.interrupt(queue);
        }
        if effects.signal_config {
            self.wires.interrupt_config();
        }
        for queue in effects.kick.iter() {
            self.wires.kick(queue);
        }
        if effects.request {
            self.wires.request();
        }
    }
}

/// The BAR. Nothing in it ends a VM.
impl BusDevice for VirtioPci {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        self.function.bar_read(offset, data);
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        let effects = self.function.bar_write(offset, data);
        self.perform(effects);
        Effect::None
    }
}
