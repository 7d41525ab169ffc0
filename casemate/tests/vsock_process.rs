//! A socket device's processes as the program starts them, from their image, with a driver at the
//! other end: the device, its connector, the janitor. What they may do is what they do; what an
//! attacker who takes one over can reach. Skipped, and said so, not as root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking"
)]

use casemate_device_process::{
    ConnectorInput, DONE, DeviceKind, FromDevice, FrontEnd, Input, JANITOR, MESSAGE_SIZE,
    PathSocket, Start, body_with, connector_body, connector_layers, janitor_body, janitor_layers,
    spawn, spawn_connector, spawn_janitor,
};
use casemate_device_vsock::profile::{CONNECT, FOREIGN, SET_UP, STEADY, layers};
use casemate_device_vsock::{Connects, Entry, Facts, Op, Ports};
use casemate_sandbox::{Child, Exit, Image, Layer, Layers, Observed, Observer, Profile, inspect};
use casemate_test_devices::driver::DATA;
use casemate_test_devices::scratch::Scratch;
use casemate_test_devices::vsock::{CID, Guest};
use casemate_test_support::attack::{Attack, Victim};
use casemate_test_support::device_attack::{DeviceAttack, Fate, Held};
use casemate_test_support::memory::held;
use casemate_test_support::sandbox::{assert_least, assert_least_in, is_always_needed, used_rules};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;
use vhost::vhost_user::VhostUserFrontend;

static IMAGE: &[u8] = include_bytes!(env!("CASEMATE_DEVICE_IMAGE"));
/// The port of the host that the guest may connect to.
const PORT: u32 = 52;

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

/// The next thing that a process says.
fn said(control: &OwnedFd) -> Option<FromDevice> {
    let mut packet = [0; MESSAGE_SIZE + 1];
    let (len, _) = recv(control, &mut packet[..], RecvFlags::empty()).unwrap();
    FromDevice::decode(&packet[..len])
}

/// A folder that every user gets into, with the device's sockets and one of the host's.
struct Place {
    scratch: Scratch,
    host: UnixListener,
    path: PathSocket,
    forward: PathSocket,
}

impl Place {
    fn new() -> Self {
        let scratch = Scratch::new();
        let folder = scratch.path("v").parent().unwrap().to_owned();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        let name = scratch.path(&format!("v_{PORT}"));
        let host = UnixListener::bind(&name).unwrap();
        std::fs::set_permissions(&name, Permissions::from_mode(0o777)).unwrap();
        let path = PathSocket::at("path", &scratch.path("v")).unwrap();
        let forward = PathSocket::at("forward", &scratch.path("f")).unwrap();
        Self { scratch, host, path, forward }
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path("v").parent().unwrap().to_owned()
    }

    fn facts() -> Facts {
        Facts { cid: CID, entries: vec![Entry::Path, Entry::Port(22)], ports: vec![PORT] }
    }

    fn connects() -> Connects {
        Connects { name: b"v".to_vec(), ports: vec![PORT] }
    }

    fn start(front_end: FrontEnd) -> Start {
        Start { kind: DeviceKind::Vsock, front_end, config: Self::facts().encode() }
    }

    fn listeners(&self) -> [OwnedFd; 2] {
        [self.path.polled().unwrap(), self.forward.polled().unwrap()]
    }
}

/// A device with its connector, and everybody else's ends.
struct Device {
    child: Child,
    control: OwnedFd,
    connector: Child,
    socket: UnixStream,
    place: Place,
}

fn fenced() -> Layers {
    layers("device").with(Layer::MemoryFence)
}

fn device(front_end: FrontEnd, before: impl FnOnce(&Child)) -> Device {
    device_beside(front_end, |_| (), before)
}

fn device_beside(
    front_end: FrontEnd,
    before_connector: impl FnOnce(&Child),
    before: impl FnOnce(&Child),
) -> Device {
    let place = Place::new();
    let image = Image::new("casemate-device", IMAGE).unwrap();
    let (channel, its_channel) = pair(SocketType::SEQPACKET);
    let (_said, its_control) = pair(SocketType::SEQPACKET);
    let connector = spawn_connector(
        &image,
        connector_layers(&place.folder()),
        &Place::connects(),
        &its_channel,
        &its_control,
        before_connector,
    );
    let (socket, theirs) = pair(SocketType::STREAM);
    let (control, its_control) = pair(SocketType::SEQPACKET);
    let [path, forward] = place.listeners();
    let own = [path.as_fd(), forward.as_fd(), channel.as_fd()];
    let start = Place::start(front_end);
    let child = spawn(&image, fenced(), &start, &theirs, &its_control, &own, before);
    Device {
        child: child.unwrap(),
        control,
        connector: connector.unwrap(),
        socket: socket.into(),
        place,
    }
}

/// Everything that a guest and its host do with streams, as often as it takes to use every call.
fn use_streams(guest: &mut Guest, place: &Place) {
    let ports = Ports { guest: 1025, host: PORT };
    // The guest begins.
    guest.send(Op::Request, ports, 0, 0, &[]);
    let (mut host, _) = place.host.accept().unwrap();
    assert_eq!(guest.expect(Op::Response).ports, ports);
    guest.send(Op::Data, ports, 0, 0, b"to the host");
    let mut bytes = [0; 11];
    host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"to the host");
    host.write_all(b"to the guest").unwrap();
    assert_eq!(guest.expect(Op::Data).bytes, b"to the guest");
    // Each side ends one direction.
    guest.send(Op::Shutdown, ports, 2, 12, &[]);
    assert_eq!(host.read(&mut bytes).unwrap(), 0);
    host.shutdown(std::net::Shutdown::Write).unwrap();
    // Then nothing goes in either direction any more.
    assert_eq!(guest.expect(Op::Shutdown).flags, 3);
    guest.send(Op::Shutdown, ports, 3, 12, &[]);
    guest.expect(Op::Reset);
    // A port that is not named, and one that nobody listens at any more.
    guest.send(Op::Request, Ports { host: 99, ..ports }, 0, 0, &[]);
    guest.expect(Op::Reset);
    // The host begins, by the path and by a forward; what the host does not read waits.
    let mut client = UnixStream::connect(place.scratch.path("v")).unwrap();
    client.write_all(b"CONNECT 7\n").unwrap();
    let request = guest.expect(Op::Request);
    assert_eq!(request.ports.guest, 7);
    guest.send(Op::Response, request.ports, 0, 0, &[]);
    let line = format!("OK {}\n", request.ports.host);
    let mut answer = vec![0; line.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, line.as_bytes());
    let forwarded = UnixStream::connect(place.scratch.path("f")).unwrap();
    let second = guest.expect(Op::Request);
    assert_eq!(second.ports.guest, 22);
    guest.send(Op::Response, second.ports, 0, 0, &[]);
    let block = vec![0x5a; 0x1_0000];
    let credit = request.credit.size as usize;
    let mut sent = 0;
    // Until socket and buffer are full: the credit is used up, and nothing is lost.
    let mut taken = 0;
    while sent + block.len() - taken <= credit {
        guest.send(Op::Data, request.ports, 0, 0, &block);
        sent += block.len();
        guest.send(Op::CreditRequest, request.ports, 0, 0, &[]);
        taken = guest.expect(Op::CreditUpdate).credit.taken as usize;
    }
    let mut all = vec![0; sent];
    client.read_exact(&mut all).unwrap();
    assert!(all.iter().all(|byte| *byte == 0x5a));
    // A host that goes away, and a guest that receives no more.
    drop(client);
    let over = loop {
        let came = guest.receive();
        if came.op == Op::Shutdown {
            break came;
        }
        assert_eq!(came.op, Op::CreditUpdate);
    };
    assert_eq!((over.ports, over.flags), (request.ports, 3));
    guest.send(Op::Reset, request.ports, 0, 0, &[]);
    guest.send(Op::Shutdown, second.ports, 1, 0, &[]);
    guest.send(Op::Shutdown, second.ports, 3, 0, &[]);
    guest.expect(Op::Reset);
    drop(forwarded);
}

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

fn drive_ours(mut guest: Guest, place: &Place) {
    guest.that_was_all();
    for _ in 0..2 {
        guest.begin();
        use_streams(&mut guest, place);
        guest.stop();
    }
}

/// As other VMMs do: memory and events come again while it runs.
fn drive_foreign(mut guest: Guest, place: &Place) {
    guest.that_was_all();
    for _ in 0..2 {
        guest.driver.send_memory();
        guest.driver.send_events();
        guest.begin();
        use_streams(&mut guest, place);
        guest.stop();
    }
}

/// A set-up filter has what comes after it, too: what is in neither of the profiles behind it must
/// be used before them.
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

fn vsock_profile_allows_what_is_used_and_nothing_else() {
    let ours = observed(FrontEnd::Ours, drive_ours);
    assert_least_in(&ours, 2, &STEADY);
    let foreign = observed(FrontEnd::Foreign, drive_foreign);
    assert_least_in(&foreign, 2, &FOREIGN);
    let mut both = ours;
    both.merge(foreign);
    assert_least_set_up(&both);
    let calls = STEADY.syscalls();
    let in_every_build = calls.iter().filter(|call| **call != "fcntl");
    assert!(in_every_build.count() <= 12, "{calls:?}");
}

fn connector_uses_every_rule_of_its_profile_and_makes_no_other_call() {
    let mut observer = None;
    let attach = |child: &Child| observer = Some(Observer::attach(child).unwrap());
    let Device { mut child, connector: mut process, socket, place, .. } =
        device_beside(FrontEnd::Ours, attach, |_| ());
    let driver = std::thread::spawn(move || drive_ours(Guest::new(socket), &place));
    let observed = observer.unwrap().finish().unwrap();
    driver.join().unwrap();
    assert_eq!(process.wait().unwrap(), Exit::Code(DONE));
    // The observer waits for every child, so it may have taken this one's end.
    let _ = child.wait();
    assert_least(&observed, &CONNECT);
}

/// Protects the host: what is in force is what SECURITY.md says. Cannot tell of landlock, which no
/// other process can see.
fn vsock_processes_are_locked_as_the_kernel_tells() {
    let mut device = device(FrontEnd::Ours, |_| ());
    let report = device.child.confined().unwrap().clone();
    for layer in Layer::ALL {
        let expected = !layer.only_where_asked() || layer == Layer::MemoryFence;
        assert_eq!(report.is_applied(layer), expected, "{layer}\n{report}");
    }
    let report = device.connector.confined().unwrap().clone();
    for layer in Layer::ALL {
        assert_eq!(report.is_applied(layer), !layer.only_where_asked(), "{layer}\n{report}");
    }
    let mut guest = Guest::new(device.socket);
    guest.that_was_all();
    guest.begin();
    use_streams(&mut guest, &device.place);
    let told = inspect(device.child.pid()).unwrap();
    assert_eq!((told.seccomp_mode, told.seccomp_filters, told.uid), (2, 2, 65534), "{told}");
    assert!(told.threads_agree && told.no_new_privs, "{told}");
    assert!(told.capabilities.values().all(|set| *set == 0), "{told}");
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
    assert_eq!((told.seccomp_mode, told.seccomp_filters, told.uid), (2, 1, 65534), "{told}");
    let mut root = told.root.clone().unwrap();
    root.sort();
    assert_eq!(root, ["f", "v", "v_52"], "{told}");
    drop(guest);
    assert_eq!(device.child.wait().unwrap(), Exit::Code(DONE));
    assert_eq!(device.connector.wait().unwrap(), Exit::Code(DONE));
}

/// Exit status of an attacker who was refused, and of one who was not.
const REFUSED: i32 = 42;
const SUCCEEDED: i32 = 43;

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
            casemate_sandbox::exit(if attack(held) { SUCCEEDED } else { REFUSED })
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
fn what_a_socket_device_holds_takes_an_attacker_nowhere_else() {
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

/// A process of others, and a name at which something listens, for attacks.
fn with_victim(test: impl Fn(Victim<'_>)) {
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
    test(Victim { pid: victim.pid(), abstract_socket: name.as_bytes() });
}

fn an_attacker_in_a_socket_device_dies_at_each_attack_on_others() {
    with_victim(|target| {
        for (attack, _) in Attack::ALL {
            let (exit, ..) = take_over(|_| attack.attempt(target).is_ok());
            assert_eq!(exit, Exit::Filter, "{attack:?}");
        }
    });
}

/// Takes over a connector once it is locked.
fn take_over_connector(place: &Place, attack: impl FnOnce() -> bool) -> Exit {
    let (_channel, its_channel) = pair(SocketType::SEQPACKET);
    let (_control, its_control) = pair(SocketType::SEQPACKET);
    let layers = connector_layers(&place.folder()).keep(&its_channel).keep(&its_control);
    let mut child = casemate_sandbox::spawn(layers, move |born| {
        let connects = Place::connects();
        let input = ConnectorInput { connects, channel: its_channel, control: its_control };
        connector_body(&input, born, || {
            casemate_sandbox::exit(if attack() { SUCCEEDED } else { REFUSED })
        })
    })
    .unwrap();
    child.wait().unwrap()
}

/// Connects as a connector may: by a socket that does not wait.
fn connects_to(path: &[u8]) -> bool {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let address = rustix::net::SocketAddrUnix::new(path).unwrap();
    rustix::net::connect(socket.unwrap(), &address).is_ok()
}

/// Protects the host's sockets from a connector that is an attacker's: it connects inside its
/// directory, which is what it is for, and nowhere else.
fn a_connector_connects_in_its_directory_and_does_nothing_else() {
    let place = Place::new();
    let outer = place.folder().with_file_name(format!("outer-{}", std::process::id()));
    let _listener = UnixListener::bind(&outer).unwrap();
    std::fs::set_permissions(&outer, Permissions::from_mode(0o777)).unwrap();
    let inside = format!("/v_{PORT}");
    assert_eq!(
        take_over_connector(&place, || connects_to(inside.as_bytes())),
        Exit::Code(SUCCEEDED)
    );
    let name = outer.file_name().unwrap().as_bytes();
    let ways =
        [[b"/../", name].concat(), [b"../", name].concat(), outer.as_os_str().as_bytes().to_vec()];
    for way in ways {
        let exit = take_over_connector(&place, || connects_to(&way));
        assert_eq!(exit, Exit::Code(REFUSED), "{}", String::from_utf8_lossy(&way));
    }
    let _ = std::fs::remove_file(&outer);
    with_victim(|target| {
        for (attack, _) in Attack::ALL {
            let exit = take_over_connector(&place, || attack.attempt(target).is_ok());
            assert_eq!(exit, Exit::Filter, "{attack:?}");
        }
    });
}

/// Protects who uses the folder: a janitor removes the sockets that are its VM's, at the end of
/// whoever has its other end, and nothing that is another's by then.
fn a_janitor_removes_what_is_still_its_vms_and_makes_no_other_call() {
    let place = Place::new();
    let mut places = vec![place.path.place().unwrap(), place.forward.place().unwrap()];
    // Another's by the time of the end, and one that is gone by then.
    let (taken, gone) = (place.scratch.path("taken"), place.scratch.path("gone"));
    for path in [&taken, &gone] {
        let socket = PathSocket::at("path", path).unwrap();
        places.push(socket.place().unwrap());
        socket.leave();
    }
    std::fs::remove_file(&gone).unwrap();
    std::fs::rename(&taken, place.scratch.path("old")).unwrap();
    std::fs::write(&taken, "another's").unwrap();
    let image = Image::new("casemate-device", IMAGE).unwrap();
    let (control, its_control) = pair(SocketType::SEQPACKET);
    let mut observer = None;
    let layers = janitor_layers(&place.folder());
    let attach = |child: &Child| observer = Some(Observer::attach(child).unwrap());
    let mut child = spawn_janitor(&image, layers, &places, &its_control, attach).unwrap();
    drop(its_control);
    let path = place.scratch.path("v");
    let user = std::thread::spawn(move || {
        assert_eq!(said(&control), Some(FromDevice::Locked));
        assert!(path.exists());
        // As when its supervisor is killed.
        drop(control);
    });
    let observed = observer.unwrap().finish().unwrap();
    user.join().unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(DONE));
    assert_least(&observed, &JANITOR);
    for name in ["v", "f"] {
        assert!(!place.scratch.path(name).exists(), "{name}");
    }
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "another's");
    assert!(place.scratch.path("old").exists() && place.scratch.path("v_52").exists());
}

fn an_attacker_in_a_janitor_dies_at_each_attack_on_others() {
    let place = Place::new();
    with_victim(|target| {
        for (attack, _) in Attack::ALL {
            let (_control, its_control) = pair(SocketType::SEQPACKET);
            let layers = janitor_layers(&place.folder()).keep(&its_control);
            let mut child = casemate_sandbox::spawn(layers, move |born| {
                janitor_body(&[], &its_control, born, || {
                    let refused = attack.attempt(target).is_err();
                    casemate_sandbox::exit(if refused { REFUSED } else { SUCCEEDED })
                })
            })
            .unwrap();
            assert_eq!(child.wait().unwrap(), Exit::Filter, "{attack:?}");
        }
    });
}

/// Protects a driver that is stopped and goes on, as other VMMs do it with a guest that is paused:
/// its connections are gone, and it is told.
fn a_guest_that_was_stopped_is_told_that_its_connections_are_gone() {
    let mut device = device(FrontEnd::Foreign, |_| ());
    let mut guest = Guest::new(device.socket);
    guest.that_was_all();
    guest.begin();
    let ports = Ports { guest: 1025, host: PORT };
    guest.send(Op::Request, ports, 0, 0, &[]);
    let (mut host, _) = device.place.host.accept().unwrap();
    guest.expect(Op::Response);
    assert_eq!(guest.event(), None);
    guest.stop();
    assert_eq!(host.read(&mut [0; 1]).unwrap(), 0, "the host's side has come to its end");
    guest.driver.send_events();
    guest.driver.activate(0);
    // What was posted before is still there: one event, and then a packet that is for nobody.
    assert!(guest.driver.wait(2).is_some());
    assert_eq!(guest.driver.ram.read(DATA + 0x60_0000, 4), [0; 4]);
    guest.send(Op::Data, ports, 0, 0, b"late");
    guest.expect(Op::Reset);
    drop(guest);
    assert_eq!(device.child.wait().unwrap(), Exit::Code(DONE));
}

/// Protects a guest from its own rings: one that breaks a queue breaks its device, which is told by
/// the error event, and the next driver has all of it.
fn a_ring_that_cannot_be_ends_the_connections_and_the_next_driver_begins_anew() {
    let mut device = device(FrontEnd::Ours, |_| ());
    let mut guest = Guest::new(device.socket);
    guest.that_was_all();
    for queue in [0, 1] {
        guest.begin();
        let ports = Ports { guest: 1025, host: PORT };
        guest.send(Op::Request, ports, 0, 0, &[]);
        let (mut host, _) = device.place.host.accept().unwrap();
        guest.expect(Op::Response);
        guest.driver.lie(queue, 9999);
        if queue == 0 {
            // The device looks at buffers when it has something for them.
            host.write_all(b"x").unwrap();
        }
        assert!(casemate_test_devices::driver::readable(&guest.driver.queues[queue].err));
        let _ = guest.driver.queues[queue].err.read();
        assert_eq!(host.read(&mut [0; 1]).unwrap_or(0), 0);
        guest.stop();
    }
    guest.begin();
    use_streams(&mut guest, &device.place);
    drop(guest);
    assert_eq!(device.child.wait().unwrap(), Exit::Code(DONE));
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        vsock_profile_allows_what_is_used_and_nothing_else,
        connector_uses_every_rule_of_its_profile_and_makes_no_other_call,
        vsock_processes_are_locked_as_the_kernel_tells,
        what_a_socket_device_holds_takes_an_attacker_nowhere_else,
        an_attacker_in_a_socket_device_dies_at_each_attack_on_others,
        a_connector_connects_in_its_directory_and_does_nothing_else,
        a_janitor_removes_what_is_still_its_vms_and_makes_no_other_call,
        an_attacker_in_a_janitor_dies_at_each_attack_on_others,
        a_guest_that_was_stopped_is_told_that_its_connections_are_gone,
        a_ring_that_cannot_be_ends_the_connections_and_the_next_driver_begins_anew,
    ])
}
