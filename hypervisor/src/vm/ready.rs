//! A VM whose threads are there and have not entered its guest, and the host's ends of it.

use super::orders::Orders;
use super::stop_slot::StopSlot;
use crate::devices::{ConsoleQueue, Uart};
use crate::event::Event;
use crate::exits::{ExitCounts, ExitTotals, Machine, Stop};
use crate::kvm::{SnpVm, Vm};
use crate::memory::{GuestRam, PageStateTotals};
use std::os::fd::RawFd;
use std::sync::{Arc, Barrier, Mutex};

/// The host's ends of the VM's devices.
#[derive(Debug)]
pub struct Ends {
    /// Console output.
    pub console: ConsoleQueue,
    /// Signalled when there is console output.
    pub output_ready: Event,
    /// Signalled when the guest has taken all console input.
    pub input_drained: Event,
    /// The serial port, for console input.
    pub uart: Arc<Mutex<Uart>>,
    /// The serial port's interrupt line.
    pub serial_line: Event,
    /// Signal it to press the power button.
    pub power_button: Event,
    /// Signalled when the VM has stopped.
    pub stopped: Event,
    /// What is decided about devices whose processes are gone.
    pub orders: Orders,
}

/// What a confidential VM has more once its guest is loaded.
#[derive(Debug)]
pub(super) struct Snp {
    pub(super) vm: SnpVm,
    /// The guest_memfds.
    pub(super) files: Vec<RawFd>,
}

/// A VM whose threads were made and may not have begun: what a thread does before its first line,
/// a filter of system calls would end.
///
/// On another processor that takes until it has been woken, for which there is something else to
/// do.
#[derive(Debug)]
#[must_use = "the threads wait for whoever made them"]
pub struct Beginning {
    pub(super) ready: Arc<Barrier>,
    pub(super) then: Ready,
}

impl Beginning {
    /// The host's ends.
    #[must_use]
    pub const fn ends(&self) -> &Ends {
        &self.then.ends
    }

    /// Waits until every thread has begun.
    pub fn begun(self) -> Ready {
        self.ready.wait();
        self.then
    }
}

/// A VM whose threads wait to enter the guest.
#[derive(Debug)]
pub struct Ready {
    pub(super) go: Arc<Barrier>,
    pub(super) stop: Arc<StopSlot>,
    /// The host's ends.
    pub ends: Ends,
    pub(super) machine: Arc<Machine>,
    pub(super) counts: Vec<Arc<ExitCounts>>,
    // KVM refers to the mappings, and to /dev/sev, as long as the process lives.
    pub(super) _vm: Arc<Vm>,
    pub(super) _snp: Option<Snp>,
    pub(super) _ram: GuestRam,
}

impl Ready {
    /// Lets every vCPU enter the guest.
    pub fn go(&self) {
        self.go.wait();
    }

    /// How often each vCPU has left the guest so far, by its index.
    pub fn exits(&self) -> impl Iterator<Item = (u32, ExitTotals)> {
        (0..).zip(self.counts.iter().map(|counts| counts.totals()))
    }

    /// How the guest has changed its pages so far; None where it cannot.
    #[must_use]
    pub fn page_states(&self) -> Option<PageStateTotals> {
        self.machine.pages.totals()
    }

    /// Why the VM stopped, once it has.
    #[must_use]
    pub fn stop_reason(&self) -> Option<Stop> {
        self.stop.get()
    }
}
