//! Devices that are processes of their own, as the vmm process has them: made before the lock,
//! with every event and route slot that they will ever use.
//!
//! A doorbell is an ioeventfd, an interrupt an irqfd, and there is a line for each queue, so the
//! data path never enters this process. Afterwards only the routing table changes.

use super::device_thread::{Served, Whose};
use super::engine_error::EngineError;
use super::orders::{MOST, Orders};
use super::stop_slot::StopSlot;
use crate::config::{MAX_DISKS, MAX_NETS};
use crate::devices::virtio_pci::QUEUE_SIZE;
use crate::devices::{VirtioPci, Wires};
use crate::event::Event;
use crate::exits::{DeviceFault, Stop};
use crate::kvm::{FIRST_DEVICE_GSI, Routing, Vm};
use crate::memory::{GuestRam, HOLE_START};
use crate::vhost_user::{
    BackEnd, BackEndError, FIRST_PATIENCE, Greeted, Offer, PATIENCE, QueueEvents, RingEvents, Wish,
};
use casemate_device_net::feature;
use casemate_device_process::DeviceKind;
use casemate_device_transport::{BAR_SIZE, Function, Identity, Message, doorbell};
use kvm_ioctls::IoEventAddress;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex};

/// Most devices of a VM, disks, network devices and one of each other kind: each has a thread, and
/// a bit in an order.
pub const MAX_DEVICES: usize = MAX_DISKS + MAX_NETS + DeviceKind::ALL.len() - 2;
const _: () = assert!(MAX_DEVICES <= MOST, "each can have an order");

/// Whose program the back end of a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BackEndOf {
    /// A device process of ours, which gets everything once and then locks itself.
    Ours = 1,
    /// A program of others, which takes events anew with each activation.
    Others = 2,
}

impl BackEndOf {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ours, Self::Others];
}

/// Queues of a socket device, served by one thread of its process.
pub(super) const VSOCK_QUEUES: u16 = casemate_device_vsock::QUEUES;
/// Queues of a network device.
pub(super) const NET_QUEUES: u16 = casemate_device_net::QUEUES;

/// What is in the place of an MTU that no guest is told: the feature is not offered.
const MTU: u16 = 1500;

/// A back end, to be spoken to by its socket.
#[derive(Debug)]
pub struct DeviceSocket {
    /// What it is.
    pub kind: DeviceKind,
    /// Whose.
    pub of: BackEndOf,
    /// Its queues.
    pub queues: u16,
    /// STREAM.
    pub socket: OwnedFd,
    /// The same of the process that goes on when that one is gone.
    pub standby: Option<OwnedFd>,
    /// The guest's address on the link of a network device, for a back end that knows nothing of
    /// it.
    pub mac: Option<[u8; 6]>,
}

/// Descriptors that the locked process uses for devices.
#[derive(Debug, Clone, Default)]
pub struct DeviceFds {
    /// The processes' sockets.
    pub sockets: Vec<RawFd>,
    /// Those among them that lead to programs of others, which take descriptors.
    pub foreign: Vec<RawFd>,
    /// Events that are taken.
    pub taken: Vec<RawFd>,
    /// Events that are signalled.
    pub signalled: Vec<RawFd>,
    /// The VM, whose routes change.
    pub routing: Vec<RawFd>,
}

/// What KVM has of the VM's devices: every event, tied to its doorbell or interrupt line, before
/// anything is known of what the devices are. After it no descriptor is opened.
#[derive(Debug)]
pub(super) struct Lines {
    devices: Vec<Line>,
    /// None without devices.
    routing: Option<Arc<Routing>>,
    stop: Arc<StopSlot>,
    /// What is decided about devices whose processes are gone.
    orders: Orders,
    fds: DeviceFds,
}

/// One device's.
#[derive(Debug)]
struct Line {
    device: DeviceSocket,
    number: u8,
    bar: u64,
    /// Its first source of interrupts: one for each queue, then that for changes of configuration.
    first: usize,
    kicks: Vec<Event>,
    calls: Vec<Event>,
    config: Event,
    error: Event,
    /// Signalled when the device has to be told something.
    wake: Event,
}

/// The VM's devices, wired.
#[derive(Debug)]
pub(super) struct Wired {
    /// As the guest sees them, with where their BARs are.
    pub(super) functions: Vec<(u64, Arc<Mutex<VirtioPci>>)>,
    /// As their threads see them.
    pub(super) served: Vec<Served>,
    /// What is decided about them.
    pub(super) orders: Orders,
    /// Descriptors for the profile.
    pub(super) fds: DeviceFds,
}

impl Lines {
    /// Makes the lines of so many devices; `stopped` is signalled when the VM has stopped.
    pub(super) fn new(
        vm: &Arc<Vm>,
        devices: Vec<DeviceSocket>,
        stopped: &Event,
    ) -> Result<Self, EngineError> {
        let stop = Arc::new(StopSlot::new(stopped.clone()));
        let sources = devices.iter().map(|device| usize::from(device.queues) + 1).sum();
        let wakes: Arc<[Event]> = devices.iter().map(|_| event()).collect::<Result<_, _>>()?;
        let mut lines = Self {
            devices: Vec::new(),
            routing: None,
            orders: Orders::new(wakes.clone()),
            stop,
            fds: DeviceFds::default(),
        };
        if devices.is_empty() {
            return Ok(lines);
        }
        lines.routing = Some(Arc::new(Routing::new(vm.clone(), sources)?));
        lines.fds.routing.push(vm.raw_fd());
        let mut first = 0;
        for ((number, device), wake) in (0..).zip(devices).zip(wakes.iter()) {
            let next = first + usize::from(device.queues) + 1;
            let line = Line::new(vm, (number, device), first, wake.clone())?;
            first = next;
            let DeviceSocket { of, socket, standby, .. } = &line.device;
            let sockets = std::iter::once(socket).chain(standby).map(AsRawFd::as_raw_fd);
            lines.fds.sockets.extend(sockets);
            if *of == BackEndOf::Others {
                lines.fds.foreign.push(socket.as_raw_fd());
            }
            let raw = |event: &Event| event.as_fd().as_raw_fd();
            let signalled = line.kicks.iter().chain(&line.calls).chain([&line.config, &line.wake]);
            lines.fds.signalled.extend(signalled.map(raw));
            lines.fds.taken.extend([&line.error, &line.wake].map(raw));
            lines.devices.push(line);
        }
        Ok(lines)
    }

    /// Where the reason of the VM's end will be.
    pub(super) fn stop(&self) -> Arc<StopSlot> {
        self.stop.clone()
    }

    /// Where orders about devices are given.
    pub(super) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Greets every device process, and hands memory and events over. Gives the functions, which
    /// are on no bus yet.
    pub(super) fn join(self, ram: &GuestRam) -> Result<Wired, EngineError> {
        let Self { devices, routing, orders, stop, fds } = self;
        let mut wired = Wired { functions: Vec::new(), served: Vec::new(), orders, fds };
        for line in devices {
            let Some(routing) = &routing else { break };
            let bar = line.bar;
            let served = line.join(ram, routing, &stop)?;
            wired.functions.push((bar, served.shared_function()));
            wired.served.push(served);
        }
        // All of them lock themselves at the same time, and the guest does not run before.
        for served in &wired.served {
            served.settle().map_err(|(number, source)| EngineError::Device { number, source })?;
        }
        Ok(wired)
    }
}

impl Line {
    fn new(
        vm: &Vm,
        (number, device): (u8, DeviceSocket),
        first: usize,
        wake: Event,
    ) -> Result<Self, EngineError> {
        let bar = HOLE_START + BAR_SIZE * (u64::from(number) + 1);
        let events = || (0..device.queues).map(|_| event()).collect::<Result<Vec<Event>, _>>();
        let (kicks, calls) = (events()?, events()?);
        let (config, error) = (event()?, event()?);
        let gsi = FIRST_DEVICE_GSI.saturating_add(u32::try_from(first).unwrap_or(u32::MAX));
        for (gsi, call) in (gsi..).zip(calls.iter().chain([&config])) {
            vm.add_irqfd(call, gsi)?;
        }
        for (queue, kick) in (0..).zip(&kicks) {
            vm.add_ioeventfd(kick, &IoEventAddress::Mmio(bar + doorbell(queue)))?;
        }
        Ok(Self { device, number, bar, first, kicks, calls, config, error, wake })
    }

    /// Gives the device its function and its process what it needs.
    fn join(
        self,
        ram: &GuestRam,
        routing: &Arc<Routing>,
        stop: &Arc<StopSlot>,
    ) -> Result<Served, EngineError> {
        let Self { device, number, bar, first, kicks, calls, config, error, wake } = self;
        let DeviceSocket { kind, of, queues, socket, standby, mac } = device;
        let wrong = |source| match of {
            BackEndOf::Ours => EngineError::Device { number, source },
            BackEndOf::Others => EngineError::Foreign { number, source },
        };
        let whose = match (of, kind) {
            (BackEndOf::Others, _) => Whose::Others,
            (BackEndOf::Ours, kind) if kind.is_watched() => Whose::Watched,
            (BackEndOf::Ours, _) => Whose::Unwatched,
        };
        let kind = kind.description();
        let wish = match mac {
            Some(_) => Wish { queues, least: 1, config: 0 },
            None => Wish { queues, least: queues, config: kind.config },
        };
        let patience = match of {
            BackEndOf::Ours => PATIENCE,
            BackEndOf::Others => FIRST_PATIENCE,
        };
        // Both have the same, all of it before the lock: a standby lacks nothing but its rings.
        let joined = |socket| -> Result<(Offer, BackEnd), EngineError> {
            let (greeted, offer) = Greeted::greet(socket, wish, patience).map_err(wrong)?;
            let back_end = hand_over(greeted, of, ram, (&kicks, &calls, &error)).map_err(wrong)?;
            Ok((offer, back_end))
        };
        let (mut offer, back_end) = joined(socket)?;
        if let Some(mac) = mac {
            // What a front end knows by itself; the back end is not told that a guest took it.
            offer.config = casemate_device_net::config(mac, MTU).to_vec();
            offer.features = offer.features & !feature::MTU | feature::MAC;
        }
        let standby = match standby.map(joined).transpose()? {
            // The guest has negotiated with the first, so the second has to be it.
            Some((other, _)) if other != offer => return Err(EngineError::Standby { number }),
            standby => standby.map(|(_, back_end)| back_end),
        };
        let shown = (kind.shown)(offer.config, queues);
        let shown = shown.ok_or_else(|| wrong(BackEndError::OtherKind))?;
        let identity = Identity {
            kind: kind.virtio,
            class: kind.class,
            features: offer.features & kind.features,
            queues,
            queue_size: QUEUE_SIZE,
            config: shown,
            bar: u32::try_from(bar).unwrap_or(0),
        };
        let function = Function::new(identity, ram.map().clone())
            .map_err(|source| EngineError::Identity { number, source })?;
        let (routing, stop, its_wake) = (routing.clone(), stop.clone(), wake.clone());
        // A write to an event that others share could wait for ever: they can fill it, and take its
        // O_NONBLOCK away.
        let kicks = if of == BackEndOf::Others { Vec::new() } else { kicks };
        let wires = DeviceWires { number, first, routing, kicks, calls, config, wake, stop };
        let function = Arc::new(Mutex::new(VirtioPci::new(function, Box::new(wires))));
        Ok(Served::new((number, whose), function, (back_end, standby), (its_wake, error)))
    }
}

/// Gives a back end guest memory, and the events of its queues when it takes them.
fn hand_over(
    greeted: Greeted,
    of: BackEndOf,
    ram: &GuestRam,
    (kicks, calls, error): (&[Event], &[Event], &Event),
) -> Result<BackEnd, BackEndError> {
    let (memory, ranges, pairs) = (ram.file().as_fd(), ram.map().ranges(), kicks.iter().zip(calls));
    match of {
        BackEndOf::Ours => {
            let pairs: Vec<QueueEvents<'_>> = pairs
                .map(|(kick, call)| QueueEvents { kick: kick.as_fd(), call: call.as_fd() })
                .collect();
            greeted.hand_over(memory, ranges, &pairs, error.as_fd())
        }
        BackEndOf::Others => {
            let events = pairs.map(|(kick, call)| {
                // Rung before anybody shares it: a ring begins with a kick, for what was made
                // available before. Afterwards it is KVM's to ring, which never waits.
                kick.signal();
                RingEvents { kick: kick.clone(), call: call.clone() }
            });
            greeted.hand_over_to_others(memory, ranges, events.collect())
        }
    }
}

fn event() -> Result<Event, EngineError> {
    Event::new().map_err(EngineError::Event)
}

/// A device's wires in a VM of KVM's.
struct DeviceWires {
    number: u8,
    first: usize,
    routing: Arc<Routing>,
    kicks: Vec<Event>,
    calls: Vec<Event>,
    config: Event,
    wake: Event,
    stop: Arc<StopSlot>,
}

impl Wires for DeviceWires {
    fn route(&mut self, routes: &mut dyn Iterator<Item = Option<Message>>) {
        // A guest whose interrupts go somewhere else than it believes is not let run on.
        if self.routing.change(self.first, routes).is_err() {
            let fault = DeviceFault::Routes;
            self.stop.set(Stop::DeviceFailed { device: self.number, fault });
        }
    }

    fn interrupt(&mut self, queue: u16) {
        if let Some(call) = self.calls.get(usize::from(queue)) {
            call.signal();
        }
    }

    fn interrupt_config(&mut self) {
        self.config.signal();
    }

    fn kick(&mut self, queue: u16) {
        if let Some(kick) = self.kicks.get(usize::from(queue)) {
            kick.signal();
        }
    }

    fn request(&mut self) {
        self.wake.signal();
    }
}
