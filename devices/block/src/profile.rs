//! The lock of a block device's process, as data, beside the calls it makes.

use casemate_device_backend::Descriptors;
use casemate_sandbox::{FdSlot, FdTable, NARROW, Pin, Profile, Rule, sys};
use std::os::fd::RawFd;

/// The front end's socket.
pub const SOCKET: FdSlot = FdSlot("front end");
/// Kicks, calls, and what wakes a queue's thread.
pub const EVENTS: FdSlot = FdSlot("event");
/// The image.
pub const IMAGE: FdSlot = FdSlot("image");

/// `FUTEX_WAIT`, `FUTEX_WAKE` and `FUTEX_WAIT_BITSET`, each private: the standard library's locks.
const FUTEX: [u32; 3] = [128, 129, 137];
/// `FALLOC_FL_KEEP_SIZE` with `PUNCH_HOLE` or `ZERO_RANGE`.
const FALLOCATE: [u32; 2] = [0x3, 0x11];
/// `RWF_DSYNC`.
const DSYNC: u32 = 2;
#[cfg(debug_assertions)]
const F_GETFD: u32 = 1;
/// `PROT_NONE`, `PROT_READ | PROT_WRITE`: never executable.
const PROTECTIONS: [u32; 2] = [0, 3];

/// Which descriptor is in which slot while the front end has not sent its events.
#[must_use]
pub fn set_up_slots(socket: RawFd, image: RawFd) -> FdTable {
    FdTable::new().with_raw(SOCKET, [socket]).with_raw(IMAGE, [image])
}

/// Which descriptor is in which slot.
#[must_use]
pub fn slots(session: &Descriptors, image: RawFd) -> FdTable {
    FdTable::new()
        .with_raw(SOCKET, [session.socket])
        .with_raw(EVENTS, session.events.iter().copied())
        .with_raw(IMAGE, [image])
}

macro_rules! steady_rules {
    ($($more:tt)*) => {
        &[
            Rule::new(sys("recvmsg"), &[Pin::Fd(0, SOCKET)], "messages of the front end"),
            Rule::new(sys("sendmsg"), &[Pin::Fd(0, SOCKET)], "answers to them"),
            Rule::new(sys("preadv"), &[Pin::Fd(0, IMAGE)], "read the image into guest memory"),
            Rule::new(sys("pwritev"), &[Pin::Fd(0, IMAGE)], "write guest memory to the image"),
            Rule::new(
                sys("pwritev2"),
                &[Pin::Fd(0, IMAGE), Pin::Int(5, DSYNC)],
                "the same, to last at once, for a driver without flush"
            ),
            Rule::new(sys("fdatasync"), &[Pin::Fd(0, IMAGE)], "flush"),
            Rule::new(
                sys("fallocate"),
                &[Pin::Fd(0, IMAGE), Pin::IntIn(1, &FALLOCATE)],
                "discard, write zeroes"
            ),
            Rule::new(
                sys("futex"),
                &[Pin::IntIn(1, &FUTEX)],
                "a queue's lock, between its thread and the control thread"
            ),
            Rule::new(sys("exit_group"), &[], "end"),
            $($more)*
        ]
    };
}

/// A block device of a VM of ours, from the first enabled ring on: 12 calls.
pub const STEADY: Profile = Profile {
    name: "block",
    rules: steady_rules![
        Rule::new(sys("ppoll"), &[], "a queue's thread waits for its kick"),
        Rule::new(sys("read"), &[Pin::Fd(0, EVENTS)], "take a kick"),
        Rule::new(sys("write"), &[Pin::Fd(0, EVENTS)], "tell the driver, wake a queue's thread")
    ],
};

/// A block device that serves another VMM. Its front end sends guest memory and events when it
/// wants, so mappings are made and events have no fixed numbers.
pub const FOREIGN: Profile = Profile {
    name: "block, foreign front end",
    rules: steady_rules![
        Rule::new(sys("ppoll"), &[], "a queue's thread waits for its kick"),
        Rule::new(sys("read"), &[], "take a kick; events come at any time"),
        Rule::new(sys("write"), &[], "tell the driver, wake a queue's thread"),
        Rule::new(sys("fstat"), &[], "whether a memory file is one, and how long"),
        Rule::new(
            sys("mmap"),
            &[Pin::Int(2, 3), Pin::Int(3, MAP_SHARED_NORESERVE)],
            "guest memory, whenever the front end sends it; never executable"
        ),
        Rule::new(sys("munmap"), &[], "guest memory that was replaced"),
        Rule::new(sys("close"), &[], "memory files, events that were replaced"),
        // The standard library's debug builds check every descriptor that they close.
        #[cfg(debug_assertions)]
        Rule::new(sys("fcntl"), &[Pin::Int(1, F_GETFD)], "debug build: check before close")
    ],
};

/// `MAP_SHARED | MAP_NORESERVE`.
const MAP_SHARED_NORESERVE: u32 = 0x4001;

/// Either, until the front end has sent what the lock needs. A filter can only be narrowed, so what
/// comes later is in it, too.
pub const SET_UP: Profile = Profile {
    name: "block, set-up",
    rules: steady_rules![
        Rule::new(sys("ppoll"), &[], "threads begin to wait"),
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
            "stacks of threads, heap; never executable",
        ),
        Rule::new(sys("munmap"), &[], "heap"),
        Rule::new(sys("brk"), &[], "heap"),
        Rule::new(sys("madvise"), &[], "heap"),
        Rule::new(sys("clone3"), &[], "a thread for each queue"),
        Rule::new(sys("set_robust_list"), &[], "a thread begins"),
        Rule::new(sys("rseq"), &[], "a thread begins"),
        Rule::new(sys("rt_sigaction"), &[], "the C library, before its first thread"),
        Rule::new(sys("rt_sigprocmask"), &[], "a thread begins"),
        Rule::new(sys("sigaltstack"), &[], "a thread begins"),
        Rule::new(sys("sched_getaffinity"), &[], "where a thread's stack is"),
        Rule::new(sys("gettid"), &[], "where a thread's stack is"),
        Rule::new(sys("userfaultfd"), &[], "the fence around guest memory"),
        Rule::new(sys("ioctl"), &[Pin::IntIn(1, &FENCE)], "the fence around guest memory"),
        Rule::new(sys("dup"), &[], "which descriptor number is free"),
        Rule::new(sys("prlimit64"), &[], "no more descriptors; a thread's stack"),
        Rule::new(sys("close"), &[], "memory files, once mapped"),
        #[cfg(debug_assertions)]
        Rule::new(sys("fcntl"), &[Pin::Int(1, F_GETFD)], "debug build: check before close"),
        NARROW
    ],
};

/// `UFFDIO_API`, `UFFDIO_REGISTER`.
const FENCE: [u32; 2] = [0xc018_aa3f, 0xc020_aa00];
