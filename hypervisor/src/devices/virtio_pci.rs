//! A device process as the guest sees it: a virtio-pci function on the buses.
//!
//! The function itself is `casemate-device-transport`'s; here it meets the buses on one side and
//! [`Wires`] on the other, which carry out what its accesses ask for.

use crate::bus::{BusDevice, Effect};
use casemate_device_transport::{Activation, Effects, Function, Message, Request, Ticket};

/// Kinds of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum VirtioKind {
    /// A disk.
    Block = 1,
}

impl VirtioKind {
    /// Every kind.
    pub const ALL: [Self; 1] = [Self::Block];

    /// Its number in virtio 1.2, section 5.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Block => 2,
        }
    }

    /// PCI class, subclass and interface.
    #[must_use]
    pub const fn class(self) -> u32 {
        match self {
            // Mass storage, other: no driver but virtio's may think that it knows it.
            Self::Block => 0x01_80_00,
        }
    }

    /// Features of the kind that a back end may offer a guest. The rest has no place here: what
    /// needs a configuration that can be written or that is longer than what is asked for, and
    /// commands that pass through to hardware.
    #[must_use]
    pub const fn features(self) -> u64 {
        match self {
            // SIZE_MAX, SEG_MAX, GEOMETRY, RO, BLK_SIZE, FLUSH, TOPOLOGY, MQ, DISCARD,
            // WRITE_ZEROES (virtio 1.2, 5.2.3): not CONFIG_WCE, LIFETIME, SECURE_ERASE, ZONED, nor
            // SCSI of before.
            Self::Block => 0x7676,
        }
    }

    /// The configuration as the guest is shown it, of what a back end said; None when no device of
    /// this kind says so.
    #[must_use]
    pub fn configuration(self, mut said: Vec<u8>, queues: u16) -> Option<Vec<u8>> {
        match self {
            Self::Block => {
                // `capacity`: another device's configuration, or none, has nothing there.
                let capacity = said.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
                capacity.filter(|sectors| *sectors > 0)?;
                // `num_queues`: a driver that believes in more than there are finds none of them
                // (`vp_setup_vq`), and gives the disk up.
                let queues = queues.to_le_bytes();
                said.iter_mut().skip(34).zip(queues).for_each(|(to, from)| *to = from);
            }
        }
        Some(said)
    }

    /// Bytes of its configuration that are asked for.
    #[must_use]
    pub const fn config(self) -> usize {
        match self {
            // `struct virtio_blk_config` up to and with `unused1` after `write_zeroes_may_unmap`
            // (5.2.4): what back ends without secure erase and zones have.
            Self::Block => 60,
        }
    }
}

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
    /// Joins the two.
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

#[cfg(test)]
mod tests {
    use super::VirtioKind;

    /// Protects the guest from a back end of others: what it reads of its disk is what there is, and
    /// what nobody has looked through it is not offered. What of it is a lie, no one can tell.
    #[test]
    fn what_a_back_end_says_of_a_disk_is_shown_as_far_as_it_was_looked_through() {
        let disk = VirtioKind::Block;
        let mut said = vec![0; disk.config()];
        assert_eq!(disk.configuration(said.clone(), 2), None, "no disk has no sectors");
        assert_eq!(disk.configuration(vec![0; 7], 2), None);
        said[0] = 8;
        said[34..36].copy_from_slice(&16_u16.to_le_bytes());
        let shown = disk.configuration(said.clone(), 2).unwrap();
        assert_eq!((&shown[..34], &shown[34..36]), (&said[..34], &[2, 0][..]));
        assert_eq!(shown[36..], said[36..]);
        // CONFIG_WCE writes the configuration; the others are longer than what is asked for, or
        // lead to the host's hardware.
        for (bit, offered) in [(5, true), (9, true), (12, true), (7, false), (11, false)] {
            assert_eq!(disk.features() & 1 << bit != 0, offered, "{bit}");
        }
        assert_eq!(disk.features() >> 15, 0, "LIFETIME, SECURE_ERASE, ZONED and what is to come");
    }
}
