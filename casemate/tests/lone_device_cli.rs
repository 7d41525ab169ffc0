//! `casemate device rng` and `casemate device console` as a user meets them: a front end is served,
//! nothing is left behind, and one line for what cannot be. Cannot tell of other projects' front
//! ends, nor of the lock: `lone_process` does that.

#![cfg(feature = "vm")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use casemate_test_devices::driver::{DATA, Driver};
use casemate_test_devices::memory::GuestRam;
use casemate_test_devices::scratch::Scratch;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Output, Stdio};

const RAM: usize = 16 << 20;

fn command(scratch: &Scratch, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
    command.arg("device").args(arguments).current_dir(scratch);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Serves one front end, whose driver this is.
fn served(scratch: &Scratch, arguments: &[&str], queues: u16) -> (Child, Driver) {
    let arguments = [arguments, &["--socket", "socket", "--once"]].concat();
    let mut child = command(scratch, &arguments).spawn().unwrap();
    // Looked at, not connected to: that would be the front end.
    while !scratch.path("socket").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it does not serve");
        std::thread::yield_now();
    }
    let socket = loop {
        // There before somebody listens.
        if let Ok(socket) = UnixStream::connect(scratch.path("socket")) {
            break socket;
        }
    };
    let mut driver = Driver::negotiate(socket, queues, GuestRam::new(RAM));
    driver.activate(0);
    (child, driver)
}

/// Its front end has gone.
fn ended(scratch: &Scratch, child: Child) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!((status.code(), stdout.len()), (Some(0), 0), "{said}");
    assert!(!scratch.path("socket").exists());
}

#[test]
fn random_numbers_are_served_to_a_front_end() {
    let scratch = Scratch::new();
    let (child, mut driver) = served(&scratch, &["rng"], 1);
    driver.ram.write(DATA, &[0; 64]);
    driver.chain(0, 0, &[(DATA, 64, true)]);
    driver.put(0, 0);
    driver.publish(0);
    assert_eq!(driver.wait(0), Some((0, 64)));
    assert_ne!(driver.ram.read(DATA, 64), [0; 64]);
    drop(driver);
    ended(&scratch, child);
}

#[test]
fn a_console_is_served_between_a_front_end_and_who_listens() {
    let scratch = Scratch::new();
    let listener = UnixListener::bind(scratch.path("console")).unwrap();
    let (child, mut driver) = served(&scratch, &["console", "--path", "console"], 2);
    let (mut host, _) = listener.accept().unwrap();
    driver.ram.write(DATA, b"to the host");
    driver.chain(1, 0, &[(DATA, 11, false)]);
    driver.put(1, 0);
    driver.publish(1);
    let mut bytes = [0; 11];
    host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"to the host");
    host.write_all(b"to the guest").unwrap();
    driver.chain(0, 0, &[(DATA + 0x1000, 64, true)]);
    driver.put(0, 0);
    driver.publish(0);
    assert_eq!(driver.wait(0), Some((0, 12)));
    assert_eq!(driver.ram.read(DATA + 0x1000, 12), b"to the guest");
    drop(driver);
    ended(&scratch, child);
}

/// Protects a user from a command that says nothing: who should take the output is not there, or
/// never takes anybody, and is not waited for.
#[test]
fn a_console_that_nobody_takes_is_one_line_status_2_and_leaves_nothing() {
    let scratch = Scratch::new();
    drop(UnixListener::bind(scratch.path("left")).unwrap());
    std::fs::write(scratch.path("file"), "").unwrap();
    let _full = UnixListener::bind(scratch.path("full")).unwrap();
    // Who has connected waits in the queue until it is full: these do not wait, either.
    let waiting: Vec<_> =
        std::iter::repeat_with(|| knock(&scratch)).map_while(Result::ok).collect();
    assert!(!waiting.is_empty());
    for path in ["none", "left", "file", "full"] {
        let arguments = ["console", "--socket", "socket", "--path", path];
        let Output { status, stderr, .. } = command(&scratch, &arguments).output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(2), "{path}: {said}");
        assert!(said.contains(path) && said.lines().count() == 1, "{path}: {said}");
        assert!(!scratch.path("socket").exists());
    }
}

/// Connects to the one that accepts nobody, without waiting.
fn knock(scratch: &Scratch) -> rustix::io::Result<rustix::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = SocketType::STREAM;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(scratch.path("full"))?)?;
    Ok(socket)
}
