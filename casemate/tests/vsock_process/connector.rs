//! The connector, which connects for the guest: inside its directory and nowhere else.

use crate::place::{Device, PORT, Place, device_beside};
use crate::streams::drive_ours;
use casemate_device_process::{ConnectorInput, DONE, FrontEnd, connector_body, connector_layers};
use casemate_device_vsock::profile::CONNECT;
use casemate_sandbox::{Child, Exit, Observer};
use casemate_test_devices::vsock::Guest;
use casemate_test_support::attack::Attack;
use casemate_test_support::device::{REFUSED, SUCCEEDED, end_of_attack, pair};
use casemate_test_support::sandbox::assert_least;
use casemate_test_support::target::Target;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg,
};
use std::fs::Permissions;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

pub fn connector_uses_every_rule_of_its_profile_and_makes_no_other_call() {
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

/// A connector that does something more, with its end of the channel, once it is locked; the
/// device's end.
fn connector_that(place: &Place, once_locked: impl FnOnce(&OwnedFd)) -> (OwnedFd, Child) {
    let (channel, its_channel) = pair(SocketType::SEQPACKET);
    // What it says there, nobody wants to know.
    let (_, its_control) = pair(SocketType::SEQPACKET);
    let layers = connector_layers(&place.folder()).keep(&its_channel).keep(&its_control);
    let child = casemate_sandbox::spawn(layers, move |born| {
        let connects = Place::connects();
        let input = ConnectorInput { connects, channel: its_channel, control: its_control };
        connector_body(&input, born, || once_locked(&input.channel))
    });
    (channel, child.unwrap())
}

/// Takes over a connector once it is locked.
fn take_over_connector(place: &Place, attack: impl FnOnce() -> bool) -> Exit {
    let (_channel, mut child) = connector_that(place, |_| end_of_attack(attack()));
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
pub fn a_connector_connects_in_its_directory_and_does_nothing_else() {
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
    let target = Target::new();
    for (attack, _) in Attack::ALL {
        let exit = take_over_connector(&place, || attack.attempt(target.victim()).is_ok());
        assert_eq!(exit, Exit::Filter, "{attack:?}");
    }
}

/// Sends as many descriptors as one message can have; what the kernel says.
fn send_many(channel: &OwnedFd) -> Result<usize, Errno> {
    const MANY: usize = 253;
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MANY))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = vec![channel.as_fd(); MANY];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(channel, &[IoSlice::new(b"many")], &mut control, SendFlags::DONTWAIT)
}

fn send_word(channel: &OwnedFd, word: &[u8]) -> Result<usize, Errno> {
    let mut nothing = SendAncillaryBuffer::default();
    sendmsg(channel, &[IoSlice::new(word)], &mut nothing, SendFlags::DONTWAIT)
}

fn dial(channel: &OwnedFd, turn: u32) {
    let question = [&0_u16.to_le_bytes()[..], &turn.to_le_bytes(), &PORT.to_le_bytes()].concat();
    rustix::io::write(channel, &question).unwrap();
}

/// Which dial an answer is for.
fn turn(answer: &[u8]) -> u32 {
    u32::from_le_bytes(answer[2..6].try_into().unwrap())
}

/// The next message, and how many descriptors came with it.
fn take(channel: &OwnedFd) -> (Vec<u8>, usize) {
    let (mut message, mut space) = ([0; 16], vec![MaybeUninit::uninit(); 4096]);
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let pieces = &mut [IoSliceMut::new(&mut message)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let len = recvmsg(channel, pieces, &mut control, flags).unwrap().bytes;
    let fds = control.drain().map(|with| match with {
        RecvAncillaryMessage::ScmRights(fds) => fds.count(),
        _ => 0,
    });
    let fds = fds.sum();
    (message[..len].to_vec(), fds)
}

/// Protects all later connections of a guest when descriptors of the user, of whatever program,
/// are more under way than the connector may add to. Makes them itself, from inside the connector,
/// which is the user that it would be.
pub fn descriptors_on_their_way_refuse_a_connection_and_not_the_next() {
    let place = Place::new();
    let (channel, mut child) = connector_that(&place, |channel| {
        let refused = (0..4).find_map(|_| send_many(channel).err());
        if refused != Some(Errno::TOOMANYREFS) {
            end_of_attack(true);
        }
    });
    // Nothing is taken before the first is answered, which it is when the second is connected.
    dial(&channel, 1);
    dial(&channel, 2);
    for _ in 0..2 {
        // A connector that gave up would never connect again.
        let mut host = [PollFd::new(&place.host, PollFlags::IN)];
        assert_eq!(poll(&mut host, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })), Ok(1));
        drop(place.host.accept().unwrap());
    }
    let (first, fds) = loop {
        let (said, fds) = take(&channel);
        if said != b"many" {
            break (said, fds);
        }
    };
    assert_eq!((turn(&first), fds), (1, 0), "it was connected");
    assert_eq!(turn(&take(&channel).0), 2);
    dial(&channel, 3);
    let (third, fds) = take(&channel);
    assert_eq!((turn(&third), fds), (3, 1));
    drop(channel);
    assert_eq!(child.wait().unwrap(), Exit::Code(DONE));
}

/// Protects other programs of the user: a device that is an attacker's, asks, and takes no answer
/// makes its connector hold a few descriptors under way.
pub fn a_device_that_takes_no_answers_holds_few_descriptors_on_their_way() {
    let place = Place::new();
    let (_channel, mut child) = connector_that(&place, |channel| {
        end_of_attack((0..32).all(|_| send_word(channel, b"answer").is_ok()));
    });
    assert_eq!(child.wait().unwrap(), Exit::Code(REFUSED));
}
