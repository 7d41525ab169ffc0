//! A block device under its profiles, as in a VM of ours. Protects: with the steady filter, which
//! kills for any other call, it answers every kind of request, carries a second driver, and takes
//! no descriptor; memory comes once. Cannot tell: what the layers of a spawned process forbid
//! beyond the filter (the image of the device processes is tested for that).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use casemate_test_devices::driver::{Block, Driver, NEEDED, SIZE};
use casemate_test_devices::memory::GuestRam;
use casemate_test_devices::process::Process;
use casemate_test_devices::scratch::Scratch;
use std::os::fd::AsFd;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;

const BACKEND: &str = env!("CARGO_BIN_EXE_block-backend");
const FLUSH: u64 = 1 << 9;

/// A locked device, set up as a VM of ours does it: everything that carries a descriptor, then the
/// message that says so.
fn locked(scratch: &Scratch, words: &[&str], queues: u16) -> (Process, Driver) {
    let image = scratch.image("disk", 64);
    let words = [&[image.to_str().unwrap(), "ours", "lock"], words].concat();
    let process = Process::start(BACKEND, &scratch.path("socket"), &words);
    let mut driver = Driver::negotiate(process.connect(), queues, GuestRam::new(64 << 20));
    driver.front.set_vring_enable(0, false).unwrap();
    (process, driver)
}

/// One of each request that the device offers, with and without flush.
fn every_request(driver: &mut Driver, features: u64) {
    for features in [features & !FLUSH, features | FLUSH] {
        driver.activate(features);
        for queue in 0..driver.queues.len() {
            let write = Block { kind: 1, sector: 8, out: &[0x5a; 4096], ..Block::default() };
            assert_eq!(driver.block(queue, &write).0, 0);
            let read = Block { sector: 8, back: 4096, ..Block::default() };
            assert!(driver.block(queue, &read).2 == [0x5a; 4096]);
            assert_eq!(driver.block(queue, &Block { kind: 4, ..Block::default() }).0, 0);
            let id = driver.block(queue, &Block { kind: 8, back: 20, ..Block::default() });
            assert_eq!(id.2, b"casemate-test\0\0\0\0\0\0\0");
            let segment = [&16_u64.to_le_bytes()[..], &[8, 0, 0, 0, 0, 0, 0, 0]].concat();
            for (kind, bit) in [(11, 13), (13, 14)] {
                let request = Block { kind, out: &segment, ..Block::default() };
                let expected = if driver.offered & 1 << bit == 0 { 2 } else { 0 };
                assert_eq!(driver.block(queue, &request).0, expected, "{kind}");
            }
        }
        for queue in 0..driver.queues.len() {
            driver.stop(queue);
            driver.forget(queue);
        }
    }
}

#[test]
fn the_steady_profile_is_the_frame_and_what_an_image_needs_in_twelve_calls() {
    let calls = casemate_device_block::profile::STEADY.syscalls();
    let of_disk = ["fallocate", "fdatasync", "preadv", "pwritev", "pwritev2"];
    let frame = ["exit_group", "futex", "ppoll", "read", "recvmsg", "sendmsg", "write"];
    let mut all = [&of_disk[..], &frame].concat();
    all.sort_unstable();
    assert_eq!(calls, all);
}

#[test]
fn every_request_is_answered_under_the_steady_filter_by_one_driver_after_another() {
    for (words, queues) in [(&[][..], 1), (&["queues=4"][..], 4)] {
        let scratch = Scratch::new();
        let (mut process, mut driver) = locked(&scratch, words, queues);
        let offered = driver.offered;
        every_request(&mut driver, offered);
        every_request(&mut driver, offered);
        drop(driver);
        assert_eq!(process.wait().code(), Some(0));
    }
}

#[test]
fn refusals_and_malformed_rings_need_no_other_call() {
    let scratch = Scratch::new();
    let (mut process, mut driver) = locked(&scratch, &[], 1);
    driver.activate(FLUSH);
    assert!(driver.front.set_vring_num(0, SIZE).is_err());
    assert!(driver.front.set_features(1 << 60 | NEEDED).is_err());
    driver.lie(0, SIZE + 1);
    assert!(casemate_test_devices::driver::readable(&driver.queues[0].err));
    driver.stop(0);
    driver.forget(0);
    driver.activate(FLUSH);
    assert_eq!(driver.block(0, &Block { sector: 1, back: 512, ..Block::default() }).0, 0);
    // A protocol breach ends it by its own status, not by the filter.
    let _ = driver.front.get_vring_base(7);
    drop(driver);
    assert!(matches!(process.wait().code(), Some(0 | 1)));
}

#[test]
fn a_descriptor_that_is_sent_after_the_lock_never_arrives() {
    let scratch = Scratch::new();
    let (process, mut driver) = locked(&scratch, &[], 1);
    driver.activate(FLUSH);
    let read = Block { sector: 1, back: 512, ..Block::default() };
    assert_eq!(driver.block(0, &read).0, 0);
    let before = process.descriptors();
    let file = std::fs::File::open("/dev/null").unwrap();
    driver.send_kick(0, file.as_fd());
    // The queue is served by another thread than the messages, and does not notice.
    for _ in 0..50 {
        assert_eq!(driver.block(0, &read).0, 0);
    }
    assert_eq!(process.descriptors(), before);
}

#[test]
fn memory_is_sent_once_and_events_before_the_lock() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", 64);
    let words = [image.to_str().unwrap(), "ours", "lock"];
    let mut process = Process::start(BACKEND, &scratch.path("socket"), &words);
    let mut driver = Driver::negotiate(process.connect(), 1, GuestRam::new(64 << 20));
    assert!(driver.front.set_mem_table(&[driver.region()]).is_err());
    driver.front.set_vring_enable(0, false).unwrap();
    driver.activate(FLUSH);
    assert_eq!(driver.block(0, &Block { sector: 1, back: 512, ..Block::default() }).0, 0);
    drop(driver);
    assert_eq!(process.wait().code(), Some(0));
    // A second queue without its kick: the device does not begin.
    let words = [image.to_str().unwrap(), "ours", "lock", "queues=2"];
    let mut process = Process::start(BACKEND, &scratch.path("socket"), &words);
    let mut driver = Driver::negotiate(process.connect(), 1, GuestRam::new(64 << 20));
    let _ = driver.front.set_vring_enable(0, false);
    assert_eq!(process.wait().code(), Some(1));
}
