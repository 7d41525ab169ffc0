//! Front ends that break the protocol. Protects: whatever bytes and descriptors come, the process
//! ends with a status or goes on, keeps no descriptor that it did not ask for, and takes nothing on
//! trust. Cannot tell: what a front end could do that speaks the protocol and lies about memory of
//! its own, which harms itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use casemate_device_backend::{Mode, Session};
use casemate_device_block::{Block as Device, Image, Options};
use casemate_test_devices::driver::{Block, Driver};
use casemate_test_devices::memory::GuestRam;
use casemate_test_devices::process::Process;
use casemate_test_devices::raw::{honest, is_there, message, send, send_with};
use casemate_test_devices::scratch::Scratch;
use std::os::fd::{AsFd, BorrowedFd};

const BACKEND: &str = env!("CARGO_BIN_EXE_block-backend");

struct Started {
    process: Process,
    _scratch: Scratch,
}

fn started() -> Started {
    let scratch = Scratch::new();
    let image = scratch.image("disk", 64);
    let words = [image.to_str().unwrap()];
    let process = Process::start(BACKEND, &scratch.path("socket"), &words);
    Started { process, _scratch: scratch }
}

/// A memory table of regions (guest address, size, user address, offset).
fn table(regions: &[[u64; 4]]) -> Vec<u8> {
    let count = u32::try_from(regions.len()).unwrap();
    let mut body = [count.to_le_bytes(), [0; 4]].concat();
    regions.iter().flatten().for_each(|number| body.extend(number.to_le_bytes()));
    body
}

#[test]
fn broken_messages_end_the_process_with_a_status() {
    let long = vec![0; 4097];
    // Without the feature that brings it, the message means what rings do of themselves.
    let taken = honest(2, &(1_u64 << 32 | 1 << 30).to_le_bytes());
    for (what, bytes) in [
        ("an unknown request", honest(77, &[])),
        ("request 0", honest(0, &[])),
        ("another version", message(1, 2, 0, &[])),
        ("reserved flags", message(1, 0xffff_fff1, 0, &[])),
        ("a reply", message(3, 5, 0, &[])),
        ("a body where none is", honest(3, &[1; 8])),
        ("a body that is too short", honest(2, &[1; 4])),
        ("a body that is too long", honest(2, &[1; 12])),
        ("more than 4 KiB", honest(2, &long)),
        ("a length of 4 GiB", message(2, 1, u32::MAX, &[])),
        ("no regions", honest(5, &table(&[]))),
        ("33 regions", honest(5, &table(&[[0, 4096, 0, 0]; 33]))),
        ("regions without files", honest(5, &table(&[[0, 4096, 0, 0]]))),
        ("a wrapping region", honest(5, &table(&[[u64::MAX, 4096, 0, 0]]))),
        ("a ring that is not aligned", honest(9, &[1; 40])),
        ("enable with 2", [taken.clone(), honest(18, &[0, 0, 0, 0, 2, 0, 0, 0])].concat()),
        ("the place of no queue", honest(11, &[9, 0, 0, 0, 0, 0, 0, 0])),
        ("a configuration beyond its end", honest(24, &[0xff; 12])),
        ("memory slots", honest(36, &[])),
        ("an in-flight region", honest(31, &[0; 24])),
        ("a log", honest(6, &[0; 16])),
        ("a kick without a descriptor", honest(12, &[0; 8])),
    ] {
        let mut backend = started();
        let socket = backend.process.connect();
        assert!(is_there(&socket));
        send(&socket, &bytes);
        assert_eq!(backend.process.wait().code(), Some(1), "{what}");
        let said = in_this_process(&bytes);
        assert!(said.contains("broke the protocol") && said.lines().count() == 1, "{what}: {said}");
    }
}

/// What a back end in this process says to the bytes, in set-up.
fn in_this_process(bytes: &[u8]) -> String {
    let scratch = Scratch::new();
    let image = Image::open(&scratch.image("disk", 64), &Options::default()).unwrap();
    let (file, facts) = image.into_parts();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let device = Device::new(file, facts);
    let serve = || Session::set_up(theirs, device, Mode::Foreign, Box::new(|_, _| Ok(())));
    let thread = std::thread::spawn(move || serve().map(drop).unwrap_err().to_string());
    send(&ours, bytes);
    thread.join().unwrap()
}

#[test]
fn half_a_message_and_silence_end_the_process_when_the_socket_closes() {
    for bytes in [&[][..], &[1], &honest(1, &[])[..11], &honest(2, &[0; 8])[..15]] {
        let mut backend = started();
        let socket = backend.process.connect();
        assert!(is_there(&socket));
        send(&socket, bytes);
        drop(socket);
        // Set-up was not done, so it has failed, however politely it was left.
        assert_eq!(backend.process.wait().code(), Some(1), "{bytes:?}");
    }
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let mut backend = started();
    let socket = backend.process.connect();
    assert!(is_there(&socket));
    let before = backend.process.descriptors();
    let file = std::fs::File::open("/dev/null").unwrap();
    let many: Vec<BorrowedFd<'_>> = (0..5).map(|_| file.as_fd()).collect();
    // A table of memory that is none: five descriptors, each looked at, none kept.
    let regions = [[0, 4096, 0, 0]; 5];
    send_with(&socket, &honest(5, &table(&regions)), &many);
    assert!(is_there(&socket));
    assert_eq!(backend.process.descriptors(), before);
    // With a message that carries none.
    send_with(&socket, &honest(3, &[]), &many);
    assert_eq!(backend.process.wait().code(), Some(1));
}

#[test]
fn memory_that_cannot_be_is_refused_and_the_session_goes_on() {
    let backend = started();
    let socket = backend.process.connect();
    let ram = GuestRam::new(0x4000);
    for regions in [
        // Longer than its file, unaligned, overlapping, beyond 52 bits.
        vec![[0, 0x8000, 0, 0]],
        vec![[0, 0x1000, 0, 0x4000]],
        vec![[0x800, 0x1000, 0, 0]],
        vec![[0, 0x1000, 0, 0x10]],
        vec![[0, 0x1001, 0, 0]],
        vec![[0, 0x2000, 0, 0], [0x1000, 0x1000, 0x9000, 0]],
        vec![[1 << 52, 0x1000, 0, 0]],
        vec![[0, 1 << 40, 0, 0]],
    ] {
        let files: Vec<_> = regions.iter().map(|_| ram.file().as_fd()).collect();
        send_with(&socket, &honest(5, &table(&regions)), &files);
        assert!(is_there(&socket), "{regions:x?}");
    }
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", backend.process.id())).unwrap();
    assert!(!maps.contains("memfd:ram"), "refused memory stays mapped");
}

#[test]
fn a_kick_that_is_no_event_is_not_waited_for_again() {
    let backend = started();
    let mut driver = Driver::negotiate(backend.process.connect(), 1, GuestRam::new(64 << 20));
    driver.activate(1 << 9);
    let read = Block { sector: 1, back: 512, ..Block::default() };
    assert_eq!(driver.block(0, &read).0, 0);
    // Always readable, and never an event: a device that believed it would spin.
    for path in ["/dev/zero", "/dev/null", "/proc/self/stat"] {
        let none = std::fs::File::open(path).unwrap();
        let socket = rustix::fd::AsFd::as_fd(&none);
        driver.send_kick(0, socket);
        let threads = || {
            let id = backend.process.id();
            let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
            tasks.map(|task| state(&task.unwrap().path())).collect::<String>()
        };
        // Asleep, both the control thread and the queue's: seen at the latest after a while.
        assert!((0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            threads() == "SS"
        }));
        // And answers again with an event.
        let kick = driver.queues[0].kick.try_clone().unwrap();
        vhost::VhostBackend::set_vring_kick(&driver.front, 0, &kick).unwrap();
        assert_eq!(driver.block(0, &read).0, 0);
    }
}

/// A thread's state, as /proc has it: S is asleep.
fn state(task: &std::path::Path) -> char {
    let stat = std::fs::read_to_string(task.join("stat")).unwrap();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap()
}
