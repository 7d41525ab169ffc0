//! A block device as a front end sees it, over the `vhost` crate's `Frontend`. Protects: what a
//! driver asks is done to the image and answered; queues stop, go on where they were, and are taken
//! over by a second driver; settings of a running queue do not change. Cannot tell: what Linux or
//! firmware ask (tests/devices/qemu), or what the lock forbids (`locked.rs`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use casemate_device_backend::{Ended, Mode, Session, SetUpError};
use casemate_device_block::{Block as Device, Image, Options};
use casemate_test_devices::driver::{Block, DATA, Driver, SIZE, readable, readable_within};
use casemate_test_devices::memory::GuestRam;
use casemate_test_devices::scratch::Scratch;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;

const FLUSH: u64 = 1 << 9;
const IN: u32 = 0;
const OUT: u32 = 1;

/// A device in a thread of this process, and a driver of it that is not activated yet.
fn served(image: &Path, options: &Options) -> (JoinHandle<Result<Ended, SetUpError>>, Driver) {
    let (file, facts) = Image::open(image, options).unwrap().into_parts();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let serve = move || {
        let device = Device::new(file, facts);
        Ok(Session::set_up(theirs, device, Mode::Foreign, Box::new(|_, _| Ok(())))?.serve())
    };
    let thread = std::thread::spawn(serve);
    (thread, Driver::negotiate(ours, options.queues, GuestRam::new(64 << 20)))
}

fn ends(thread: JoinHandle<Result<Ended, SetUpError>>, driver: Driver) {
    drop(driver);
    assert_eq!(thread.join().unwrap().unwrap(), Ended::FrontEndGone);
}

#[test]
fn what_is_written_is_in_the_image_and_comes_back() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", 64);
    let (thread, mut driver) = served(&image, &Options::default());
    driver.activate(FLUSH);
    let (status, len, bytes) =
        driver.block(0, &Block { sector: 5, back: 1024, ..Block::default() });
    assert_eq!((status, len), (0, 1025));
    assert_eq!(bytes, [[5; 512], [6; 512]].concat());
    let write = Block { kind: OUT, sector: 63, out: &[0xee; 512], ..Block::default() };
    assert_eq!(driver.block(0, &write), (0, 1, vec![]));
    assert_eq!(driver.block(0, &Block { kind: 4, ..Block::default() }), (0, 1, vec![]));
    let on_disk = std::fs::read(&image).unwrap();
    assert_eq!(on_disk[63 * 512..], [0xee; 512]);
    assert_eq!(on_disk[62 * 512..63 * 512], [62; 512]);
    let (status, len, id) = driver.block(0, &Block { kind: 8, back: 20, ..Block::default() });
    assert_eq!((status, len, id), (0, 21, vec![0; 20]));
    ends(thread, driver);
}

#[test]
fn discard_and_write_zeroes_make_zeros_and_nothing_beside_them() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", 64);
    let (thread, mut driver) = served(&image, &Options::default());
    driver.activate(driver.offered);
    for (kind, bit, sector, flags) in [(11_u32, 13, 8_u64, 0_u32), (13, 14, 24, 0), (13, 14, 40, 1)]
    {
        if driver.offered & 1 << bit == 0 {
            println!(
                "SKIPPED: the file system of {} does not have request {kind}",
                image.display()
            );
            continue;
        }
        let segment =
            [&sector.to_le_bytes()[..], &8_u32.to_le_bytes(), &flags.to_le_bytes()].concat();
        let request = Block { kind, out: &segment, ..Block::default() };
        assert_eq!(driver.block(0, &request), (0, 1, vec![]), "{kind}");
        let (_, _, bytes) =
            driver.block(0, &Block { sector: sector - 1, back: 10 * 512, ..Block::default() });
        let byte = u8::try_from(sector).unwrap();
        let expected = [vec![byte - 1; 512], vec![0; 8 * 512], vec![byte + 8; 512]].concat();
        assert!(bytes == expected, "{kind}");
    }
    assert_eq!(std::fs::metadata(&image).unwrap().len(), 64 * 512);
    ends(thread, driver);
}

#[test]
fn the_configuration_space_says_what_the_image_is() {
    let scratch = Scratch::new();
    let options = Options { queues: 3, ..Options::default() };
    let (thread, mut driver) = served(&scratch.image("disk", 77), &options);
    let config = driver.config(96);
    let number = |at: usize, len: usize| {
        config[at..at + len].iter().rev().fold(0_u64, |n, byte| n << 8 | u64::from(*byte))
    };
    assert_eq!((number(0, 8), number(20, 4), number(34, 2)), (77, 512, 3));
    assert!(config[60..].iter().all(|byte| *byte == 0));
    assert_eq!(driver.front.get_queue_num().unwrap(), 3);
    assert_eq!(driver.offered & (1 << 33 | 1 << 34 | 1 << 29 | 1 << 28 | 1 << 26), 0);
    assert!(
        driver
            .front
            .set_config(0, vhost::vhost_user::message::VhostUserConfigFlags::WRITABLE, &[1])
            .is_err()
    );
    driver.activate(0);
    ends(thread, driver);
}

#[test]
fn queues_work_side_by_side_and_each_is_told_of_its_own() {
    let scratch = Scratch::new();
    let options = Options { queues: 4, ..Options::default() };
    let (thread, mut driver) = served(&scratch.image("disk", 64), &options);
    driver.activate(FLUSH);
    for round in 0..50_u64 {
        for queue in 0..4_usize {
            let sector = (round + queue as u64) % 64;
            let (status, _, bytes) =
                driver.block(queue, &Block { sector, back: 512, ..Block::default() });
            assert_eq!((status, bytes[0]), (0, u8::try_from(sector).unwrap()));
        }
    }
    ends(thread, driver);
}

/// Puts `count` reads of sector 1 into queue 0, each with descriptors of its own.
fn many_reads(driver: &mut Driver, count: u16) {
    for index in 0..count {
        let at = DATA + 0x1000 * u64::from(index);
        driver.ram.write(at, &casemate_test_devices::driver::header(IN, 1));
        let parts = [(at, 16, false), (at + 0x200, 512, true), (at + 0x800, 1, true)];
        driver.chain(0, index * 3, &parts);
        driver.put(0, index * 3);
    }
}

#[test]
fn a_queue_that_stops_under_load_goes_on_where_it_was() {
    let scratch = Scratch::new();
    let (thread, mut driver) = served(&scratch.image("disk", 64), &Options::default());
    driver.activate(FLUSH);
    let mut answered = 0;
    for _ in 0..20 {
        many_reads(&mut driver, 80);
        driver.publish(0);
        // Wherever it is.
        let next = driver.stop(0);
        while let Some((head, len)) = driver.answer(0) {
            assert_eq!((head % 3, len), (0, 513));
            answered += 1;
        }
        assert_eq!(next, driver.queues[0].used, "the place is what was answered");
        let kick = driver.queues[0].kick.try_clone().unwrap();
        driver.front.set_vring_kick(0, &kick).unwrap();
        driver.activate(FLUSH);
        driver.queues[0].kick.write(1).unwrap();
        while driver.queues[0].used != driver.queues[0].available {
            driver.wait(0).unwrap();
            answered += 1;
        }
    }
    assert_eq!(answered, 20 * 80);
    ends(thread, driver);
}

#[test]
fn a_second_driver_begins_anew_and_memory_may_come_again() {
    let scratch = Scratch::new();
    let (thread, mut driver) = served(&scratch.image("disk", 64), &Options::default());
    for _ in 0..3 {
        driver.activate(FLUSH);
        let read = Block { sector: 9, back: 512, ..Block::default() };
        assert_eq!(driver.block(0, &read).2, [9; 512]);
        driver.stop(0);
        driver.forget(0);
        driver.send_memory();
        let kick = driver.queues[0].kick.try_clone().unwrap();
        driver.front.set_vring_kick(0, &kick).unwrap();
    }
    ends(thread, driver);
}

#[test]
fn settings_of_a_running_queue_are_refused_and_it_runs_on() {
    let scratch = Scratch::new();
    let (thread, mut driver) = served(&scratch.image("disk", 64), &Options::default());
    driver.activate(FLUSH);
    let read = Block { sector: 9, back: 512, ..Block::default() };
    assert_eq!(driver.block(0, &read).0, 0);
    assert!(driver.front.set_vring_num(0, 2 * SIZE).is_err());
    assert!(driver.front.set_vring_addr(0, &driver.rings(0)).is_err());
    assert!(driver.front.set_vring_base(0, 7).is_err());
    assert!(driver.front.set_features(casemate_test_devices::driver::NEEDED).is_err());
    // What a heartbeat is: nothing changes, and the answer comes when the queue is idle.
    driver.front.set_vring_enable(0, true).unwrap();
    assert_eq!(driver.block(0, &read).2, [9; 512]);
    ends(thread, driver);
}

#[test]
fn a_ring_of_one_entry_runs() {
    let scratch = Scratch::new();
    let (thread, mut driver) = served(&scratch.image("disk", 64), &Options::default());
    driver.place_rings(FLUSH);
    driver.front.set_vring_num(0, 1).unwrap();
    driver.front.set_vring_enable(0, true).unwrap();
    // No request of a disk fits; one without a status is answered as such.
    driver.chain(0, 0, &[(driver.ram.len() as u64 - 16, 16, false)]);
    driver.put(0, 0);
    driver.publish(0);
    assert_eq!(driver.wait(0), Some((0, 0)));
    ends(thread, driver);
}

#[test]
fn a_ring_that_cannot_be_is_refused_and_the_next_one_runs() {
    let scratch = Scratch::new();
    let (thread, mut driver) = served(&scratch.image("disk", 64), &Options::default());
    for size in [0, 3, 2048] {
        assert!(driver.front.set_vring_num(0, size).is_err());
    }
    let mut beyond = driver.rings(0);
    beyond.used_ring_addr = driver.ram.user() + driver.ram.len() as u64;
    assert!(driver.front.set_vring_addr(0, &beyond).is_err());
    // One that begins in memory and does not end there.
    let mut long = driver.rings(0);
    long.used_ring_addr = driver.ram.user() + driver.ram.len() as u64 - 8;
    driver.front.set_vring_num(0, SIZE).unwrap();
    driver.front.set_vring_addr(0, &long).unwrap();
    // Enabled first: what set-up waits for. The ring is looked at when the device serves.
    driver.front.set_vring_enable(0, true).unwrap();
    assert!(readable(&driver.queues[0].err), "the device does not tell of a ring that cannot be");
    driver.stop(0);
    let kick = driver.queues[0].kick.try_clone().unwrap();
    driver.front.set_vring_kick(0, &kick).unwrap();
    driver.activate(FLUSH);
    assert_eq!(driver.block(0, &Block { sector: 2, back: 512, ..Block::default() }).0, 0);
    ends(thread, driver);
}

#[test]
fn an_index_that_jumps_stops_the_ring_tells_of_it_and_a_reset_mends_it() {
    let scratch = Scratch::new();
    let (thread, mut driver) = served(&scratch.image("disk", 64), &Options::default());
    driver.activate(FLUSH);
    let read = Block { sector: 2, back: 512, ..Block::default() };
    assert_eq!(driver.block(0, &read).0, 0);
    driver.lie(0, driver.queues[0].available + SIZE + 1);
    assert!(readable(&driver.queues[0].err));
    assert_eq!(driver.stop(0), 1);
    driver.forget(0);
    let kick = driver.queues[0].kick.try_clone().unwrap();
    driver.front.set_vring_kick(0, &kick).unwrap();
    driver.activate(FLUSH);
    assert_eq!(driver.block(0, &read).0, 0);
    ends(thread, driver);
}

#[test]
fn memory_that_is_taken_away_stops_the_rings_in_it_and_they_run_again_when_it_is_back() {
    let scratch = Scratch::new();
    let (thread, mut driver) = served(&scratch.image("disk", 64), &Options::default());
    driver.activate(FLUSH);
    let read = Block { sector: 2, back: 512, ..Block::default() };
    assert_eq!(driver.block(0, &read).0, 0);
    let mut rest = driver.region();
    (rest.guest_phys_addr, rest.mmap_offset) = (DATA, DATA);
    rest.userspace_addr += DATA;
    rest.memory_size -= DATA;
    driver.front.set_mem_table(&[rest]).unwrap();
    assert!(readable(&driver.queues[0].err));
    driver.send_memory();
    driver.stop(0);
    let kick = driver.queues[0].kick.try_clone().unwrap();
    driver.front.set_vring_kick(0, &kick).unwrap();
    driver.activate(FLUSH);
    assert_eq!(driver.block(0, &read).0, 0);
    ends(thread, driver);
}

#[test]
fn what_was_not_offered_is_refused_and_the_session_goes_on() {
    use casemate_test_devices::driver::NEEDED;
    use vhost::vhost_user::VhostUserProtocolFeatures;
    let scratch = Scratch::new();
    let (thread, mut driver) = served(&scratch.image("disk", 64), &Options::default());
    driver.activate(FLUSH);
    driver.stop(0);
    for features in [NEEDED | 1 << 33, NEEDED | 1 << 28, NEEDED | 1 << 60, 1 << 32, 1 << 30, 0] {
        assert!(driver.front.set_features(features).is_err(), "{features:#x}");
    }
    let more = VhostUserProtocolFeatures::INFLIGHT_SHMFD | VhostUserProtocolFeatures::REPLY_ACK;
    assert!(driver.front.set_protocol_features(more).is_err());
    assert!(driver.front.reset_owner().is_err());
    let kick = driver.queues[0].kick.try_clone().unwrap();
    driver.front.set_vring_kick(0, &kick).unwrap();
    driver.activate(FLUSH);
    assert_eq!(driver.block(0, &Block { sector: 2, back: 512, ..Block::default() }).0, 0);
    ends(thread, driver);
}

#[test]
fn a_device_without_a_thread_for_each_queue_is_none() {
    let scratch = Scratch::new();
    for queues in [0, casemate_device_backend::MAX_QUEUES + 1] {
        let options = Options { queues, ..Options::default() };
        let image = Image::open(&scratch.image("disk", 64), &options).unwrap();
        let (file, facts) = image.into_parts();
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let device = Device::new(file, facts);
        let none = Session::set_up(theirs, device, Mode::Foreign, Box::new(|_, _| Ok(())));
        assert!(matches!(none, Err(SetUpError::Queues { .. })));
    }
}

#[test]
fn memory_that_cannot_be_guarded_is_not_used() {
    let scratch = Scratch::new();
    let image = Image::open(&scratch.image("disk", 64), &Options::default()).unwrap();
    let (file, facts) = image.into_parts();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || {
        let device = Device::new(file, facts);
        let mut left = 1;
        let guard = move |_, _| {
            left -= 1;
            if left < 0 { Err(std::io::ErrorKind::Unsupported.into()) } else { Ok(()) }
        };
        let session = Session::set_up(theirs, device, Mode::Foreign, Box::new(guard));
        session.map(|mut session| session.serve())
    });
    let mut driver = Driver::negotiate(ours, 1, GuestRam::new(4 << 20));
    // The first table was guarded; the next cannot be, and the device stays with what it has.
    assert!(driver.front.set_mem_table(&[driver.region()]).is_err());
    driver.activate(FLUSH);
    assert_eq!(driver.block(0, &Block { sector: 2, back: 512, ..Block::default() }).0, 0);
    drop(driver);
    assert_eq!(thread.join().unwrap().unwrap(), Ended::FrontEndGone);
}

#[test]
fn a_driver_that_looks_by_itself_is_not_told() {
    let scratch = Scratch::new();
    let (thread, mut driver) = served(&scratch.image("disk", 64), &Options::default());
    driver.activate(FLUSH);
    for (flags, told) in [(1, false), (0, true)] {
        driver.set_available_flags(0, flags);
        many_reads(&mut driver, 8);
        driver.publish(0);
        let mut answered = 0;
        while answered < 8 {
            answered += u32::from(driver.answer(0).is_some());
        }
        // Answered when the queue's thread has finished its round, and with it what it tells.
        driver.front.set_vring_enable(0, true).unwrap();
        assert_eq!(readable_within(&driver.queues[0].call, 0), told);
    }
    ends(thread, driver);
}
