//! The lock of a console's process, as data: the frame's rules and what moves bytes between guest
//! memory and one stream.

use casemate_device_backend::profile as frame;
use casemate_device_backend::profile::{ALWAYS, OOB_PEEK, OURS};
use casemate_sandbox::{FdSlot, FdTable, Layers, Limits, Pin, Profile, Rule, sys};
use std::os::fd::RawFd;

/// The stream, whose other end has whoever shows the console.
pub const STREAM: FdSlot = FdSlot("stream");

/// The slots of the device's own descriptors.
#[must_use]
pub fn own_slots(stream: RawFd) -> FdTable {
    FdTable::new().with_raw(STREAM, [stream])
}

/// The layers of a console's process: all of them, and no file grows.
#[must_use]
pub fn layers(name: &str) -> Layers {
    Layers::new(name).limits(Limits { file_size: Some(0), ..Limits::NO_CORE })
}

/// What it does beyond the frame, in every phase.
const BYTES: &[Rule] = &[
    Rule::new(
        sys("recvmsg"),
        &[Pin::Fd(0, STREAM), Pin::Bits(2, OOB_PEEK, 0)],
        "input, into guest memory",
    ),
    Rule::new(
        sys("sendmsg"),
        &[Pin::Fd(0, STREAM), Pin::Bits(2, OOB_PEEK, 0)],
        "output, out of guest memory",
    ),
];

/// A console of a VM of ours, from the first enabled ring on: 7 calls.
pub const STEADY: Profile = Profile {
    name: "console",
    rules: &Rule::joined::<{ ALWAYS.len() + BYTES.len() + OURS.len() }>(&[ALWAYS, BYTES, OURS]),
};

/// A console that serves another VMM.
pub const FOREIGN: Profile = Profile {
    name: "console, foreign front end",
    rules: &Rule::joined::<{ ALWAYS.len() + BYTES.len() + frame::FOREIGN.len() }>(&[
        ALWAYS,
        BYTES,
        frame::FOREIGN,
    ]),
};

/// Either, until the front end has sent what the lock needs.
pub const SET_UP: Profile = Profile {
    name: "console, set-up",
    rules: &Rule::joined::<{ ALWAYS.len() + BYTES.len() + frame::SET_UP.len() }>(&[
        ALWAYS,
        BYTES,
        frame::SET_UP,
    ]),
};
