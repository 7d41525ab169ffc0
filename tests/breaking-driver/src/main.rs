//! PID 1 of a guest that drives its virtio devices itself, through sysfs and `/proc/self/pagemap`,
//! and breaks one rule after the other (virtio 1.2: sections 2, 4.1, 5.1 to 5.4 and 5.10).
//!
//! After each breach the device is reset, negotiated with again and used, and what comes back is
//! compared: whatever a driver did before, the next one finds a device that works. A line for each
//! case says what the device did; what it should have done is the test's on the host. What a
//! transport or a queue is, is broken on a disk; on the other devices their own rules are, and
//! those of a queue once more, since each device is a program of its own behind it.
//!
//! For plain guests: the pages of a process of a confidential guest are private.
//!
//! A panic here is the kernel's, and so the guest's failure.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test, in which everything unexpected is a panic"
)]

mod bar;
mod cases;
mod device;
mod disk;
mod memory;
mod packets;
mod pci;
mod registers;

use casemate_breaking_driver::WRITTEN;
use cases::Kind;
use device::Device;
use rustix::mount::{MountFlags, mount};
use rustix::system::RebootCommand;

fn main() {
    if std::process::id() != 1 {
        eprintln!("breaking-driver: runs only as PID 1 of a guest");
        std::process::exit(2);
    }
    for (kind, place) in [("proc", "/proc"), ("sysfs", "/sys")] {
        mount(kind, place, kind, MountFlags::empty(), None).unwrap();
    }
    let take = |kind: Kind| pci::Function::all(kind.function()).into_iter().map(Device::new);
    let (read_only, writable): (Vec<_>, Vec<_>) = take(Kind::Disk).partition(Device::is_read_only);
    let others = [Kind::Network, Kind::Console, Kind::Rng, Kind::Socket];
    let of = |kind: Kind, devices: Vec<Device>| devices.into_iter().map(move |one| (kind, one));
    let mut devices: Vec<(Kind, Device)> = of(Kind::Disk, writable)
        .chain(of(Kind::ReadOnlyDisk, read_only))
        .chain(others.into_iter().flat_map(|kind| of(kind, take(kind).collect())))
        .collect();
    let (mut cases, mut broken) = (0, 0);
    for case in cases::all() {
        let (kind, device) = devices.iter_mut().find(|(kind, _)| *kind == case.on).unwrap();
        let said = (case.run)(device);
        cases += 1;
        // Another sector each time: bytes that are left over from the last one are wrong.
        let after = kind.works(device, cases % WRITTEN);
        broken += u32::from(after.is_err());
        let after = after.map_or_else(|why| format!("BROKEN: {why}"), |()| "works".into());
        println!("case {} ({}): {said}; then {after}", case.name, case.section);
    }
    let stayed = devices.iter().all(|(_, device)| device.memory.stayed());
    println!("cases {cases}, broken {broken}, pages stayed {stayed}");
    for (_, device) in &mut devices {
        device.reset();
    }
    rustix::system::reboot(RebootCommand::PowerOff).unwrap();
}
