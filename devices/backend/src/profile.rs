//! What the frame of every device process may do, as data: a device's profiles are these rules and
//! its own ([`Rule::joined`]). So a rule that is tightened here is tightened for all of them, and
//! what stands in a device's file is what that device alone needs.

use crate::session::Descriptors;
use casemate_sandbox::{FdSlot, FdTable, NARROW, Pin, Rule, UFFDIO_REGISTER, sys};
use std::os::fd::RawFd;

/// The front end's socket.
pub const SOCKET: FdSlot = FdSlot("front end");
/// Kicks, calls, and what wakes a queue's thread.
pub const EVENTS: FdSlot = FdSlot("event");
/// Whoever watches the process.
pub const CONTROL: FdSlot = FdSlot("control");
/// The fence around guest memory; empty without one.
pub const FENCE: FdSlot = FdSlot("fence");
/// The number from which on everything comes that the process did not have at first: nothing of
/// the other slots is among that, but for [`EVENTS`].
pub const LATER: FdSlot = FdSlot("later");

/// `FUTEX_WAIT`, `FUTEX_WAKE` and `FUTEX_WAIT_BITSET`, each private: the standard library's locks.
const FUTEX: [u32; 3] = [128, 129, 137];
/// `MSG_OOB`, which UNIX sockets have since Linux 5.15 and nobody here uses, and `MSG_PEEK`.
pub const OOB_PEEK: u64 = 3;
/// `PROT_READ | PROT_WRITE`, and nothing that could run.
const READ_WRITE: u32 = 3;
/// `PROT_NONE`, `PROT_READ | PROT_WRITE`: never executable.
const PROTECTIONS: [u32; 2] = [0, READ_WRITE];
/// `MAP_SHARED | MAP_NORESERVE`, as guest memory is mapped.
const MAP_SHARED_NORESERVE: u32 = 0x4001;
#[cfg(debug_assertions)]
const F_GETFD: u32 = 1;

/// In every phase, whoever the front end is.
pub const ALWAYS: &[Rule] = &[
    Rule::new(
        sys("recvmsg"),
        &[Pin::Fd(0, SOCKET), Pin::Bits(2, OOB_PEEK, 0)],
        "messages of the front end",
    ),
    Rule::new(sys("sendmsg"), &[Pin::Fd(0, SOCKET), Pin::Bits(2, OOB_PEEK, 0)], "answers to them"),
    Rule::new(
        sys("sendmsg"),
        &[Pin::Fd(0, CONTROL), Pin::Bits(2, OOB_PEEK, 0)],
        "that it is locked, why it ends",
    ),
    Rule::new(sys("ppoll"), &[], "a queue's thread waits for its kick"),
    Rule::new(
        sys("futex"),
        &[Pin::IntIn(1, &FUTEX)],
        "a queue's lock, between its thread and the control thread",
    ),
    Rule::new(sys("exit_group"), &[], "end"),
];

/// From the first enabled ring on, in a VM of ours: its events have come, and no more will.
pub const OURS: &[Rule] = &[
    Rule::new(sys("read"), &[Pin::Fd(0, EVENTS)], "take a kick"),
    Rule::new(sys("write"), &[Pin::Fd(0, EVENTS)], "tell the driver, wake a queue's thread"),
];

/// The same for another VMM. It sends guest memory and events when it wants, so mappings are made
/// and events have no fixed numbers.
pub const FOREIGN: &[Rule] = &[
    Rule::new(sys("read"), &[Pin::FdFrom(0, LATER)], "take a kick"),
    Rule::new(sys("write"), &[Pin::FdFrom(0, LATER)], "tell the driver, wake a queue's thread"),
    Rule::new(sys("fstat"), &[Pin::FdFrom(0, LATER)], "whether a memory file is one, and how long"),
    Rule::new(
        sys("mmap"),
        &[Pin::Int(2, READ_WRITE), Pin::Int(3, MAP_SHARED_NORESERVE), Pin::FdFrom(4, LATER)],
        "guest memory, whenever the front end sends it; never executable",
    ),
    Rule::new(sys("munmap"), &[], "guest memory that was replaced"),
    Rule::new(
        sys("ioctl"),
        &[Pin::Fd(0, FENCE), Pin::Int(1, UFFDIO_REGISTER)],
        "the fence around memory that comes",
    ),
    Rule::new(sys("close"), &[Pin::FdFrom(0, LATER)], "memory files, events that were replaced"),
    // The standard library's debug builds check every descriptor that they close.
    #[cfg(debug_assertions)]
    Rule::new(sys("fcntl"), &[Pin::Int(1, F_GETFD)], "debug build: check before close"),
];

/// Until the front end has sent what the lock needs. A filter can only be narrowed, so what comes
/// later, a device's own rules too, must be allowed here as well.
pub const SET_UP: &[Rule] = &[
    Rule::new(sys("read"), &[], "events"),
    Rule::new(sys("write"), &[], "events"),
    Rule::new(sys("eventfd2"), &[], "what wakes a queue's thread"),
    Rule::new(sys("fstat"), &[], "whether a memory file is one, and how long"),
    Rule::new(
        sys("mmap"),
        &[Pin::IntIn(2, &PROTECTIONS)],
        "guest memory, stacks of threads; never executable",
    ),
    Rule::new(
        sys("mprotect"),
        &[Pin::IntIn(2, &PROTECTIONS)],
        "stacks of threads; never executable",
    ),
    Rule::new(sys("munmap"), &[], "what is around a thread's stack"),
    Rule::new(sys("clone3"), &[], "a thread for each queue"),
    Rule::new(sys("set_robust_list"), &[], "a thread begins"),
    Rule::new(sys("rseq"), &[], "a thread begins"),
    Rule::new(sys("rt_sigaction"), &[], "the C library, before its first thread"),
    Rule::new(sys("rt_sigprocmask"), &[], "a thread begins"),
    Rule::new(sys("sigaltstack"), &[], "a thread begins"),
    Rule::new(sys("sched_getaffinity"), &[], "where a thread's stack is"),
    Rule::new(sys("gettid"), &[], "where a thread's stack is"),
    Rule::new(
        sys("ioctl"),
        &[Pin::Fd(0, FENCE), Pin::Int(1, UFFDIO_REGISTER)],
        "the fence around guest memory",
    ),
    Rule::new(sys("dup"), &[], "which descriptor number is free"),
    Rule::new(sys("prlimit64"), &[], "no more descriptors; a thread's stack"),
    Rule::new(sys("close"), &[], "memory files, once mapped"),
    // The standard library's debug builds check every descriptor that they close.
    #[cfg(debug_assertions)]
    Rule::new(sys("fcntl"), &[Pin::Int(1, F_GETFD)], "debug build: check before close"),
    NARROW,
];

/// The slots that are filled before the set-up filter: the device's `own`, and the front end's
/// socket. What the process has no more of than these, a control socket and a fence, the caller
/// adds; it adds [`LATER`] last.
#[must_use]
pub fn set_up_slots(own: FdTable, socket: RawFd) -> FdTable {
    let none = [CONTROL, FENCE].into_iter();
    none.fold(own, |fds, slot| fds.with_raw(slot, [])).with_raw(SOCKET, [socket])
}

/// The same when the front end has sent its events.
#[must_use]
pub fn slots(set_up: FdTable, session: &Descriptors) -> FdTable {
    set_up.with_raw(EVENTS, session.events.iter().copied())
}
