//! The lock of a network device's process, as data: the frame's rules and its TAP.

use casemate_device_backend::profile as frame;
use casemate_device_backend::profile::{ALWAYS, OURS};
use casemate_sandbox::{FdSlot, FdTable, Layers, Limits, Pin, Profile, Rule, sys};
use std::os::fd::RawFd;

/// The TAP.
pub const TAP: FdSlot = FdSlot("tap");

/// `TUNSETOFFLOAD` of `linux/if_tun.h`.
pub(crate) const TUNSETOFFLOAD: u32 = 0x4004_54d0;
const CLOCK_MONOTONIC: u32 = 1;

/// The slots of a device's own descriptors.
#[must_use]
pub fn own_slots(tap: RawFd) -> FdTable {
    FdTable::new().with_raw(TAP, [tap])
}

/// The layers of a network device's process: all of them, and no file grows.
#[must_use]
pub fn layers(name: &str) -> Layers {
    Layers::new(name).limits(Limits { file_size: Some(0), ..Limits::NO_CORE })
}

/// What frames need beyond the frame of every device, in every phase. Nothing else can be asked of
/// the TAP: neither its name nor its address, nor that it stay.
const FRAMES: &[Rule] = &[
    Rule::new(sys("writev"), &[Pin::Fd(0, TAP)], "a frame of the guest"),
    Rule::new(
        sys("ioctl"),
        &[Pin::Fd(0, TAP), Pin::Int(1, TUNSETOFFLOAD)],
        "which frames the driver takes, whenever one has negotiated",
    ),
    Rule::new(
        sys("clock_gettime"),
        &[Pin::Int(0, CLOCK_MONOTONIC)],
        "how long ago a flow was used, where the clock needs a call",
    ),
];

/// Until the lock any descriptor may be read.
const READ: &[Rule] = &[Rule::new(sys("read"), &[Pin::Fd(0, TAP)], "a frame for the guest")];

/// Of a device that somebody watches. By read: no descriptor can come with it.
const WATCHED: &[Rule] = &[Rule::new(
    sys("read"),
    &[Pin::Fd(0, frame::CONTROL)],
    "whether it is asked if it hangs, and other limits",
)];

/// A network device of a VM of ours, from the first enabled ring on: 10 calls.
pub const STEADY: Profile = Profile {
    name: "net",
    rules: &Rule::joined::<{ ALWAYS.len() + FRAMES.len() + READ.len() + OURS.len() + WATCHED.len() }>(
        &[ALWAYS, FRAMES, READ, OURS, WATCHED],
    ),
};

/// A network device that serves another VMM.
pub const FOREIGN: Profile =
    Profile {
        name: "net, foreign front end",
        rules: &Rule::joined::<{ ALWAYS.len() + FRAMES.len() + READ.len() + frame::FOREIGN.len() }>(
            &[ALWAYS, FRAMES, READ, frame::FOREIGN],
        ),
    };

/// Either, until the front end has sent what the lock needs.
pub const SET_UP: Profile = Profile {
    name: "net, set-up",
    rules: &Rule::joined::<{ ALWAYS.len() + FRAMES.len() + frame::SET_UP.len() }>(&[
        ALWAYS,
        FRAMES,
        frame::SET_UP,
    ]),
};
