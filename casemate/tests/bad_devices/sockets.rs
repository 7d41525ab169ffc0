//! Sockets of a socket device that cannot be made, and what is left of those that were.

use crate::Place;
use casemate_test_support::guests::kvm;
use casemate_test_support::refusing::refusing;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// Protects who looks after the folder: what the policy does not admit has no socket in it, not for
/// a moment either, which the folder's time of change would tell.
#[test]
fn a_socket_device_that_is_denied_never_had_a_socket() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new("unbound");
    let permissive = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/src/builtin/permissive.toml");
    let permissive = std::fs::read_to_string(permissive).unwrap();
    let policy = permissive.replacen("vsock = { count = \"any\"", "vsock = { count = 0", 1);
    assert_ne!(policy, permissive);
    std::fs::write(place.0.join("none"), policy).unwrap();
    let folder = place.0.join("sockets");
    std::fs::create_dir(&folder).unwrap();
    let changed = |folder: &Path| {
        let folder = std::fs::metadata(folder).unwrap();
        (folder.mtime(), folder.mtime_nsec(), folder.ctime(), folder.ctime_nsec())
    };
    let before = changed(&folder);
    let flags = "--policy none --vsock cid=42,path=sockets/v";
    place.refused(flags, 1, &["the policy denies this VM", "devices.vsock"]);
    assert_eq!(changed(&folder), before, "something was made in the folder");
}

#[test]
fn a_socket_that_cannot_be_made_is_one_line_by_key_and_remedy() {
    let place = Place::new("unmade");
    drop(UnixListener::bind(place.0.join("left")).unwrap());
    let _listener = UnixListener::bind(place.0.join("taken")).unwrap();
    let long = format!("path={}", "x".repeat(108));
    for (flags, words) in [
        ("--vsock path=disk", &["`vsock.path` disk", "is no socket", "another path"][..]),
        ("--vsock path=left", &["`vsock.path` left", "nobody listens there", "remove it"]),
        ("--vsock path=taken", &["`vsock.path` taken", "another program", "another path"]),
        ("--vsock path=gone/v", &["`vsock.path` gone/v", "no such folder", "make it"]),
        (&format!("--vsock {long}"), &["`vsock.path` x", "108 bytes", "107", "a shorter one"]),
        (&format!("--vsock {long},ports=52"), &["`vsock.path` x", "108 bytes", "a shorter one"]),
        ("--vsock path=v,cid=2", &["`vsock.cid` is 2", "use 3 to"]),
        ("--vsock path=v,ports=1+2+1", &["`vsock.ports` is 1 twice", "once"]),
        ("--vsock-forward port=1,path=gone/f", &["`vsock.forward.path`", "no such folder"]),
        ("--vsock-forward port=1,path=disk", &["`vsock.forward.path`", "is no socket"]),
    ] {
        place.refused(flags, 2, words);
    }
}

/// Protects the folder of a socket device from a start that comes to its end half way, wherever
/// that is: descriptors run out one later each time, until the VM starts. Also where its janitor,
/// which is there to remove what is left, is what fails.
#[test]
fn a_start_that_fails_anywhere_leaves_no_socket() {
    if kvm().is_none() {
        return;
    }
    let place = Place::new("half");
    let guest = "run --protection none --memory 64M --kernel k --vsock cid=42,path=v";
    let mut no_janitor = place.command(guest);
    let no_janitor = refusing(&mut no_janitor, libc::SYS_landlock_add_rule, libc::EPERM);
    place.ends(no_janitor, 1, &["sandbox layer landlock"]);
    let before = place.names();
    let program = env!("CARGO_BIN_EXE_casemate");
    let (mut failures, mut last) = (0, String::new());
    for most in 8..200 {
        let limited = format!("ulimit -n {most}; exec {program} {guest},ports=52");
        let output = Command::new("sh").args(["-c", &limited]).current_dir(&place.0).output();
        let output = output.unwrap();
        last = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(place.names(), before, "{most}: {last}");
        // Both are ends of a guest that has run, the second on a KVM of software.
        if output.status.success() || last.contains("could not go on with the guest") {
            assert!(failures > 10, "{failures}");
            return;
        }
        failures += 1;
    }
    panic!("it starts with no number of descriptors, not with 199: {last}");
}
