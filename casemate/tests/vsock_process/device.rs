//! The device's own process: it may do what it does, and is no way for who takes it over.

use crate::place::{Device, Place, device, fenced};
use crate::streams::{drive_foreign, drive_ours, use_streams};
use casemate_device_process::{DONE, FromDevice, FrontEnd, Input, body_with};
use casemate_device_vsock::profile::{FOREIGN, SET_UP, STEADY};
use casemate_sandbox::{Exit, Observed, Observer, inspect};
use casemate_test_devices::driver::DATA;
use casemate_test_devices::vsock::Guest;
use casemate_test_support::attack::Attack;
use casemate_test_support::device::{assert_confined, assert_locked, end_of_attack, pair, said};
use casemate_test_support::device_attack::{DeviceAttack, Fate, Held};
use casemate_test_support::memory::held;
use casemate_test_support::sandbox::{assert_least_before, assert_least_in};
use casemate_test_support::target::Target;
use rustix::net::SocketType;
use std::os::unix::net::UnixStream;
use vhost::vhost_user::VhostUserFrontend;

/// Observes a device while `drive` drives it.
fn observed(front_end: FrontEnd, drive: fn(Guest, &Place)) -> Observed {
    let mut observer = None;
    let device = device(front_end, |child| observer = Some(Observer::attach(child).unwrap()));
    let Device { mut child, control, mut connector, socket, place } = device;
    let driver = std::thread::spawn(move || {
        drive(Guest::new(socket), &place);
        place
    });
    let observed = observer.unwrap().finish().unwrap();
    drop(driver.join().unwrap());
    assert_eq!(child.wait().unwrap(), Exit::Code(DONE));
    assert_eq!(said(&control), Some(FromDevice::Locked));
    assert!(matches!(said(&control), Some(FromDevice::Ended(_))));
    assert_eq!(connector.wait().unwrap(), Exit::Code(DONE));
    observed
}

pub fn vsock_profile_allows_what_is_used_and_nothing_else() {
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
pub fn vsock_processes_are_locked_as_the_kernel_tells() {
    let mut device = device(FrontEnd::Ours, |_| ());
    assert_confined(&mut device.child, true);
    assert_confined(&mut device.connector, false);
    let mut guest = Guest::new(device.socket);
    guest.that_was_all();
    guest.begin();
    use_streams(&mut guest, &device.place);
    let told = inspect(device.child.pid()).unwrap();
    assert_locked(&told, 2);
    assert_eq!(told.root.as_deref(), Some(&[][..]), "{told}");
    assert!(told.fence.unwrap().is_whole(), "{told}");
    // Listening sockets, the front end's, the watcher's and the connector's; no file but /dev/null,
    // and no connection that is over.
    let open: Vec<&String> = told.descriptors.as_ref().unwrap().values().collect();
    let files = open.iter().filter(|what| what.starts_with('/') && !what.contains("null"));
    assert_eq!(files.count(), 0, "{told}");
    let sockets = open.iter().filter(|what| what.starts_with("socket:"));
    assert_eq!(sockets.count(), 5, "{told}");
    let told = inspect(device.connector.pid()).unwrap();
    assert_locked(&told, 1);
    let mut root = told.root.clone().unwrap();
    root.sort();
    assert_eq!(root, ["f", "v", "v_52"], "{told}");
    drop(guest);
    assert_eq!(device.child.wait().unwrap(), Exit::Code(DONE));
    assert_eq!(device.connector.wait().unwrap(), Exit::Code(DONE));
}

/// Takes over a socket device of a confidential guest once it is locked; a copy, so that there is
/// code to run in it. How it ended, and how many pages the host held before and after.
fn take_over(attack: impl FnOnce(Held) -> bool) -> (Exit, usize, usize) {
    let place = Place::new();
    let (socket, theirs) = pair(SocketType::STREAM);
    let (_control, its_control) = pair(SocketType::SEQPACKET);
    let (_channel, its_channel) = pair(SocketType::SEQPACKET);
    let [path, forward] = place.listeners();
    let layers = fenced().keep(&theirs).keep(&its_control);
    let layers = layers.keep(&path).keep(&forward).keep(&its_channel);
    let start = Place::start(FrontEnd::Ours);
    let mut child = casemate_sandbox::spawn(layers, move |born| {
        let own = vec![path, forward, its_channel];
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

/// Protects everybody from a socket device's process that is an attacker's: it kills only itself,
/// and the host holds not one page more. What it can do by its profile it can: take descriptors
/// that somebody sends it, within its limit.
pub fn what_a_socket_device_holds_takes_an_attacker_nowhere_else() {
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

pub fn an_attacker_in_a_socket_device_dies_at_each_attack_on_others() {
    let target = Target::new();
    for (attack, _) in Attack::ALL {
        let (exit, ..) = take_over(|_| attack.attempt(target.victim()).is_ok());
        assert_eq!(exit, Exit::Filter, "{attack:?}");
    }
}
