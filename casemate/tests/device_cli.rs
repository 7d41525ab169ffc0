//! `casemate device block` as a user meets it: one front end after another, nothing left behind,
//! and one line for each thing that cannot be. Cannot tell of other projects' front ends: QEMU is
//! tried elsewhere.

#![cfg(feature = "vm")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use casemate_test_devices::driver::{Block, Driver};
use casemate_test_devices::memory::GuestRam;
use casemate_test_devices::scratch::Scratch;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const FLUSH: u64 = 1 << 9;
const RAM: usize = 16 << 20;

fn command(scratch: &Scratch, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
    command.args(["device", "block"]).args(arguments).current_dir(scratch);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A device that listens on `socket` in the scratch folder.
fn serving(scratch: &Scratch, more: &[&str]) -> Child {
    let arguments = [&["--socket", "socket", "--file", "disk"], more].concat();
    let child = command(scratch, &arguments).spawn().unwrap();
    while UnixStream::connect(scratch.path("socket")).is_err() {
        std::thread::yield_now();
    }
    child
}

fn connect(scratch: &Scratch) -> Driver {
    let socket = UnixStream::connect(scratch.path("socket")).unwrap();
    Driver::negotiate(socket, 1, GuestRam::new(RAM))
}

fn sector(driver: &mut Driver, sector: u64) -> u8 {
    driver.activate(FLUSH);
    let read = Block { sector, back: 512, ..Block::default() };
    let (status, _, bytes) = driver.block(0, &read);
    assert_eq!(status, 0);
    bytes[0]
}

/// Children of a process, by their numbers.
fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIPPED: reading back what is in force needs root");
    }
    root
}

#[test]
fn front_ends_are_served_one_after_the_other_by_processes_of_their_own() {
    let scratch = Scratch::new();
    let _ = scratch.image("disk", 64);
    let mut device = serving(&scratch, &["--serial", "one"]);
    let mut processes = Vec::new();
    for _ in 0..2 {
        let mut driver = connect(&scratch);
        assert_eq!(sector(&mut driver, 7), 7);
        if let [process] = children(device.id())[..] {
            processes.push(process);
        }
    }
    processes.dedup();
    assert_eq!(processes.len(), 2);
    let pid = Pid::from_raw(device.id().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(device.wait().unwrap().code(), Some(0));
    assert!(!scratch.path("socket").exists());
}

/// Protects who waits for a disk: the process is there and confined before its front end, so that
/// what a front end waits for is answers. And the host, from a device that fails without any.
#[test]
fn a_process_is_confined_before_its_front_end_comes_and_takes_no_other() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let _ = scratch.image("disk", 64);
    let arguments = ["--socket", "socket", "--file", "disk"];
    let mut device = command(&scratch, &arguments).spawn().unwrap();
    let process = loop {
        if let [process] = children(device.id())[..] {
            break process;
        }
        std::thread::yield_now();
    };
    let confined = || casemate_sandbox::inspect(process).is_ok_and(|told| told.uid == 65534);
    while !confined() {
        std::thread::yield_now();
    }
    let mut driver = connect(&scratch);
    assert_eq!(sector(&mut driver, 5), 5);
    assert_eq!(children(device.id()), [process]);
    // It has its front end's socket, and not the one on which others come: they wait.
    let open = casemate_sandbox::inspect(process).unwrap().descriptors.unwrap();
    let sockets = open.values().filter(|what| what.starts_with("socket:")).count();
    assert_eq!(sockets, 2, "its front end and its supervisor: {open:?}");
    drop(driver);
    device.kill().unwrap();
    device.wait().unwrap();
}

/// Protects the host from a front end's guest. Landlock cannot be read back.
#[test]
fn a_front_ends_process_is_locked_as_the_kernel_tells() {
    if !is_root() {
        return;
    }
    for fence in [true, false] {
        let scratch = Scratch::new();
        let _ = scratch.image("disk", 64);
        let mut device = serving(&scratch, if fence { &["--fence"] } else { &[] });
        let mut driver = connect(&scratch);
        driver.forget(0);
        assert_eq!(sector(&mut driver, 3), 3);
        let [process] = children(device.id())[..] else { panic!() };
        let told = casemate_sandbox::inspect(process).unwrap();
        assert_eq!((told.seccomp_mode, told.seccomp_filters, told.uid), (2, 2, 65534), "{told}");
        assert!(told.threads_agree && told.no_new_privs, "{told}");
        assert!(told.capabilities.values().all(|set| *set == 0), "{told}");
        assert_eq!(told.root.as_deref(), Some(&[][..]), "{told}");
        let seen = told.fence.unwrap();
        assert_eq!((seen.is_whole(), seen.unfenced > 0), (fence, !fence), "{told}");
        drop(driver);
        device.kill().unwrap();
        device.wait().unwrap();
        // It ends with who started it.
        while Path::new(&format!("/proc/{process}/root")).exists() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn once_ends_with_the_first_front_end_and_its_status_says_how() {
    for (breach, expected) in [(false, 0), (true, 1)] {
        let scratch = Scratch::new();
        let _ = scratch.image("disk", 64);
        let arguments = ["--socket", "socket", "--file", "disk", "--once", "--read-only"];
        let mut device = command(&scratch, &arguments).spawn().unwrap();
        let mut front_end = loop {
            if let Ok(socket) = UnixStream::connect(scratch.path("socket")) {
                break socket;
            }
            std::thread::yield_now();
        };
        if breach {
            // Another version of the protocol.
            front_end.write_all(&[1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]).unwrap();
            let _ = front_end.read(&mut [0; 64]);
        }
        drop(front_end);
        let status = device.wait().unwrap();
        let mut said = String::new();
        device.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(expected), "{said}");
        assert_eq!(said.lines().count(), usize::from(breach), "{said}");
        assert!(!scratch.path("socket").exists());
    }
}

fn refused(scratch: &Scratch, arguments: &[&str]) -> String {
    let Output { status, stderr, stdout } = command(scratch, arguments).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(2), 0), "{arguments:?}: {said}");
    said
}

#[test]
fn what_cannot_be_is_one_line_status_2_and_leaves_nothing() {
    let scratch = Scratch::new();
    let _ = scratch.image("disk", 64);
    std::fs::write(scratch.path("odd"), [0; 100]).unwrap();
    std::fs::write(scratch.path("empty"), "").unwrap();
    let _listener = UnixListener::bind(scratch.path("taken")).unwrap();
    drop(UnixListener::bind(scratch.path("left")).unwrap());
    let long = "x".repeat(120);
    let cases: [(&[&str], &str); 10] = [
        (&["--socket", "s", "--file", "none"], "none"),
        (&["--socket", "s", "--file", "."], "directory"),
        (&["--socket", "s", "--file", "odd"], "512"),
        (&["--socket", "s", "--file", "empty"], "empty"),
        (&["--socket", "s", "--file", "disk", "--serial", "a-serial-number-too-long"], "serial"),
        (&["--socket", "taken", "--file", "disk"], "listens"),
        (&["--socket", "left", "--file", "disk"], "remove it"),
        (&["--socket", "odd", "--file", "disk"], "no socket"),
        (&["--socket", "none/s", "--file", "disk"], "folder"),
        (&["--socket", &long, "--file", "disk"], "107"),
    ];
    for (arguments, word) in cases {
        let said = refused(&scratch, arguments);
        assert!(said.contains(word), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!scratch.path("s").exists());
    }
    for (option, value) in [("--queues", "0"), ("--queues", "17"), ("--optional", "x")] {
        let said = refused(&scratch, &["--socket", "s", "--file", "disk", option, value]);
        assert!(said.contains(option), "{said}");
    }
    // A second device on the same image.
    let mut device = serving(&scratch, &[]);
    let said = refused(&scratch, &["--socket", "s", "--file", "disk"]);
    assert!(said.contains("in use by another VM"), "{said}");
    device.kill().unwrap();
    device.wait().unwrap();
}
