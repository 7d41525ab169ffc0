//! A disk whose guest is held within limits, on /dev/kvm, as the program runs it: by the
//! configuration, and by `casemate limit` while it runs. Protects the host from a guest that wants
//! more of a disk than it was given, also after its standby has taken over, and the guest from
//! being left waiting when it is given more. Cannot tell how much goes in a second, which is tested
//! with a given clock. Skipped, and said so, without /dev/kvm or not as root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod disk_vm;

use casemate_hypervisor::exits::Stop;
use casemate_hypervisor::vm::{End, ProcessKind};
use casemate_sandbox::Exit;
use casemate_test_support::guests::kvm;
use casemate_test_support::script::Script;
use casemate_test_support::virtio::{Driver, REQUEST};
use disk_vm::{Folder, GOOD, READ, Vm, WRITE, pid, processes, signal};
use rustix::process::Signal;
use std::process::{Command, ExitCode, Output};
use std::time::Duration;

fn powered_off(end: &End, said: &str) -> bool {
    *end == End::Stopped(Stop::PowerOff { status: None }) && said.contains("its standby goes on")
}

fn casemate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate")).args(arguments).output().unwrap()
}

/// The guest writes, reads a thousand times, and writes again: with one request a second it would
/// take longer than its VM may run, so it ends well only when the limit is lifted.
fn a_guest_stays_within_the_limits_of_its_disk_until_they_are_changed() {
    let (folder, name) = (Folder::new("limited"), format!("limited-{}", std::process::id()));
    let script = Script::default().open().reset().drive(1 << 9);
    let script = script.bytes(REQUEST[1], b"first").request(0, WRITE, 0, 512);
    let script = (1..1000).fold(script, |script, number| script.request(number, READ, 2, 512));
    let script = script.bytes(REQUEST[1], b"last.").request(1000, WRITE, 0, 512);
    let mut vm = Vm::new(&folder, &name, &script);
    (vm.devices.disk[0].iops, vm.devices.disk[0].iops_burst) = (Some(1), Some(1));
    let mut supervisor = vm.start(powered_off);
    let all = processes(&name, 4);
    folder.wait_for(b"first");
    // A thousand requests take milliseconds without a limit.
    let is_held_back = || {
        std::thread::sleep(Duration::from_millis(500));
        !folder.image().starts_with(b"last.")
    };
    assert!(is_held_back());
    // Nor does a process that takes over let it have more.
    signal(pid(&all, ProcessKind::Block), Signal::KILL);
    processes(&name, 3);
    assert!(is_held_back());
    // What is changed is what was asked for, of a disk that there is.
    for (words, status, says) in [
        (
            &["disk1", "none"][..],
            1,
            "no process of it serves a disk or a network device of that name",
        ),
        (&["disk0", "iops=0"], 2, "`disk.iops` is 0"),
        (&["disk0", "iops_burst=9"], 2, "`disk.iops_burst` is 9"),
        (&["disk0/", "none"], 2, "a device has no such name"),
        (&["disk0", "iops=1", "bandwidth=1M"], 0, ""),
    ] {
        let output = casemate(&[&["limit", &name][..], words].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{words:?}: {said}");
        assert!(said.contains(says), "{words:?}: {said}");
    }
    let shown = String::from_utf8(casemate(&["inspect", &name]).stdout).unwrap();
    for limit in ["1 requests a second, 1 at once", "1048576 bytes a second, 1048576 at once"] {
        assert!(shown.contains(limit), "{shown}");
    }
    assert!(is_held_back());
    assert!(casemate(&["limit", &name, "disk0", "none"]).status.success());
    assert_eq!(supervisor.wait().unwrap(), Exit::Code(GOOD));
    assert!(folder.image().starts_with(b"last."));
}

fn main() -> ExitCode {
    if kvm().is_none() {
        return ExitCode::SUCCESS;
    }
    casemate_test_support::sandbox::main(&[(
        "a_guest_stays_within_the_limits_of_its_disk_until_they_are_changed",
        a_guest_stays_within_the_limits_of_its_disk_until_they_are_changed,
    )])
}
