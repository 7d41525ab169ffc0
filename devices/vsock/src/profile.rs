//! The lock of a socket device's process and of its connector, as data: the frame's rules and what
//! connections need.

use casemate_device_backend::profile as frame;
use casemate_device_backend::profile::{ALWAYS, CONTROL, LATER, OOB_PEEK, OURS};
use casemate_sandbox::{FdSlot, FdTable, Layers, Limits as Resources, Pin, Profile, Rule, sys};
use std::os::fd::RawFd;

/// Sockets on which the host's connections come.
pub const LISTENERS: FdSlot = FdSlot("listener");
/// The connector; empty without one.
pub const CONNECTOR: FdSlot = FdSlot("connector");
/// Of a connector: who asks it.
pub const CHANNEL: FdSlot = FdSlot("channel");

/// `SOCK_NONBLOCK | SOCK_CLOEXEC`.
const NONBLOCK_CLOEXEC: u32 = 0x8_0800;
/// `AF_UNIX`, and `SOCK_STREAM` with the same flags.
const AF_UNIX: u32 = 1;
const STREAM: u32 = NONBLOCK_CLOEXEC | 1;
/// `SHUT_RD`, `SHUT_WR`.
const SHUT: [u32; 2] = [0, 1];
const CLOCK_MONOTONIC: u32 = 1;
#[cfg(debug_assertions)]
const F_GETFD: u32 = 1;

/// The slots of a device's own descriptors.
#[must_use]
pub fn own_slots(listeners: &[RawFd], connector: Option<RawFd>) -> FdTable {
    FdTable::new().with_raw(LISTENERS, listeners.iter().copied()).with_raw(CONNECTOR, connector)
}

/// The layers of a socket device's process: all of them, and no file grows.
#[must_use]
pub fn layers(name: &str) -> Layers {
    Layers::new(name).limits(Resources { file_size: Some(0), ..Resources::NO_CORE })
}

/// What streams need beyond the frame, in every phase. Connections come later than everything that
/// the process has at first, so they are in the slot of what does.
const STREAMS: &[Rule] = &[
    Rule::new(
        sys("recvmsg"),
        &[Pin::Fd(0, CONNECTOR), Pin::Bits(2, OOB_PEEK, 0)],
        "sockets that the connector has connected",
    ),
    Rule::new(
        sys("recvmsg"),
        &[Pin::FdFrom(0, LATER), Pin::Bits(2, OOB_PEEK, 0)],
        "bytes of the host, into guest memory",
    ),
    Rule::new(
        sys("sendmsg"),
        &[Pin::Fd(0, CONNECTOR), Pin::Bits(2, OOB_PEEK, 0)],
        "which port the connector is to connect to",
    ),
    Rule::new(
        sys("sendmsg"),
        &[Pin::FdFrom(0, LATER), Pin::Bits(2, OOB_PEEK, 0)],
        "bytes of the guest, out of guest memory",
    ),
    Rule::new(
        sys("accept4"),
        &[Pin::Fd(0, LISTENERS), Pin::Int(3, NONBLOCK_CLOEXEC)],
        "who connects to the guest",
    ),
    Rule::new(
        sys("shutdown"),
        &[Pin::FdFrom(0, LATER), Pin::IntIn(1, &SHUT)],
        "one direction of a connection ends",
    ),
    Rule::new(
        sys("clock_gettime"),
        &[Pin::Int(0, CLOCK_MONOTONIC)],
        "how long a connection may take to begin, where the clock needs a call",
    ),
];

/// What the frame has for another VMM, and a device of ours for connections that are over.
const OVER: &[Rule] = &[
    Rule::new(sys("close"), &[Pin::FdFrom(0, LATER)], "a connection is over"),
    // The standard library's debug builds check every descriptor that they close.
    #[cfg(debug_assertions)]
    Rule::new(sys("fcntl"), &[Pin::Int(1, F_GETFD)], "debug build: check before close"),
];

/// A socket device of a VM of ours, from the first enabled ring on: 11 calls.
pub const STEADY: Profile = Profile {
    name: "vsock",
    rules: &Rule::joined::<{ ALWAYS.len() + STREAMS.len() + OVER.len() + OURS.len() }>(&[
        ALWAYS, STREAMS, OVER, OURS,
    ]),
};

/// A socket device that serves another VMM.
pub const FOREIGN: Profile = Profile {
    name: "vsock, foreign front end",
    rules: &Rule::joined::<{ ALWAYS.len() + STREAMS.len() + frame::FOREIGN.len() }>(&[
        ALWAYS,
        STREAMS,
        frame::FOREIGN,
    ]),
};

/// Either, until the front end has sent what the lock needs.
pub const SET_UP: Profile = Profile {
    name: "vsock, set-up",
    rules: &Rule::joined::<{ ALWAYS.len() + STREAMS.len() + frame::SET_UP.len() }>(&[
        ALWAYS,
        STREAMS,
        frame::SET_UP,
    ]),
};

/// A connector, from before the first question on.
pub const CONNECT: Profile = Profile {
    name: "connector",
    rules: &[
        Rule::new(
            sys("recvfrom"),
            &[Pin::Fd(0, CHANNEL), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "which port",
        ),
        Rule::new(
            sys("sendmsg"),
            &[Pin::Fd(0, CHANNEL), Pin::Bits(2, OOB_PEEK, 0)],
            "the connected socket, or none",
        ),
        Rule::new(
            sys("sendmsg"),
            &[Pin::Fd(0, CONTROL), Pin::Bits(2, OOB_PEEK, 0)],
            "that it is locked, why it ends",
        ),
        Rule::new(
            sys("socket"),
            &[Pin::Int(0, AF_UNIX), Pin::Int(1, STREAM), Pin::Int(2, 0)],
            "a socket for a connection, of UNIX only",
        ),
        Rule::new(
            sys("connect"),
            &[Pin::FdFrom(0, LATER)],
            "to a socket of the one directory that there is",
        ),
        Rule::new(sys("close"), &[Pin::FdFrom(0, LATER)], "once it is handed over"),
        // The standard library's debug builds check every descriptor that they close.
        #[cfg(debug_assertions)]
        Rule::new(sys("fcntl"), &[Pin::Int(1, F_GETFD)], "debug build: check before close"),
        Rule::new(sys("exit_group"), &[], "end"),
    ],
};
