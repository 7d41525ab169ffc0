//! The device's own process: it may do what it does, and is no way for who takes it over.

use crate::place::{device, fenced, raw_device, start, tap};
use casemate_device_net::feature;
use casemate_device_net::profile::{FOREIGN, SET_UP, STEADY};
use casemate_device_process::{
    DONE, FromDevice, FrontEnd, Input, Limits, Rate, Seen, ToDevice, body_with,
};
use casemate_policy::NetworkRules;
use casemate_sandbox::{Exit, Observed, Observer, inspect};
use casemate_test_devices::driver::DATA;
use casemate_test_devices::net::{GUEST, Guest, HOST, udp};
use casemate_test_support::attack::Attack;
use casemate_test_support::device::{assert_locked, end_of_attack, pair, said};
use casemate_test_support::device_attack::{DeviceAttack, Fate, Held};
use casemate_test_support::memory::held;
use casemate_test_support::sandbox::{assert_least_before, assert_least_in};
use casemate_test_support::target::Target;
use rustix::net::{SendFlags, SocketType, send};
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use vhost::vhost_user::VhostUserFrontend;

/// Everything that a guest does with its device.
fn use_network(guest: &mut Guest, host: &UdpSocket) {
    let port = host.local_addr().unwrap().port();
    let card = guest.resolve();
    guest.send(&udp(card, HOST, (7, port), b"to the host"));
    host.recv_from(&mut [0; 64]).unwrap();
    host.send_to(b"to the guest", (GUEST, 7)).unwrap();
    guest.receive_ending(b"to the guest");
}

/// What is seen of each thread of the process, which is locked by now.
fn beat(control: &OwnedFd, number: u32) -> Vec<Seen> {
    send(control, &ToDevice::Beat(number).encode(), SendFlags::empty()).unwrap();
    match said(control) {
        Some(FromDevice::Beat(beat)) if beat.number == number => beat.threads,
        other => panic!("{other:?}"),
    }
}

fn drive_ours(mut guest: Guest, host: &UdpSocket, control: &OwnedFd) {
    guest.that_was_all();
    assert_eq!(said(control), Some(FromDevice::Locked));
    let before = beat(control, 1);
    for features in [feature::ALL, 0] {
        guest.begin(features);
        use_network(&mut guest, host);
        // More than a frame costs, so nothing waits, and each has to be asked about.
        let rate = Rate::new(1 << 30, 1 << 30);
        let limits = Limits { bytes: rate, operations: rate };
        send(control, &ToDevice::Limit(limits).encode(), SendFlags::empty()).unwrap();
        use_network(&mut guest, host);
        guest.stop();
    }
    let after = beat(control, u32::MAX);
    // Its front end's thread, and that of both queues, which is told of for each of them.
    assert_eq!((before.len(), after.len()), (3, 3));
    let further = |(before, after): (&Seen, &Seen)| before.steps != after.steps;
    assert!(before.iter().zip(&after).all(further), "{before:?} {after:?}");
}

fn drive_foreign(mut guest: Guest, host: &UdpSocket, control: &OwnedFd) {
    guest.that_was_all();
    assert_eq!(said(control), Some(FromDevice::Locked));
    guest.begin(feature::ALL);
    use_network(&mut guest, host);
    guest.stop();
    // Memory and events anew, as other VMMs send them.
    guest.driver.send_memory();
    guest.driver.send_events();
    guest.begin(0);
    use_network(&mut guest, host);
}

/// Observes a device while `drive` drives it.
fn observed(front_end: FrontEnd, drive: fn(Guest, &UdpSocket, &OwnedFd)) -> Observed {
    let mut observer = None;
    let (mut child, control, socket, host) = raw_device(front_end, NetworkRules::any(), |child| {
        observer = Some(Observer::attach(child).unwrap());
    });
    let driver = std::thread::spawn(move || {
        drive(Guest::new(socket), &host, &control);
        control
    });
    let observed = observer.unwrap().finish().unwrap();
    let control = driver.join().unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(DONE));
    assert!(matches!(said(&control), Some(FromDevice::Ended(_))));
    observed
}

pub fn net_profile_allows_what_is_used_and_nothing_else() {
    let ours = observed(FrontEnd::Ours, drive_ours);
    assert_least_in(&ours, 2, &STEADY);
    let foreign = observed(FrontEnd::Foreign, drive_foreign);
    assert_least_in(&foreign, 2, &FOREIGN);
    let mut both = ours;
    both.merge(foreign);
    assert_least_before(&both, &SET_UP, &[&STEADY, &FOREIGN]);
    let calls = STEADY.syscalls();
    let in_every_build = calls.iter().filter(|call| **call != "fcntl");
    assert!(in_every_build.count() <= 12, "{calls:?}");
}

/// Protects the host: what is in force is what SECURITY.md says. Cannot tell of landlock, which no
/// other process can see.
pub fn net_process_is_locked_as_the_kernel_tells() {
    let mut device = device(NetworkRules::any(), feature::ALL);
    use_network(&mut device.guest, &device.host);
    let told = inspect(device.child.pid()).unwrap();
    assert_locked(&told, 2);
    assert_eq!(told.root.as_deref(), Some(&[][..]), "{told}");
    assert!(told.fence.unwrap().is_whole(), "{told}");
    // The front end's socket and the watcher's; the TAP, which is no way to another one.
    let open: Vec<&String> = told.descriptors.as_ref().unwrap().values().collect();
    let count = |begin: &str| open.iter().filter(|what| what.starts_with(begin)).count();
    assert_eq!((count("socket:"), count("/dev/net/tun")), (2, 1), "{told}");
    let files = open.iter().filter(|what| what.starts_with('/') && !what.contains("null"));
    assert_eq!(files.count(), 1, "{told}");
    drop(device.guest);
    assert_eq!(device.child.wait().unwrap(), Exit::Code(DONE));
}

/// Takes over a network device of a confidential guest once it is locked; a copy, so that there is
/// code to run in it. How it ended, and how many pages the host held before and after.
fn take_over(attack: impl FnOnce(Held) -> bool) -> (Exit, usize, usize) {
    let (socket, theirs) = pair(SocketType::STREAM);
    let (_control, its_control) = pair(SocketType::SEQPACKET);
    let tap = tap();
    let layers = fenced().keep(&theirs).keep(&its_control).keep(tap.file());
    let start = start(FrontEnd::Ours, &tap, NetworkRules::any());
    let file = tap.file().try_clone().unwrap();
    let layers = layers.keep(&file);
    let mut child = casemate_sandbox::spawn(layers, move |born| {
        let own = vec![file];
        let input = Input { start, socket: theirs, control: its_control, own };
        body_with(input, born, |holdings| {
            let held = Held {
                memory: holdings.memory[0],
                fence: holdings.fence.unwrap(),
                image: holdings.own[0],
                image_size: 0,
                socket: holdings.socket,
            };
            end_of_attack(attack(held))
        })
    })
    .unwrap();
    let mut guest = Guest::new(UnixStream::from(socket));
    guest.driver.ram.write(DATA, &[7; 4096]);
    let before = held(guest.driver.ram.file());
    guest.driver.front.set_vring_enable(0, false).unwrap();
    let exit = child.wait().unwrap();
    (exit, before, held(guest.driver.ram.file()))
}

/// Protects everybody from a network device's process that is an attacker's: it kills only itself,
/// and the host holds not one page more. What it can do by its profile it can: send and receive
/// frames, past the filter that it was.
pub fn what_a_network_device_holds_takes_an_attacker_nowhere_else() {
    for (attack, fate) in DeviceAttack::ALL {
        if attack == DeviceAttack::TakeDescriptor {
            continue;
        }
        // It has no image: what is a request of a disk is a call that nobody makes here.
        let expected = match fate {
            Fate::Fence => Exit::Signal(libc::SIGBUS),
            Fate::Filter | Fate::Refused | Fate::AnsweredInPart => Exit::Filter,
        };
        let attacked = take_over(|held| attack.attempt(held).is_ok());
        assert_eq!(attacked, (expected, 1, 1), "{attack:?}");
    }
}

pub fn an_attacker_in_a_network_device_dies_at_each_attack_on_others() {
    let target = Target::new();
    for (attack, _) in Attack::ALL {
        let (exit, ..) = take_over(|_| attack.attempt(target.victim()).is_ok());
        assert_eq!(exit, Exit::Filter, "{attack:?}");
    }
}
