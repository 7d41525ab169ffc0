//! Back ends of others that cannot be used.

use crate::Place;
use casemate_device_backend::{Mode, Session};
use casemate_device_template::Echo;
use casemate_test_support::guests::kvm;
use std::os::unix::net::{UnixDatagram, UnixListener};

#[test]
fn a_socket_that_is_no_back_ends_is_one_line_by_key_and_remedy() {
    let place = Place::new("sockets");
    drop(UnixListener::bind(place.0.join("left")).unwrap());
    let _datagrams = UnixDatagram::bind(place.0.join("datagrams")).unwrap();
    for (back_end, words) in [
        ("socket=none,kind=block", &["`vhost_user0`", "`socket`", "start the back end first"][..]),
        ("socket=disk,kind=block", &["`vhost_user0`", "is no socket", "vhost-user back end"]),
        ("socket=left,kind=block,name=x", &["`x`", "nobody listens", "start the back end first"]),
        ("socket=datagrams,kind=block", &["`vhost_user0`", "not of the kind"]),
        ("socket=left,kind=gpu", &["`vhost_user.kind` is \"gpu\"", "\"block\""]),
        ("socket=left,kind=net,queues=2", &["`vhost_user.queues` is 2", "\"net\""]),
        ("socket=left,kind=net,mac=1", &["`vhost_user.mac` is", "hexadecimal"]),
        ("socket=left,kind=vsock --vsock path=v", &["`vhost_user.kind` is", "one socket device"]),
        ("socket=left,kind=net,name=n", &["`n`", "nobody listens", "start the back end first"]),
        ("socket=left", &["`vhost-user` is", "kind=block"]),
        ("socket=left,kind=block,queues=3", &["`vhost_user.queues` is 3", "`vcpus` is 2"]),
        (
            "socket=left,kind=block,name=disk0 --disk path=disk",
            &["`vhost_user.name` is \"disk0\" twice", "another name"],
        ),
        (
            "socket=left,kind=block --vhost-user socket=left,kind=block",
            &["`vhost_user.socket` is", "twice"],
        ),
    ] {
        place.refused(&format!("--vhost-user {back_end}"), 2, words);
    }
}

/// What is behind a socket that takes connections is known when it answers, or does not: a failure
/// of that program, not of the input.
#[test]
fn a_back_end_that_is_silent_or_another_devices_or_goes_is_told_in_one_line() {
    if kvm().is_none() {
        return;
    }
    let place = Place::new("behind");
    let listen = |name: &str| UnixListener::bind(place.0.join(name)).unwrap();
    let remedy = ["`vhost_user`", "its `kind`", "nobody else"];
    // Accepted and never answered.
    let silent = listen("silent");
    let words = [&remedy[..], &["did not answer GetFeatures in time"]].concat();
    place.refused("--vhost-user socket=silent,kind=block", 1, &words);
    // One of a real device that is no disk.
    let other = listen("other");
    let served = std::thread::spawn(move || {
        let (socket, _) = other.accept().unwrap();
        let guard = Box::new(|_, _| Ok(()));
        let device = Echo::<casemate_device_template::Counter>::default();
        assert!(Session::set_up(socket, device, Mode::Foreign, guard).is_err());
    });
    let words = [&remedy[..], &["another kind of device"]].concat();
    place.refused("--vhost-user socket=other,kind=block", 1, &words);
    served.join().unwrap();
    // Gone at once.
    let gone = listen("gone");
    let going = std::thread::spawn(move || drop(gone.accept().unwrap()));
    let words = [&remedy[..], &["closed its socket"]].concat();
    place.refused("--vhost-user socket=gone,kind=block", 1, &words);
    going.join().unwrap();
    drop(silent);
}
