//! PID 1 of a guest that drives its virtio disks itself, through sysfs and `/proc/self/pagemap`,
//! and breaks one rule after the other (virtio 1.2: sections 2, 4.1 and 5.2).
//!
//! After each breach the device is reset, negotiated with again and read from, and the bytes are
//! compared: whatever a driver did before, the next one finds a device that works. A line for each
//! case says what the device did; what it should have done is the test's on the host.
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
mod disk;
mod memory;
mod pci;
mod registers;

use casemate_breaking_driver::WRITTEN;
use disk::Disk;
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
    let disks = pci::Function::all().into_iter().map(Disk::new);
    let (mut read_only, mut writable): (Vec<_>, Vec<_>) = disks.partition(Disk::is_read_only);
    let (mut cases, mut broken) = (0, 0);
    for case in cases::all() {
        let disks = if case.on_read_only { &mut read_only } else { &mut writable };
        let disk = disks.first_mut().unwrap();
        let said = (case.run)(disk);
        cases += 1;
        // Another sector each time: bytes that are left over from the last one are wrong.
        let after = disk.works(cases % WRITTEN);
        broken += u32::from(after.is_err());
        let after = after.map_or_else(|why| format!("BROKEN: {why}"), |()| "works".into());
        println!("case {} ({}): {said}; then {after}", case.name, case.section);
    }
    let stayed = read_only.iter().chain(&writable).all(|disk| disk.memory.stayed());
    println!("cases {cases}, broken {broken}, pages stayed {stayed}");
    for disk in read_only.iter_mut().chain(&mut writable) {
        disk.reset();
    }
    rustix::system::reboot(RebootCommand::PowerOff).unwrap();
}
