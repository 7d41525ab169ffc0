//! The lock of a block device's process, as data: the frame's rules and what moves bytes between
//! the image and guest memory.

use casemate_device_backend::profile as frame;
use casemate_device_backend::profile::{ALWAYS, OURS};
use casemate_sandbox::{FdSlot, FdTable, Pin, Profile, Rule, sys};
use std::os::fd::RawFd;

/// The image, the one file that the process can touch.
pub const IMAGE: FdSlot = FdSlot("image");
/// The same image, as one that stands by has its lock: it is held open, and used in no call.
pub const HELD: FdSlot = FdSlot("held image");

/// `FALLOC_FL_KEEP_SIZE` with `PUNCH_HOLE` or `ZERO_RANGE`.
const FALLOCATE: [u32; 2] = [0x3, 0x11];
/// `RWF_DSYNC`: the write is on the disk when the call returns.
const DSYNC: u32 = 2;

/// The slots of the device's own descriptors.
#[must_use]
pub fn own_slots(image: RawFd, held: Option<RawFd>) -> FdTable {
    FdTable::new().with_raw(IMAGE, [image]).with_raw(HELD, held)
}

/// What a disk does beyond the frame, in every phase.
const DISK: &[Rule] = &[
    Rule::new(sys("preadv"), &[Pin::Fd(0, IMAGE)], "read the image into guest memory"),
    Rule::new(sys("pwritev"), &[Pin::Fd(0, IMAGE)], "write guest memory to the image"),
    Rule::new(
        sys("pwritev2"),
        &[Pin::Fd(0, IMAGE), Pin::Int(5, DSYNC)],
        "the same, to last at once, for a driver without flush",
    ),
    Rule::new(sys("fdatasync"), &[Pin::Fd(0, IMAGE)], "flush"),
    Rule::new(
        sys("fallocate"),
        &[Pin::Fd(0, IMAGE), Pin::IntIn(1, &FALLOCATE)],
        "discard, write zeroes",
    ),
];

/// Of a disk that somebody watches. By read: no descriptor can come with it.
const WATCHED: &[Rule] =
    &[Rule::new(sys("read"), &[Pin::Fd(0, frame::CONTROL)], "whether it is asked if it hangs")];

/// A block device of a VM of ours, from the first enabled ring on: 12 calls.
pub const STEADY: Profile = Profile {
    name: "block",
    rules: &Rule::joined::<{ ALWAYS.len() + DISK.len() + OURS.len() + WATCHED.len() }>(&[
        ALWAYS, DISK, OURS, WATCHED,
    ]),
};

/// A block device that serves another VMM.
pub const FOREIGN: Profile = Profile {
    name: "block, foreign front end",
    rules: &Rule::joined::<{ ALWAYS.len() + DISK.len() + frame::FOREIGN.len() }>(&[
        ALWAYS,
        DISK,
        frame::FOREIGN,
    ]),
};

/// Either, until the front end has sent what the lock needs.
pub const SET_UP: Profile = Profile {
    name: "block, set-up",
    rules: &Rule::joined::<{ ALWAYS.len() + DISK.len() + frame::SET_UP.len() }>(&[
        ALWAYS,
        DISK,
        frame::SET_UP,
    ]),
};
