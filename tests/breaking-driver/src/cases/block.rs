//! Requests of a disk: 5.2.6.

use super::{Case, Kind, case};
use crate::device::{DATA, Descriptor, Device, HEADER, STATUS_BYTE, WRITE};
use crate::disk::{DISCARD, FLUSH, GET_ID, IN, OUT, WRITE_ZEROES};
use crate::registers::{
    ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, QUEUE_ENABLE, STATUS, VERSION_1,
};
use casemate_breaking_driver::{SCRATCH, SECTORS, contents};

fn to_write(disk: &Device, len: u32) -> Descriptor {
    Descriptor { flags: WRITE, ..disk.piece(DATA, len) }
}

/// A request of this type with so many bytes to write, and to read.
fn asked(disk: &mut Device, kind: u32, sector: u64, write: u32, read: u32) -> String {
    disk.start();
    disk.header(kind, sector);
    let read = (read > 0).then(|| disk.piece(DATA, read));
    let write = (write > 0).then(|| to_write(disk, write));
    let data: Vec<_> = read.into_iter().chain(write).collect();
    disk.ask(&disk.request(&data))
}

/// A read of a sector.
fn read(disk: &mut Device, sector: u64, len: u32) -> String {
    asked(disk, IN, sector, len, 0)
}

/// A discard or write-zeroes of segments of (sector, sectors, flags), and this many bytes of them.
fn ranges(disk: &mut Device, kind: u32, segments: &[(u64, u32, u32)], len: u32) -> String {
    disk.start();
    let mut bytes = Vec::new();
    for (sector, sectors, flags) in segments {
        bytes.extend(sector.to_le_bytes());
        bytes.extend(sectors.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
    }
    disk.memory.write(DATA, &bytes);
    disk.header(kind, 0);
    disk.ask(&disk.request(&[disk.piece(DATA, len)]))
}

/// One segment, whole.
fn range(disk: &mut Device, kind: u32, sector: u64, sectors: u32, flags: u32) -> String {
    ranges(disk, kind, &[(sector, sectors, flags)], 16)
}

/// A header that is cut, or grown, to this length.
fn headed(disk: &mut Device, len: u32) -> String {
    disk.start();
    disk.header(IN, 0);
    let mut chain = disk.request(&[to_write(disk, 512)]);
    chain[0].len = len;
    disk.ask(&chain)
}

const fn on_read_only(case: Case) -> Case {
    Case { on: Kind::ReadOnlyDisk, ..case }
}

pub const CASES: &[Case] = &[
    case("written-and-read-back", "5.2.6", |disk| {
        // Lawful, and here so that the cases below are known to be refused for what they break.
        disk.start();
        disk.memory.write(DATA, &contents(9));
        disk.header(OUT, SCRATCH);
        let wrote = disk.ask(&disk.request(&[disk.piece(DATA, 512)]));
        disk.header(FLUSH, 0);
        let flushed = disk.ask(&disk.request(&[]));
        disk.memory.write(DATA, &[0; 512]);
        let read = disk.read(SCRATCH, 512);
        let same = disk.memory.read(DATA, 512) == contents(9);
        format!("{wrote}; {flushed}; {read}; {same}")
    }),
    case("type-unknown", "5.2.6.1", |disk| asked(disk, 0x1234, 0, 512, 0)),
    case("type-scsi", "5.2.6.1", |disk| asked(disk, 2, 0, 512, 0)),
    case("type-scsi-out", "5.2.6.1", |disk| asked(disk, 3, 0, 0, 512)),
    case("type-with-barrier", "5.2.6.1", |disk| asked(disk, 0x8000_0000, 0, 512, 0)),
    case("type-get-lifetime", "5.2.6.1", |disk| asked(disk, 10, 0, 512, 0)),
    case("type-secure-erase", "5.2.6.1", |disk| asked(disk, 14, 0, 0, 16)),
    case("type-of-all-ones", "5.2.6.1", |disk| asked(disk, u32::MAX, 0, 512, 0)),
    case("header-of-15-bytes", "5.2.6", |disk| headed(disk, 15)),
    case("header-of-1-byte", "5.2.6", |disk| headed(disk, 1)),
    case("header-of-17-bytes", "5.2.6", |disk| headed(disk, 17)),
    case("header-of-a-page", "5.2.6", |disk| headed(disk, 4096)),
    case("header-in-three-pieces", "5.2.6", |disk| {
        // Lawful: how a driver cuts means nothing (2.7.4.4).
        disk.start();
        disk.header(IN, 0);
        let piece = |at: usize, len: u32| disk.piece(HEADER + at, len);
        let rest = disk.request(&[to_write(disk, 512)]).split_off(1);
        disk.ask(&[vec![piece(0, 1), piece(1, 7), piece(8, 8)], rest].concat())
    }),
    case("header-to-be-written", "5.2.6", |disk| {
        disk.start();
        disk.header(IN, 0);
        let mut chain = disk.request(&[to_write(disk, 512)]);
        chain[0].flags = WRITE;
        disk.ask(&chain)
    }),
    case("no-header", "5.2.6", |disk| {
        disk.start();
        let status = disk.request(&[]).split_off(1);
        disk.ask(&status)
    }),
    case("no-status", "5.2.6", |disk| {
        disk.start();
        disk.header(IN, 0);
        disk.ask(&[disk.piece(HEADER, 16)])
    }),
    case("status-to-be-read", "5.2.6", |disk| {
        disk.start();
        disk.header(FLUSH, 0);
        let mut chain = disk.request(&[]);
        chain[1].flags = 0;
        disk.ask(&chain)
    }),
    case("status-of-two-bytes", "5.2.6", |disk| {
        disk.start();
        disk.header(FLUSH, 0);
        let mut chain = disk.request(&[]);
        chain[1].len = 2;
        // The last byte is the status; the one before it is data that a flush does not have.
        disk.memory.write(STATUS_BYTE + 1, &[0xee]);
        let said = disk.ask(&chain);
        format!("{said}, last {}", disk.memory.read(STATUS_BYTE + 1, 1)[0])
    }),
    case("sector-at-the-capacity", "5.2.6.1", |disk| read(disk, SECTORS, 512)),
    case("sectors-across-the-capacity", "5.2.6.1", |disk| read(disk, SECTORS - 1, 1024)),
    case("sector-of-all-ones", "5.2.6.1", |disk| read(disk, u64::MAX, 512)),
    case("sector-whose-byte-wraps", "5.2.6.1", |disk| read(disk, 1 << 55, 512)),
    case("sector-whose-byte-wraps-to-the-first", "5.2.6.1", |disk| read(disk, (1 << 55) + 1, 512)),
    case("length-of-511", "5.2.6.1", |disk| read(disk, 0, 511)),
    case("length-of-513", "5.2.6.1", |disk| read(disk, 0, 513)),
    case("nothing-to-read", "5.2.6.1", |disk| read(disk, 0, 0)),
    case("read-with-data-to-read", "5.2.6", |disk| asked(disk, IN, 0, 512, 512)),
    case("write-with-data-to-write", "5.2.6", |disk| asked(disk, OUT, SCRATCH, 512, 0)),
    case("write-of-511", "5.2.6.1", |disk| asked(disk, OUT, SCRATCH, 0, 511)),
    case("write-of-nothing", "5.2.6.1", |disk| asked(disk, OUT, SCRATCH, 0, 0)),
    case("write-at-the-capacity", "5.2.6.1", |disk| asked(disk, OUT, SECTORS, 0, 512)),
    case("write-whose-byte-wraps-to-the-first", "5.2.6.1", |disk| {
        asked(disk, OUT, 1 << 55, 0, 512)
    }),
    case("flush-with-data", "5.2.6", |disk| asked(disk, FLUSH, 0, 512, 0)),
    case("flush-with-a-sector", "5.2.6.1", |disk| asked(disk, FLUSH, 77, 0, 0)),
    case("flush-not-negotiated", "5.2.6.1", |disk| {
        disk.begin();
        disk.accept(VERSION_1);
        disk.set(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        disk.place();
        disk.set(QUEUE_ENABLE, 1);
        disk.set(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        disk.header(FLUSH, 0);
        disk.ask(&disk.request(&[]))
    }),
    case("serial-into-19-bytes", "5.2.6.1", |disk| asked(disk, GET_ID, 0, 19, 0)),
    case("serial-into-21-bytes", "5.2.6.1", |disk| asked(disk, GET_ID, 0, 21, 0)),
    case("serial-into-nothing", "5.2.6.1", |disk| asked(disk, GET_ID, 0, 0, 0)),
    case("discard-of-nothing", "5.2.6.1", |disk| range(disk, DISCARD, SCRATCH, 0, 0)),
    case("discard-beyond-the-capacity", "5.2.6.1", |disk| range(disk, DISCARD, SECTORS, 8, 0)),
    case("discard-across-the-capacity", "5.2.6.1", |disk| range(disk, DISCARD, SECTORS - 4, 8, 0)),
    case("discard-whose-byte-wraps", "5.2.6.1", |disk| range(disk, DISCARD, 1 << 55, 8, 0)),
    case("discard-of-all-ones", "5.2.6.1", |disk| range(disk, DISCARD, u64::MAX, u32::MAX, 0)),
    case("discard-that-unmaps", "5.2.6.1", |disk| range(disk, DISCARD, SCRATCH, 8, 1)),
    case("discard-with-unknown-flags", "5.2.6.1", |disk| {
        range(disk, DISCARD, SCRATCH, 8, 0xffff_fffe)
    }),
    case("discard-of-15-bytes", "5.2.6.1", |disk| ranges(disk, DISCARD, &[(SCRATCH, 8, 0)], 15)),
    case("discard-of-two-segments", "5.2.6.1", |disk| {
        ranges(disk, DISCARD, &[(SCRATCH, 8, 0), (SCRATCH + 8, 8, 0)], 32)
    }),
    case("discard-without-a-segment", "5.2.6.1", |disk| asked(disk, DISCARD, 0, 0, 0)),
    case("discarded", "5.2.6.1", |disk| range(disk, DISCARD, SCRATCH + 64, 8, 0)),
    case("zeroes-of-nothing", "5.2.6.1", |disk| range(disk, WRITE_ZEROES, SCRATCH, 0, 0)),
    case("zeroes-across-the-capacity", "5.2.6.1", |disk| {
        range(disk, WRITE_ZEROES, SECTORS - 4, 8, 0)
    }),
    case("zeroes-whose-byte-wraps", "5.2.6.1", |disk| range(disk, WRITE_ZEROES, 1 << 55, 8, 0)),
    case("zeroes-with-unknown-flags", "5.2.6.1", |disk| range(disk, WRITE_ZEROES, SCRATCH, 8, 2)),
    case("zeroes-of-two-segments", "5.2.6.1", |disk| {
        ranges(disk, WRITE_ZEROES, &[(SCRATCH, 8, 0), (SCRATCH + 8, 8, 0)], 32)
    }),
    case("zeroed", "5.2.6.1", |disk| range(disk, WRITE_ZEROES, SCRATCH + 64, 8, 1)),
    on_read_only(case("write-to-a-read-only-disk", "5.2.6.1", |disk| asked(disk, OUT, 3, 0, 512))),
    on_read_only(case("discard-of-a-read-only-disk", "5.2.6.1", |disk| {
        range(disk, DISCARD, 3, 8, 0)
    })),
    on_read_only(case("zeroes-to-a-read-only-disk", "5.2.6.1", |disk| {
        range(disk, WRITE_ZEROES, 3, 8, 0)
    })),
    on_read_only(case("flush-of-a-read-only-disk", "5.2.6.1", |disk| asked(disk, FLUSH, 0, 0, 0))),
];
