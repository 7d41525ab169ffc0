//! The console.

use crate::device::{Device, Kind, that_was_all};
use casemate_device_console::profile::{FOREIGN, SET_UP, STEADY, layers};
use casemate_device_process::{DONE, DeviceKind, FrontEnd, Start};
use casemate_sandbox::{Exit, inspect};
use casemate_test_devices::driver::{DATA, Driver};
use casemate_test_support::device::{assert_confined, assert_locked, pair};
use casemate_test_support::sandbox::{assert_least_before, assert_least_in};
use rustix::net::SocketType;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

const CONSOLE: Kind = Kind {
    start: |front_end| Start { kind: DeviceKind::Console, front_end, config: Vec::new() },
    layers,
    queues: 2,
};
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// Where buffers for input are, behind those of output.
const IN: u64 = DATA + 0x40_0000;

/// The device's end of a stream, and the host's.
fn stream() -> (OwnedFd, UnixStream) {
    let (device, host) = pair(SocketType::STREAM);
    (device, host.into())
}

/// Writes bytes into a buffer that the device reads; they are not waited for.
fn says(driver: &mut Driver, head: u16, bytes: &[u8]) {
    let at = DATA + 0x1_0000 * u64::from(head);
    driver.ram.write(at, bytes);
    driver.chain(TRANSMIT, head, &[(at, bytes.len() as u32, false)]);
    driver.put(TRANSMIT, head);
    driver.publish(TRANSMIT);
}

/// Gives the device a buffer for input.
fn listens(driver: &mut Driver, len: u32) {
    driver.ram.write(IN, &vec![0; len as usize]);
    driver.chain(RECEIVE, 0, &[(IN, len, true)]);
    driver.put(RECEIVE, 0);
    driver.publish(RECEIVE);
}

fn hears(driver: &mut Driver) -> Vec<u8> {
    let (_, len) = driver.wait(RECEIVE).unwrap();
    driver.ram.read(IN, len as usize)
}

/// Both directions, and a stream that is full for a while.
fn use_it(driver: &mut Driver, host: &mut UnixStream) {
    driver.activate(0);
    says(driver, 0, b"to the host");
    assert_eq!(driver.wait(TRANSMIT), Some((0, 0)));
    let mut bytes = [0; 11];
    host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"to the host");
    // A buffer before there is input, and input before there is a buffer.
    listens(driver, 64);
    host.write_all(b"first").unwrap();
    assert_eq!(hears(driver), b"first");
    host.write_all(b"second").unwrap();
    listens(driver, 3);
    assert_eq!(hears(driver), b"sec");
    listens(driver, 64);
    assert_eq!(hears(driver), b"ond");
    for queue in [RECEIVE, TRANSMIT] {
        driver.stop(queue);
        driver.forget(queue);
    }
}

fn drive_ours(mut driver: Driver, mut host: UnixStream) {
    that_was_all(&mut driver);
    for _ in 0..2 {
        use_it(&mut driver, &mut host);
    }
}

/// As other VMMs do: memory and events come again while it runs.
fn drive_foreign(mut driver: Driver, mut host: UnixStream) {
    that_was_all(&mut driver);
    for _ in 0..2 {
        driver.send_memory();
        driver.send_events();
        use_it(&mut driver, &mut host);
    }
}

pub fn console_profile_allows_what_is_used_and_nothing_else() {
    let (device, host) = stream();
    let ours = CONSOLE.observed(FrontEnd::Ours, &[device], |driver| drive_ours(driver, host));
    assert_least_in(&ours, 2, &STEADY);
    let (device, host) = stream();
    let foreign =
        CONSOLE.observed(FrontEnd::Foreign, &[device], |driver| drive_foreign(driver, host));
    assert_least_in(&foreign, 2, &FOREIGN);
    let mut both = ours;
    both.merge(foreign);
    assert_least_before(&both, &SET_UP, &[&STEADY, &FOREIGN]);
    assert_eq!(STEADY.syscalls().len(), 7, "{:?}", STEADY.syscalls());
}

/// Protects the host: what is in force is what SECURITY.md says. Cannot tell of landlock, which no
/// other process can see.
pub fn console_process_is_locked_as_the_kernel_tells() {
    let (device, mut host) = stream();
    let Device { mut child, socket, .. } = CONSOLE.begin(FrontEnd::Ours, &[device], |_| ());
    assert_confined(&mut child, true);
    let mut driver = CONSOLE.driver(socket);
    that_was_all(&mut driver);
    use_it(&mut driver, &mut host);
    let told = inspect(child.pid()).unwrap();
    assert_locked(&told, 2);
    assert_eq!(told.root.as_deref(), Some(&[][..]), "{told}");
    assert!(told.fence.unwrap().is_whole(), "{told}");
    // The front end's socket, the watcher's and the stream; no terminal, no file but /dev/null.
    let open: Vec<&String> = told.descriptors.as_ref().unwrap().values().collect();
    let files = open.iter().filter(|what| what.starts_with('/') && !what.contains("null"));
    assert_eq!(files.count(), 0, "{told}");
    assert_eq!(open.iter().filter(|what| what.starts_with("socket:")).count(), 3, "{told}");
    drop(driver);
    assert_eq!(child.wait().unwrap(), Exit::Code(DONE));
}

/// Protects everybody from a process that is an attacker's: it kills only itself.
pub fn what_a_console_holds_takes_an_attacker_nowhere() {
    CONSOLE.assert_harmless(|| vec![stream().0]);
}

pub fn an_attacker_in_a_console_dies_at_each_attack_on_others() {
    CONSOLE.assert_harmless_to_others(|| vec![stream().0]);
}

/// Protects a guest's output: who does not read holds it back, by buffers that stay unused, and the
/// device goes on with input meanwhile; every byte comes, in order. Protects output that a guest
/// was told is written from the death of the process, too: it is in the stream.
pub fn a_reader_that_does_not_read_leaves_buffers_unused_and_loses_nothing() {
    const BUFFERS: u16 = 200;
    let (device, mut host) = stream();
    let Device { mut child, socket, .. } = CONSOLE.begin(FrontEnd::Ours, &[device], |_| ());
    let mut driver = CONSOLE.driver(socket);
    that_was_all(&mut driver);
    driver.activate(0);
    for head in 0..BUFFERS {
        driver.ram.write(DATA + 0x1000 * u64::from(head), &[head as u8; 4096]);
        driver.chain(TRANSMIT, head, &[(DATA + 0x1000 * u64::from(head), 4096, false)]);
        driver.put(TRANSMIT, head);
    }
    driver.publish(TRANSMIT);
    listens(&mut driver, 64);
    host.write_all(b"goes on").unwrap();
    assert_eq!(hears(&mut driver), b"goes on");
    // What a socket takes is less than what was offered.
    let mut taken: u16 = 0;
    while driver.answer(TRANSMIT).is_some() {
        taken += 1;
    }
    assert!(taken < BUFFERS, "{taken}");
    let mut page = [0; 4096];
    for head in 0..BUFFERS / 2 {
        host.read_exact(&mut page).unwrap();
        assert!(page == [head as u8; 4096], "{head}");
    }
    while taken < BUFFERS / 2 {
        assert!(driver.wait(TRANSMIT).is_some());
        taken += 1;
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Signal(libc::SIGKILL));
    while driver.answer(TRANSMIT).is_some() {
        taken += 1;
    }
    let (mut rest, mut told) = (Vec::new(), Vec::new());
    host.read_to_end(&mut rest).unwrap();
    for head in BUFFERS / 2..taken {
        told.extend([head as u8; 4096]);
    }
    assert!(rest.starts_with(&told), "{} of {}", rest.len(), told.len());
}

/// Protects a guest from its own driver's faults, and the host from a driver that is none: buffers
/// of the wrong direction and of no place are answered, and both queues go on.
pub fn what_no_driver_should_do_ends_no_console() {
    let (device, mut host) = stream();
    let Device { mut child, socket, .. } = CONSOLE.begin(FrontEnd::Foreign, &[device], |_| ());
    let mut driver = CONSOLE.driver(socket);
    that_was_all(&mut driver);
    driver.activate(0);
    for (queue, parts) in [
        (TRANSMIT, &[(DATA, 64, true)][..]),
        (TRANSMIT, &[(u64::MAX - 7, 64, false)][..]),
        (TRANSMIT, &[(DATA, u32::MAX, false)][..]),
        (TRANSMIT, &[(DATA, 64, true), (DATA, 64, false)][..]),
    ] {
        driver.chain(queue, 0, parts);
        driver.put(queue, 0);
        driver.publish(queue);
        assert_eq!(driver.wait(queue), Some((0, 0)), "{parts:?}");
    }
    host.write_all(b"kept").unwrap();
    driver.chain(RECEIVE, 0, &[(IN, 64, false)]);
    driver.put(RECEIVE, 0);
    driver.publish(RECEIVE);
    assert_eq!(driver.wait(RECEIVE), Some((0, 0)));
    listens(&mut driver, 64);
    assert_eq!(hears(&mut driver), b"kept");
    says(&mut driver, 0, b"still there");
    assert_eq!(driver.wait(TRANSMIT), Some((0, 0)));
    let mut bytes = [0; 11];
    host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"still there");
    // A host that is gone: its guest goes on, and its output goes nowhere.
    drop(host);
    says(&mut driver, 0, b"nobody");
    assert_eq!(driver.wait(TRANSMIT), Some((0, 0)));
    drop(driver);
    assert_eq!(child.wait().unwrap(), Exit::Code(DONE));
}
