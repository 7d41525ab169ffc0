//! Requests that no driver should make, of a block device. Protects: each is answered, by its
//! status where there is a byte for it, nothing outside the image is touched, and the next request
//! works. Cannot tell: what a chain looks like that is malformed as such (crate
//! `casemate-device-queue` has those).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use casemate_device_backend::{Mode, Session};
use casemate_device_block::{Block as Device, Image, MAX_SECTORS, Options};
use casemate_test_devices::driver::{
    Block, DATA, Descriptor, Driver, INDIRECT, NEXT, WRITE, header,
};
use casemate_test_devices::memory::GuestRam;
use casemate_test_devices::scratch::Scratch;
use std::os::unix::net::UnixStream;
use std::path::Path;

const SECTORS: u64 = 64;
const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;
/// What the status byte is before the device writes it.
const SILENT: u8 = 0xff;
const STATUS: u64 = DATA + 0x8000;

fn driver(image: &Path, options: &Options) -> Driver {
    let (file, facts) = Image::open(image, options).unwrap().into_parts();
    let (ours, theirs) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        let device = Device::new(file, facts);
        let session = Session::set_up(theirs, device, Mode::Foreign, Box::new(|_, _| Ok(())));
        session.unwrap().serve()
    });
    let mut driver = Driver::negotiate(ours, 1, GuestRam::new(4 << 20));
    driver.activate(driver.offered);
    driver
}

/// What becomes of a chain whose header is at [`DATA`]: the status and the used length.
fn answer(driver: &mut Driver, head: u16) -> (u8, u32) {
    driver.ram.write(STATUS, &[SILENT]);
    driver.put(0, head);
    driver.publish(0);
    let Some((id, len)) = driver.wait(0) else { panic!("the device is silent") };
    assert_eq!(id, u32::from(head));
    let status = driver.ram.read(STATUS, 1)[0];
    // And the queue goes on.
    assert_eq!(driver.block(0, &Block { sector: 1, back: 512, ..Block::default() }).0, OK);
    (status, len)
}

fn ask(driver: &mut Driver, kind: u32, sector: u64, parts: &[(u64, u32, bool)]) -> (u8, u32) {
    driver.ram.write(DATA, &header(kind, sector));
    driver.chain(0, 8, parts);
    answer(driver, 8)
}

#[test]
fn a_header_may_be_cut_and_must_be_whole() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SECTORS);
    let mut driver = driver(&image, &Options::default());
    let (back, status) = ((DATA + 0x1000, 512, true), (STATUS, 1, true));
    for (what, parts, expected) in [
        ("whole", vec![(DATA, 16, false), back, status], (OK, 513)),
        (
            "in three",
            vec![(DATA, 1, false), (DATA + 1, 7, false), (DATA + 8, 8, false), back, status],
            (OK, 513),
        ),
        (
            "data in two",
            vec![(DATA, 16, false), (DATA + 0x1000, 100, true), (DATA + 0x2000, 412, true), status],
            (OK, 513),
        ),
        ("data and status in one", vec![(DATA, 16, false), (STATUS - 512, 513, true)], (OK, 513)),
        ("short", vec![(DATA, 15, false), back, status], (IOERR, 0)),
        ("long", vec![(DATA, 17, false), back, status], (IOERR, 0)),
        ("none", vec![back, status], (IOERR, 0)),
        ("writable", vec![(DATA, 16, true), back, status], (IOERR, 0)),
        ("without status", vec![(DATA, 16, false)], (SILENT, 0)),
        ("status readable", vec![(DATA, 16, false), (STATUS, 1, false)], (SILENT, 0)),
        ("only a status", vec![(STATUS, 1, true)], (IOERR, 1)),
        ("no data", vec![(DATA, 16, false), status], (IOERR, 1)),
        ("511 bytes", vec![(DATA, 16, false), (DATA + 0x1000, 511, true), status], (IOERR, 0)),
        ("513 bytes", vec![(DATA, 16, false), (DATA + 0x1000, 513, true), status], (IOERR, 0)),
    ] {
        assert_eq!(ask(&mut driver, 0, 3, &parts), expected, "{what}");
    }
    assert!(driver.ram.read(STATUS - 512, 512) == [3; 512]);
}

#[test]
fn sectors_outside_the_image_are_not_there_however_they_wrap() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SECTORS);
    let before = std::fs::read(&image).unwrap();
    let mut driver = driver(&image, &Options::default());
    let wrap = u64::MAX / 512 + 1;
    for sector in [
        SECTORS - 1,
        SECTORS,
        SECTORS + 1,
        1 << 54,
        1 << 55,
        wrap,
        wrap + 1,
        u64::MAX - 1,
        u64::MAX,
    ] {
        let parts = [(DATA, 16, false), (DATA + 0x1000, 1024, true), (STATUS, 1, true)];
        assert_eq!(ask(&mut driver, 0, sector, &parts), (IOERR, 0), "{sector:#x}");
        let parts = [(DATA, 16, false), (DATA + 0x1000, 1024, false), (STATUS, 1, true)];
        assert_eq!(ask(&mut driver, 1, sector, &parts), (IOERR, 1), "{sector:#x}");
    }
    assert!(std::fs::read(&image).unwrap() == before);
}

#[test]
fn types_that_are_not_offered_are_unsupported() {
    let scratch = Scratch::new();
    let mut driver = driver(&scratch.image("disk", SECTORS), &Options::default());
    // SCSI, its reply, a barrier, lifetime, secure erase, zones.
    for kind in [2, 3, 5, 6, 7, 9, 10, 12, 14, 15, 24, 0x8000_0000, 0x8000_0001, u32::MAX] {
        let parts = [(DATA, 16, false), (STATUS, 1, true)];
        assert_eq!(ask(&mut driver, kind, 0, &parts), (UNSUPP, 1), "{kind:#x}");
    }
}

#[test]
fn bytes_in_a_direction_that_has_none_are_refused() {
    let scratch = Scratch::new();
    let mut driver = driver(&scratch.image("disk", SECTORS), &Options::default());
    let (head, status) = ((DATA, 16, false), (STATUS, 1, true));
    let (out, back) = ((DATA + 0x1000, 512, false), (DATA + 0x1000, 512, true));
    for (what, kind, parts, expected) in [
        ("read with data to write", 0, vec![head, out, back, status], (IOERR, 0)),
        ("write with room", 1, vec![head, out, back, status], (IOERR, 0)),
        ("write of nothing", 1, vec![head, status], (IOERR, 1)),
        ("flush with data", 4, vec![head, out, status], (IOERR, 1)),
        ("flush with room", 4, vec![head, back, status], (IOERR, 0)),
        ("flush", 4, vec![head, status], (OK, 1)),
        ("serial with data", 8, vec![head, out, status], (IOERR, 1)),
        ("serial into nothing", 8, vec![head, status], (OK, 1)),
        ("serial into 7", 8, vec![head, (DATA + 0x1000, 7, true), status], (OK, 8)),
        // The status is not next to what was written, so it does not count.
        ("serial into 512", 8, vec![head, back, status], (OK, 20)),
    ] {
        assert_eq!(ask(&mut driver, kind, 9, &parts), expected, "{what}");
    }
}

#[test]
fn discard_and_write_zeroes_take_one_segment_of_a_bounded_size_inside_the_image() {
    let scratch = Scratch::new();
    let image = scratch.sparse("disk", 512 * (u64::from(MAX_SECTORS) + 64));
    let mut driver = driver(&image, &Options::default());
    if driver.offered & (1 << 13 | 1 << 14) != 1 << 13 | 1 << 14 {
        println!("SKIPPED: the file system of {} has no holes or zeros", image.display());
        return;
    }
    let sectors = u64::from(MAX_SECTORS) + 64;
    for kind in [11, 13] {
        let good = (OK, 1);
        for (what, sector, count, flags, len, expected) in [
            ("good", 8, 8, 0, 16, good),
            ("all that is allowed", 64, MAX_SECTORS, 0, 16, good),
            ("one more", 0, MAX_SECTORS + 1, 0, 16, (IOERR, 1)),
            ("a count that wraps", 0, u32::MAX, 0, 16, (IOERR, 1)),
            ("nothing", 8, 0, 0, 16, (IOERR, 1)),
            ("to the end", sectors - 8, 8, 0, 16, good),
            ("beyond", sectors - 7, 8, 0, 16, (IOERR, 1)),
            ("a sector that wraps", u64::MAX, 8, 0, 16, (IOERR, 1)),
            ("an unknown flag", 8, 8, 2, 16, (UNSUPP, 1)),
            ("unmap", 8, 8, 1, 16, if kind == 13 { good } else { (UNSUPP, 1) }),
            ("15 bytes", 8, 8, 0, 15, (IOERR, 1)),
            ("17 bytes", 8, 8, 0, 17, (IOERR, 1)),
            ("two segments", 8, 8, 0, 32, (IOERR, 1)),
        ] {
            let count: u32 = count;
            let segment =
                [&u64::to_le_bytes(sector)[..], &count.to_le_bytes(), &u32::to_le_bytes(flags)];
            driver.ram.write(DATA + 0x1000, &[segment.concat(), segment.concat()].concat());
            let parts = [(DATA, 16, false), (DATA + 0x1000, len, false), (STATUS, 1, true)];
            assert_eq!(ask(&mut driver, kind, 0, &parts), expected, "{kind}: {what}");
        }
    }
    assert_eq!(std::fs::metadata(&image).unwrap().len(), 512 * sectors);
}

#[test]
fn a_read_only_disk_is_not_written_whatever_the_driver_negotiated() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SECTORS);
    let before = std::fs::read(&image).unwrap();
    let mut driver = driver(&image, &Options { read_only: true, ..Options::default() });
    assert_ne!(driver.offered & 1 << 5, 0);
    let (head, status) = ((DATA, 16, false), (STATUS, 1, true));
    let parts = [head, (DATA + 0x1000, 512, false), status];
    assert_eq!(ask(&mut driver, 1, 3, &parts), (IOERR, 1));
    for kind in [11, 13] {
        let parts = [head, (DATA + 0x1000, 16, false), status];
        assert_eq!(ask(&mut driver, kind, 3, &parts), (UNSUPP, 1));
    }
    assert_eq!(ask(&mut driver, 4, 0, &[head, status]), (OK, 1));
    assert!(std::fs::read(&image).unwrap() == before);
}

#[test]
fn malformed_chains_are_answered_with_nothing_and_the_disk_goes_on() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SECTORS);
    let mut driver = driver(&image, &Options::default());
    driver.ram.write(DATA, &header(0, 1));
    let end = driver.ram.len() as u64;
    for (what, first) in [
        ("a loop", Descriptor { gpa: DATA, len: 16, flags: NEXT, next: 8 }),
        ("next beyond the table", Descriptor { gpa: DATA, len: 16, flags: NEXT, next: 256 }),
        ("outside memory", Descriptor { gpa: end - 1, len: 2, flags: WRITE, next: 0 }),
        ("wrapping", Descriptor { gpa: u64::MAX, len: 2, flags: WRITE, next: 0 }),
        ("empty", Descriptor { gpa: DATA, len: 0, flags: WRITE, next: 0 }),
        ("indirect", Descriptor { gpa: DATA, len: 16, flags: INDIRECT, next: 0 }),
        ("indirect with next", Descriptor { gpa: DATA, len: 16, flags: INDIRECT | NEXT, next: 9 }),
    ] {
        driver.describe(0, 8, first);
        assert_eq!(answer(&mut driver, 8), (SILENT, 0), "{what}");
    }
    // The rings themselves are memory, so a disk may be read into them; that harms its driver only.
    let parts = [(DATA, 16, false), (0x3000, 512, true), (STATUS, 1, true)];
    assert_eq!(ask(&mut driver, 0, 3, &parts), (OK, 513));
    // The same head twice in the ring, before the first is answered: each is answered.
    driver.chain(0, 8, &[(DATA, 16, false), (DATA + 0x1000, 512, true), (STATUS, 1, true)]);
    driver.put(0, 8);
    driver.put(0, 8);
    driver.publish(0);
    assert_eq!((driver.wait(0), driver.wait(0)), (Some((8, 513)), Some((8, 513))));
}
