//! The cases, by what they break. Each begins with a device in whatever state the last good read
//! left it.

mod block;
mod chains;
mod console;
mod life;
mod net;
mod pci;
mod queues;
mod rings;
mod rng;
mod vsock;

use crate::device::{Answer, Descriptor, Device, INDIRECT, NEXT, SILENCE, SIZE, WRITE};
use crate::registers::Register;

/// What a case is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Disk,
    ReadOnlyDisk,
    Network,
    Console,
    Rng,
    Socket,
}

/// A breach, and what it is looked at by.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    /// Of virtio 1.2, or of the PCI Local Bus Specification 3.0.
    pub section: &'static str,
    pub on: Kind,
    pub run: fn(&mut Device) -> String,
}

/// A case on the disk that can be written.
const fn case(name: &'static str, section: &'static str, run: fn(&mut Device) -> String) -> Case {
    Case { name, section, on: Kind::Disk, run }
}

pub fn all() -> impl Iterator<Item = &'static Case> {
    let disks = [life::CASES, queues::CASES, pci::CASES, rings::CASES, chains::CASES, block::CASES];
    let others = [rng::CASES, console::CASES, net::CASES, vsock::CASES];
    disks.into_iter().chain(others).flatten()
}

/// Writes a register; what it reads as afterwards.
fn try_to_set(disk: &Device, register: Register, value: u64) -> String {
    let before = disk.get(register);
    disk.set(register, value);
    match disk.get(register) {
        after if after == before => "ignored".into(),
        after if after == value => "taken".into(),
        after => format!("reads {after:#x}"),
    }
}

impl Kind {
    /// Whether a device does what it should, from a reset on.
    pub fn works(self, device: &mut Device, sector: u64) -> Result<(), String> {
        match self {
            Self::Disk | Self::ReadOnlyDisk => device.works(sector),
            Self::Network => net::works(device),
            Self::Console => console::works(device),
            Self::Rng => rng::works(device),
            Self::Socket => vsock::works(device),
        }
    }

    /// The number of its kind of PCI function (virtio 1.2, 4.1.2.1 and 5).
    pub const fn function(self) -> u16 {
        match self {
            Self::Network => 0x1041,
            Self::Disk | Self::ReadOnlyDisk => 0x1042,
            Self::Console => 0x1043,
            Self::Rng => 0x1044,
            Self::Socket => 0x1053,
        }
    }
}

/// Breaches of a queue that devices of every kind have, by the chain that `good` makes: what came
/// of each, and whether the queue went on afterwards, which `goes_on` finds out without a reset.
#[derive(Debug, Clone, Copy)]
pub struct Ways {
    /// Starts the device, turns to the queue, and makes a chain that the device takes.
    pub good: fn(&mut Device) -> Vec<Descriptor>,
    pub goes_on: fn(&mut Device) -> Result<(), String>,
}

impl Ways {
    /// Asks for a chain, and says what came of it and whether the queue goes on.
    pub fn ask(self, device: &mut Device, chain: &[Descriptor]) -> String {
        device.chain(0, chain);
        self.ask_table(device)
    }

    /// The same for the chain that is in the table.
    fn ask_table(self, device: &mut Device) -> String {
        device.offer(0);
        device.kick();
        self.said(device)
    }

    fn said(self, device: &mut Device) -> String {
        let came = match device.answer(SILENCE) {
            Answer::NeedsReset => return "needs reset".into(),
            Answer::Silent => "silent".into(),
            Answer::Given { id: 0, len } => format!("length {len}"),
            Answer::Given { id, .. } => format!("answers {id}"),
        };
        let after = (self.goes_on)(device);
        after.map_or_else(|why| format!("{came}, stops: {why}"), |()| format!("{came}, goes on"))
    }

    /// A chain of which `change` has changed something.
    pub fn changed(self, device: &mut Device, change: impl Fn(&mut Vec<Descriptor>)) -> String {
        let mut chain = (self.good)(device);
        change(&mut chain);
        self.ask(device, &chain)
    }

    pub fn loops(self, device: &mut Device) -> String {
        let chain = (self.good)(device);
        device.put(0, Descriptor { flags: chain[0].flags | NEXT, next: 0, ..chain[0] });
        self.ask_table(device)
    }

    pub fn next_beyond(self, device: &mut Device) -> String {
        let chain = (self.good)(device);
        device.put(0, Descriptor { flags: chain[0].flags | NEXT, next: SIZE, ..chain[0] });
        self.ask_table(device)
    }

    pub fn indirect(self, device: &mut Device) -> String {
        self.changed(device, |chain| chain[0].flags |= INDIRECT)
    }

    pub fn of_no_bytes(self, device: &mut Device) -> String {
        self.changed(device, |chain| chain.iter_mut().for_each(|piece| piece.len = 0))
    }

    pub fn of_all_bytes(self, device: &mut Device) -> String {
        self.changed(device, |chain| chain[0].len = u32::MAX)
    }

    pub fn beyond_ram(self, device: &mut Device) -> String {
        self.changed(device, |chain| chain[0].address = 256 << 20)
    }

    pub fn turned_round(self, device: &mut Device) -> String {
        self.changed(device, |chain| chain.iter_mut().for_each(|piece| piece.flags ^= WRITE))
    }

    pub fn head_beyond(self, device: &mut Device) -> String {
        (self.good)(device);
        device.offer(SIZE);
        device.kick();
        match device.answer(SILENCE) {
            Answer::Given { id, len } if id == u32::from(SIZE) => {
                let after = (self.goes_on)(device);
                format!("length {len}, {}", after.map_or_else(|why| why, |()| "goes on".into()))
            }
            other => format!("{other:?}"),
        }
    }

    pub fn index_jumps(self, device: &mut Device) -> String {
        (self.good)(device);
        device.jump(SIZE + 1);
        device.kick();
        self.said(device)
    }

    pub fn reset_in_flight(self, device: &mut Device) -> String {
        for _ in 0..20 {
            let chain = (self.good)(device);
            device.chain(0, &chain);
            (0..SIZE).for_each(|_| device.offer(0));
            device.kick();
            device.reset();
        }
        "reset".into()
    }
}
