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
    DONE, DeviceKind, FromDevice, FrontEnd, Input, MESSAGE_SIZE, Seen, Start, ToDevice, body_with,
};
use casemate_sandbox::{Child, Exit, Image, Layer, Layers, Observed, Observer, Profile, inspect};
use casemate_test_devices::driver::{Block, DATA, Driver, header};
use casemate_test_devices::memory::GuestRam;
use casemate_test_devices::scratch::Scratch;
use casemate_test_support::attack::{Attack, Victim};
use casemate_test_support::device_attack::{DeviceAttack, Fate, Held};
use casemate_test_support::memory::held;
use casemate_test_support::sandbox::{assert_least_in, is_always_needed, used_rules};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use std::collections::BTreeSet;
use std::fs::{File, read_to_string};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
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

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
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

/// The next thing that it says.
fn said(control: &OwnedFd) -> Option<FromDevice> {
    let mut packet = [0; MESSAGE_SIZE + 1];
    let (len, _) = recv(control, &mut packet[..], RecvFlags::empty()).unwrap();
    FromDevice::decode(&packet[..len])
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

/// A set-up filter has what comes after it, too, since filters are only narrowed: what is in
/// neither of the profiles behind it must be used before them.
fn assert_least_set_up(observed: &Observed) {
    let used = used_rules(observed, 1, &SET_UP);
    let calls = |profile: &Profile| profile.syscalls();
    let later: BTreeSet<_> = calls(&STEADY).into_iter().chain(calls(&FOREIGN)).collect();
    let unused = SET_UP.rules.iter().enumerate().filter(|(index, _)| !used.contains(index));
    let unused = unused.filter(|(_, rule)| is_always_needed(rule));
    let unused = unused.map(|(_, rule)| (rule.syscall.name(), rule.why));
    let unused: Vec<_> = unused.filter(|(name, _)| !later.contains(name)).collect();
    assert!(unused.is_empty(), "rules that nothing uses: {unused:?}");
}

fn block_profile_allows_what_is_used_and_nothing_else() {
    let ours = observed(FrontEnd::Ours, drive_ours);
    assert_least_in(&ours, 2, &STEADY);
    let foreign = observed(FrontEnd::Foreign, drive_foreign);
    assert_least_in(&foreign, 2, &FOREIGN);
    let mut both = ours;
    both.merge(foreign);
    assert_least_set_up(&both);
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
    let report = device.child.confined().unwrap().clone();
    for layer in Layer::ALL {
        let expected = !layer.only_where_asked() || layer == Layer::MemoryFence;
        assert_eq!(report.is_applied(layer), expected, "{layer}\n{report}");
    }
    let pid = device.child.pid();
    let mut driver = Driver::negotiate(device.socket, 2, GuestRam::new(RAM));
    that_was_all(&mut driver);
    every_request(&mut driver);
    let told = inspect(pid).unwrap();
    assert_eq!((told.seccomp_mode, told.seccomp_filters, told.uid), (2, 2, 65534), "{told}");
    assert!(told.threads_agree && told.no_new_privs, "{told}");
    assert!(told.capabilities.values().all(|set| *set == 0), "{told}");
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

/// Whether the readable memory of a process has these bytes. Guest memory is left out: it is the
/// guest's.
fn has(pid: u32, bytes: &[u8]) -> bool {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut seen = 0;
    let own = maps.lines().filter(|line| !line.contains("[v") && !line.contains("memfd:ram"));
    let found = own.into_iter().any(|line| {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let address = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (from, to) = (address(from), address(to));
        let mut part = vec![0; usize::try_from(to - from).unwrap()];
        if memory.read_exact_at(&mut part, from).is_err() {
            return false;
        }
        seen += part.len();
        part.windows(bytes.len()).any(|window| window == bytes)
    });
    assert!(found || seen > 300_000, "only {seen} bytes were looked at");
    found
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
    assert!(has(std::process::id(), &secret), "else this could not tell");
    assert!(!has(pid, &secret));
    for path in paths {
        assert!(!has(pid, path.as_os_str().as_encoded_bytes()), "{path:?}");
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

/// Exit status of an attacker who was refused, and of one who was not.
const REFUSED: i32 = 42;
const SUCCEEDED: i32 = 43;

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
            casemate_sandbox::exit(if attack(held) { SUCCEEDED } else { REFUSED })
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
    let name = format!("casemate-victim-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let no_layers = Layer::ALL.into_iter().fold(Layers::new("victim"), Layers::without);
    let victim = casemate_sandbox::spawn(no_layers, |_born| {
        loop {
            std::thread::park();
        }
    });
    let victim = victim.unwrap();
    for (attack, _) in Attack::ALL {
        let target = Victim { pid: victim.pid(), abstract_socket: name.as_bytes() };
        let attacked = take_over(|_| attack.attempt(target).is_ok(), |_| ());
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
