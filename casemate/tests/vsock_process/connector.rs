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
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::fs::Permissions;
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

/// Takes over a connector once it is locked.
fn take_over_connector(place: &Place, attack: impl FnOnce() -> bool) -> Exit {
    let (_channel, its_channel) = pair(SocketType::SEQPACKET);
    let (_control, its_control) = pair(SocketType::SEQPACKET);
    let layers = connector_layers(&place.folder()).keep(&its_channel).keep(&its_control);
    let mut child = casemate_sandbox::spawn(layers, move |born| {
        let connects = Place::connects();
        let input = ConnectorInput { connects, channel: its_channel, control: its_control };
        connector_body(&input, born, || end_of_attack(attack()))
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
