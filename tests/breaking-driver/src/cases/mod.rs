//! The cases, by what they break. Each begins with a device in whatever state the last good read
//! left it.

mod block;
mod chains;
mod life;
mod pci;
mod queues;
mod rings;

use crate::disk::Disk;
use crate::registers::Register;

/// A breach, and what it is looked at by.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    /// Of virtio 1.2, or of the PCI Local Bus Specification 3.0.
    pub section: &'static str,
    pub on_read_only: bool,
    pub run: fn(&mut Disk) -> String,
}

/// A case on the disk that can be written.
const fn case(name: &'static str, section: &'static str, run: fn(&mut Disk) -> String) -> Case {
    Case { name, section, on_read_only: false, run }
}

pub fn all() -> impl Iterator<Item = &'static Case> {
    let parts = [life::CASES, queues::CASES, pci::CASES, rings::CASES, chains::CASES, block::CASES];
    parts.into_iter().flatten()
}

/// Writes a register; what it reads as afterwards.
fn try_to_set(disk: &Disk, register: Register, value: u64) -> String {
    let before = disk.get(register);
    disk.set(register, value);
    match disk.get(register) {
        after if after == before => "ignored".into(),
        after if after == value => "taken".into(),
        after => format!("reads {after:#x}"),
    }
}
