//! The lock of the device's process, as data. This one touches nothing but its queues, so it makes
//! the frame's calls (`casemate_device_backend::STEADY`) and none of its own.

use casemate_device_backend::Descriptors;
use casemate_sandbox::{FdSlot, FdTable, Pin, Profile, Rule, sys};

/// The front end's socket.
pub const SOCKET: FdSlot = FdSlot("front end");
/// Kicks, calls, and what wakes a queue's thread.
pub const EVENTS: FdSlot = FdSlot("event");

/// `FUTEX_WAIT`, `FUTEX_WAKE` and `FUTEX_WAIT_BITSET`, each private: the standard library's locks.
const FUTEX: [u32; 3] = [128, 129, 137];

/// Which descriptor is in which slot.
#[must_use]
pub fn slots(session: &Descriptors) -> FdTable {
    FdTable::new()
        .with_raw(SOCKET, [session.socket])
        .with_raw(EVENTS, session.events.iter().copied())
}

/// From the first enabled ring on.
pub const STEADY: Profile = Profile {
    name: "template",
    rules: &[
        Rule::new(sys("recvmsg"), &[Pin::Fd(0, SOCKET)], "messages of the front end"),
        Rule::new(sys("sendmsg"), &[Pin::Fd(0, SOCKET)], "answers to them"),
        Rule::new(sys("ppoll"), &[], "a queue's thread waits for its kick"),
        Rule::new(sys("read"), &[Pin::Fd(0, EVENTS)], "take a kick"),
        Rule::new(sys("write"), &[Pin::Fd(0, EVENTS)], "tell the driver, wake a queue's thread"),
        Rule::new(
            sys("futex"),
            &[Pin::IntIn(1, &FUTEX)],
            "a queue's lock, between its thread and the control thread",
        ),
        Rule::new(sys("exit_group"), &[], "end"),
    ],
};
