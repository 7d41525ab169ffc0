//! A disk's process as the program starts it: from its image, with a driver at its other end. What
//! it may do is what it does; what is in force is what was asked for; what an attacker who takes it
//! over can reach. Skipped, and said so, not as root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking"
)]

use casemate_device_block::profile::{FOREIGN, SET_UP, STEADY};
use casemate_device_block::{Image as Disk, Options, layers};
use casemate_device_process::{
    DONE, DeviceKind, FromDevice, FrontEnd, Input, Seen, Start, ToDevice, body_with,
};
use casemate_sandbox::{Child, Exit, Image, Layer, Layers, Observed, Observer, inspect};
use casemate_test_devices::driver::{Block, DATA, Driver, header};
use casemate_test_devices::memory::GuestRam;
use casemate_test_devices::scratch::Scratch;
use casemate_test_support::attack::Attack;
use casemate_test_support::device::{
    REFUSED, assert_confined, assert_locked, end_of_attack, pair, said,
};
use casemate_test_support::device_attack::{DeviceAttack, Fate, Held};
use casemate_test_support::memory::held;
use casemate_test_support::sandbox::{assert_least_before, assert_least_in, memory_has};
use casemate_test_support::target::Target;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::net::{SendFlags, SocketType, send};
use std::fs::{File, read_to_string};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;

static IMAGE: &[u8] = include_bytes!(env!("CASEMATE_DEVICE_IMAGE"));
const FLUSH: u64 = 1 << 9;
const SECTORS: u64 = 64;
const RAM: usize = 16 << 20;

/// A disk's process, and everybody else's ends.
struct Device {
    child: Child,
    control: OwnedFd,
    socket: UnixStream,
    scratch: Scratch,
}

fn disk(scratch: &Scratch, queues: u16) -> Disk {
    let options = Options { serial: "casemate-test".into(), queues, ..Options::default() };
    Disk::open(&scratch.image("disk", SECTORS), &options).unwrap()
}

fn start(disk: &Disk, front_end: FrontEnd) -> Start {
    Start { kind: DeviceKind::Block, front_end, config: disk.facts().encode().to_vec() }
}

fn fenced(disk: &Disk) -> Layers {
    layers("device", disk.facts()).with(Layer::MemoryFence)
}

fn device(front_end: FrontEnd, queues: u16, before: impl FnOnce(&Child)) -> Device {
    let scratch = Scratch::new();
    let disk = disk(&scratch, queues);
    let (socket, theirs) = pair(SocketType::STREAM);
    let (control, its_control) = pair(SocketType::SEQPACKET);
    let image = Image::new("casemate-device", IMAGE).unwrap();
    let (layers, start) = (fenced(&disk), start(&disk, front_end));
    let child = casemate_device_process::spawn(
        &image,
        layers,
        &start,
        &theirs,
        &its_control,
        &[disk.file().as_fd()],
        before,
    );
    Device { child: child.unwrap(), control, socket: socket.into(), scratch }
}

/// The message that ends the set-up of a VM of ours, and one that is answered after the lock.
/// Before that the driver clears its rings, as Linux does with memory that it shares: a device
/// behind a fence reaches no page that nobody has touched.
fn that_was_all(driver: &mut Driver) {
    for queue in 0..driver.queues.len() {
        driver.forget(queue);
    }
    driver.front.set_vring_enable(0, false).unwrap();
    driver.front.get_features().unwrap();
}

/// Two drivers, one after the other; of each every kind of request, with and without flush.
fn every_request(driver: &mut Driver) {
    for features in [0, FLUSH, 0] {
        driver.activate((driver.offered & 0x6000) | features);
        for queue in 0..driver.queues.len() {
            let write = Block { kind: 1, sector: 8, out: &[0x5a; 4096], ..Block::default() };
            assert_eq!(driver.block(queue, &write).0, 0);
            let read = Block { sector: 8, back: 4096, ..Block::default() };
            assert!(driver.block(queue, &read).2 == [0x5a; 4096]);
            assert_eq!(driver.block(queue, &Block { kind: 4, ..Block::default() }).0, 0);
            let segment = [&16_u64.to_le_bytes()[..], &[8, 0, 0, 0, 0, 0, 0, 0]].concat();
            for kind in [11, 13] {
                driver.block(queue, &Block { kind, out: &segment, ..Block::default() });
            }
        }
        for queue in 0..driver.queues.len() {
            driver.stop(queue);
            driver.forget(queue);
        }
    }
}

/// Observes a process while `drive` drives it; what it did.
fn observed(front_end: FrontEnd, drive: fn(Driver, &OwnedFd)) -> Observed {
    let mut observer = None;
    let mut device =
        device(front_end, 2, |child| observer = Some(Observer::attach(child).unwrap()));
    let (socket, control) = (device.socket, device.control);
    let driver = std::thread::spawn(move || {
        drive(Driver::negotiate(socket, 2, GuestRam::new(RAM)), &control);
        control
    });
    let observed = observer.unwrap().finish().unwrap();
    let control = driver.join().unwrap();
    assert_eq!(device.child.wait().unwrap(), Exit::Code(DONE));
    assert!(matches!(said(&control), Some(FromDevice::Ended(_))));
    observed
}

/// What is seen of each thread of the process, which is locked by now.
fn beat(control: &OwnedFd, number: u32) -> Vec<Seen> {
    send(control, &ToDevice::Beat(number).encode(), SendFlags::empty()).unwrap();
    match said(control) {
        Some(FromDevice::Beat(beat)) if beat.number == number => beat.threads,
        other => panic!("{other:?}"),
    }
}

fn drive_ours(mut driver: Driver, control: &OwnedFd) {
    that_was_all(&mut driver);
    assert_eq!(said(control), Some(FromDevice::Locked));
    let before = beat(control, 1);
    every_request(&mut driver);
    let after = beat(control, u32::MAX);
    // Its front end's thread and one for each queue: all of them came further.
    assert_eq!((before.len(), after.len()), (3, 3));
    let further = |(before, after): (&Seen, &Seen)| before.steps != after.steps;
    assert!(before.iter().zip(&after).all(further), "{before:?} {after:?}");
}

/// As other VMMs do: memory and events come again while it runs.
fn drive_foreign(mut driver: Driver, control: &OwnedFd) {
    that_was_all(&mut driver);
    assert_eq!(said(control), Some(FromDevice::Locked));
    for _ in 0..2 {
        driver.send_memory();
        for queue in 0..driver.queues.len() {
            let kick = driver.queues[queue].kick.try_clone().unwrap();
            driver.front.set_vring_kick(queue, &kick).unwrap();
        }
        driver.activate(FLUSH);
        let read = Block { sector: 1, back: 512, ..Block::default() };
        assert_eq!(driver.block(0, &read).0, 0);
        for queue in 0..driver.queues.len() {
            driver.stop(queue);
            driver.forget(queue);
        }
    }
    for queue in 0..driver.queues.len() {
        let kick = driver.queues[queue].kick.try_clone().unwrap();
        driver.front.set_vring_kick(queue, &kick).unwrap();
    }
    every_foreign_request(&mut driver);
}

fn every_foreign_request(driver: &mut Driver) {
    for features in [0, FLUSH] {
        driver.activate((driver.offered & 0x6000) | features);
        let write = Block { kind: 1, sector: 8, out: &[0x5a; 4096], ..Block::default() };
        assert_eq!(driver.block(0, &write).0, 0);
        assert_eq!(driver.block(0, &Block { kind: 4, ..Block::default() }).0, 0);
        let segment = [&16_u64.to_le_bytes()[..], &[8, 0, 0, 0, 0, 0, 0, 0]].concat();
        driver.block(0, &Block { kind: 11, out: &segment, ..Block::default() });
        for queue in 0..driver.queues.len() {
            driver.stop(queue);
            driver.forget(queue);
            let kick = driver.queues[queue].kick.try_clone().unwrap();
            driver.front.set_vring_kick(queue, &kick).unwrap();
        }
    }
}

fn block_profile_allows_what_is_used_and_nothing_else() {
    let ours = observed(FrontEnd::Ours, drive_ours);
    assert_least_in(&ours, 2, &STEADY);
    let foreign = observed(FrontEnd::Foreign, drive_foreign);
    assert_least_in(&foreign, 2, &FOREIGN);
    let mut both = ours;
    both.merge(foreign);
    assert_least_before(&both, &SET_UP, &[&STEADY, &FOREIGN]);
    assert!(STEADY.syscalls().len() <= 12, "{:?}", STEADY.syscalls());
}

/// KiB of a field of /proc/PID/smaps_rollup.
fn rollup(pid: u32, field: &str) -> u64 {
    let text = read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Protects the host, and other VMs' memory: what is in force for a disk of a confidential guest is
/// what SECURITY.md says. Cannot tell of landlock, which no other process can see.
fn device_process_from_its_image_is_locked_as_the_kernel_tells() {
    let mut device = device(FrontEnd::Ours, 2, |_| ());
    assert_confined(&mut device.child, true);
    let pid = device.child.pid();
    let mut driver = Driver::negotiate(device.socket, 2, GuestRam::new(RAM));
    that_was_all(&mut driver);
    every_request(&mut driver);
    let told = inspect(pid).unwrap();
    assert_locked(&told, 2);
    assert_eq!(told.root.as_deref(), Some(&[][..]), "{told}");
    let fence = told.fence.unwrap();
    assert!(fence.is_whole() && fence.fenced == RAM as u64, "{told}");
    let limits = told.limits.as_ref().unwrap();
    assert_eq!(limits["Max file size"], (SECTORS * 512).to_string(), "{told}");
    // Its image, two sockets, the events, the fence; not the memory's file.
    let open: Vec<&String> = told.descriptors.as_ref().unwrap().values().collect();
    assert!(!open.iter().any(|what| what.contains("memfd")), "{told}");
    let files = open.iter().filter(|what| what.starts_with('/') && !what.contains("null"));
    assert_eq!(files.count(), 1, "{told}");
    let (anonymous, all) = (rollup(pid, "Pss_Anon:"), rollup(pid, "Pss:"));
    println!("private memory of a disk's process: {anonymous} KiB (Pss {all} KiB)");
    assert!(anonymous <= 512, "{anonymous} KiB");
    drop(driver);
    assert_eq!(device.child.wait().unwrap(), Exit::Code(DONE));
}

/// Protects what a supervisor holds, a log's key, an initrd, the paths of devices, from who takes
/// over a disk. Cannot tell of what the kernel keeps.
fn device_process_has_nothing_of_its_supervisor_but_what_it_was_given() {
    // Made here, so that it is in no program.
    let secret: Vec<u8> = (1..48_u8).map(|i| i.wrapping_mul(91) | 1).collect();
    let mut device = device(FrontEnd::Ours, 1, |_| ());
    let pid = device.child.pid();
    let paths = [device.scratch.path("disk"), device.scratch.path("another-disk")];
    let mut driver = Driver::negotiate(device.socket, 1, GuestRam::new(RAM));
    that_was_all(&mut driver);
    every_request(&mut driver);
    assert!(memory_has(std::process::id(), &secret), "else this could not tell");
    assert!(!memory_has(pid, &secret));
    for path in paths {
        assert!(!memory_has(pid, path.as_os_str().as_encoded_bytes()), "{path:?}");
    }
    assert!(std::fs::read(format!("/proc/{pid}/environ")).unwrap().is_empty());
    drop(driver);
    assert_eq!(device.child.wait().unwrap(), Exit::Code(DONE));
}

/// What became of a process that an attacker had taken over.
struct Attacked {
    exit: Exit,
    pages_before: usize,
    pages_after: usize,
    image_size: u64,
}

/// Takes over a disk of a confidential guest once it is locked. The process is a copy here, so that
/// there is code to run in it; it has the layers, filters and fence of the image. `then` is what
/// its front end does afterwards.
fn take_over(attack: impl FnOnce(Held) -> bool, then: impl FnOnce(&Driver)) -> Attacked {
    let scratch = Scratch::new();
    let disk = disk(&scratch, 1);
    let (socket, theirs) = pair(SocketType::STREAM);
    let (_control, its_control) = pair(SocketType::SEQPACKET);
    let own = disk.file().try_clone().unwrap();
    let layers = fenced(&disk).keep(&theirs).keep(&its_control).keep(&own);
    let (start, image_size) = (start(&disk, FrontEnd::Ours), disk.facts().bytes());
    let mut child = casemate_sandbox::spawn(layers, move |born| {
        let input = Input { start, socket: theirs, control: its_control, own: vec![own] };
        body_with(input, born, |holdings| {
            let held = Held {
                memory: holdings.memory[0],
                fence: holdings.fence.unwrap(),
                image: holdings.own[0],
                image_size,
                socket: holdings.socket,
            };
            end_of_attack(attack(held))
        })
    })
    .unwrap();
    let mut driver = Driver::negotiate(UnixStream::from(socket), 1, GuestRam::new(RAM));
    // What the guest shares: its rings are not there yet.
    driver.ram.write(DATA, &[7; 4096]);
    let pages_before = held(driver.ram.file());
    driver.front.set_vring_enable(0, false).unwrap();
    then(&driver);
    let exit = child.wait().unwrap();
    let image_size = disk.file().as_fd().try_clone_to_owned().unwrap();
    let image_size = File::from(image_size).metadata().unwrap().len();
    Attacked { exit, pages_before, pages_after: held(driver.ram.file()), image_size }
}

/// Protects everybody from a disk's process that is an attacker's: with what it holds it reaches
/// the pages that its guest shares and its image, kills only itself with the rest, and the host
/// holds not one page more.
fn what_a_device_holds_takes_an_attacker_nowhere_else() {
    for (attack, fate) in DeviceAttack::ALL {
        let attacked = take_over(
            |held| attack.attempt(held).is_ok(),
            |driver| {
                if attack == DeviceAttack::TakeDescriptor {
                    driver.send_kick(0, File::open("/dev/null").unwrap().as_fd());
                }
            },
        );
        let expected = match fate {
            Fate::Filter => Exit::Filter,
            Fate::Fence => Exit::Signal(libc::SIGBUS),
            Fate::Refused | Fate::AnsweredInPart => Exit::Code(REFUSED),
        };
        assert_eq!(attacked.exit, expected, "{attack:?}");
        assert_eq!(attacked.pages_before, 1, "{attack:?}");
        assert_eq!(attacked.pages_after, 1, "{attack:?}");
        assert_eq!(attacked.image_size, SECTORS * 512, "{attack:?}");
    }
}

fn an_attacker_in_a_device_dies_at_each_attack_on_others() {
    let target = Target::new();
    for (attack, _) in Attack::ALL {
        let attacked = take_over(|_| attack.attempt(target.victim()).is_ok(), |_| ());
        assert_eq!(attacked.exit, Exit::Filter, "{attack:?}");
    }
}

/// Protects the host from a guest that takes back what its device is using: the device ends, says
/// nothing false, and no page comes back.
fn a_guest_that_takes_back_its_rings_ends_its_device_and_gets_no_page_for_it() {
    let mut device = device(FrontEnd::Ours, 1, |_| ());
    let mut driver = Driver::negotiate(device.socket, 1, GuestRam::new(RAM));
    that_was_all(&mut driver);
    driver.activate(FLUSH);
    let read = Block { sector: 1, back: 512, ..Block::default() };
    assert_eq!(driver.block(0, &read).0, 0);
    // Data that is gone is an error of that request.
    driver.ram.write(DATA + 0x8000, &[0; 4096]);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(driver.ram.file(), punch, DATA + 0x8000, 4096).unwrap();
    driver.ram.write(DATA, &header(0, 1));
    driver.ram.write(DATA + 0xfff, &[0xff]);
    driver.chain(0, 0, &[(DATA, 16, false), (DATA + 0x8000, 512, true), (DATA + 0xfff, 1, true)]);
    driver.put(0, 0);
    driver.publish(0);
    assert!(driver.wait(0).is_some());
    assert_eq!(driver.ram.read(DATA + 0xfff, 1), [1], "VIRTIO_BLK_S_IOERR");
    assert_eq!(driver.block(0, &read).0, 0, "the queue goes on");
    // The rings themselves.
    fallocate(driver.ram.file(), punch, 0, RAM as u64).unwrap();
    driver.queues[0].kick.write(1).unwrap();
    assert_eq!(device.child.wait().unwrap(), Exit::Signal(libc::SIGBUS));
    assert_eq!(held(driver.ram.file()), 0);
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        block_profile_allows_what_is_used_and_nothing_else,
        device_process_from_its_image_is_locked_as_the_kernel_tells,
        device_process_has_nothing_of_its_supervisor_but_what_it_was_given,
        what_a_device_holds_takes_an_attacker_nowhere_else,
        an_attacker_in_a_device_dies_at_each_attack_on_others,
        a_guest_that_takes_back_its_rings_ends_its_device_and_gets_no_page_for_it,
    ])
}
