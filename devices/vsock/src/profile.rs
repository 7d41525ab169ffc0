//! The lock of a socket device's process and of its connector, as data, beside the calls they make.
//!
//! Slots have the same names as those of other devices: whoever starts a process fills them.

use casemate_sandbox::{FdSlot, FdTable, Limits as Resources, NARROW, Pin, Profile, Rule};
use casemate_sandbox::{Layers, UFFDIO_REGISTER, sys};
use std::os::fd::RawFd;

/// The front end's socket.
pub const SOCKET: FdSlot = FdSlot("front end");
/// Kicks, calls, and what wakes the thread.
pub const EVENTS: FdSlot = FdSlot("event");
/// Sockets on which the host's connections come.
pub const LISTENERS: FdSlot = FdSlot("listener");
/// The connector; empty without one.
pub const CONNECTOR: FdSlot = FdSlot("connector");
/// Whoever watches the process.
pub const CONTROL: FdSlot = FdSlot("control");
/// The fence around guest memory; empty without one.
pub const FENCE: FdSlot = FdSlot("fence");
/// The number from which on everything comes that the process did not have at first, connections
/// among it.
pub const LATER: FdSlot = FdSlot("later");
/// Of a connector: who asks it.
pub const CHANNEL: FdSlot = FdSlot("channel");

/// `FUTEX_WAIT`, `FUTEX_WAKE` and `FUTEX_WAIT_BITSET`, each private: the standard library's locks.
const FUTEX: [u32; 3] = [128, 129, 137];
/// `MSG_OOB`, which UNIX sockets have since Linux 5.15 and nobody here uses, and `MSG_PEEK`.
const OOB_PEEK: u64 = 3;
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
/// `PROT_READ | PROT_WRITE`.
const READ_WRITE: u32 = 3;
/// `PROT_NONE`, `PROT_READ | PROT_WRITE`: never executable.
const PROTECTIONS: [u32; 2] = [0, READ_WRITE];
/// `MAP_SHARED | MAP_NORESERVE`.
const MAP_SHARED_NORESERVE: u32 = 0x4001;

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

macro_rules! steady_rules {
    ($($more:tt)*) => {
        &[
            Rule::new(
                sys("recvmsg"),
                &[Pin::Fd(0, SOCKET), Pin::Bits(2, OOB_PEEK, 0)],
                "messages of the front end"
            ),
            Rule::new(
                sys("recvmsg"),
                &[Pin::Fd(0, CONNECTOR), Pin::Bits(2, OOB_PEEK, 0)],
                "sockets that the connector has connected"
            ),
            Rule::new(
                sys("recvmsg"),
                &[Pin::FdFrom(0, LATER), Pin::Bits(2, OOB_PEEK, 0)],
                "bytes of the host, into guest memory"
            ),
            Rule::new(
                sys("sendmsg"),
                &[Pin::Fd(0, SOCKET), Pin::Bits(2, OOB_PEEK, 0)],
                "answers to the front end"
            ),
            Rule::new(
                sys("sendmsg"),
                &[Pin::Fd(0, CONTROL), Pin::Bits(2, OOB_PEEK, 0)],
                "that it is locked, why it ends"
            ),
            Rule::new(
                sys("sendmsg"),
                &[Pin::Fd(0, CONNECTOR), Pin::Bits(2, OOB_PEEK, 0)],
                "which port the connector is to connect to"
            ),
            Rule::new(
                sys("sendmsg"),
                &[Pin::FdFrom(0, LATER), Pin::Bits(2, OOB_PEEK, 0)],
                "bytes of the guest, out of guest memory"
            ),
            Rule::new(
                sys("accept4"),
                &[Pin::Fd(0, LISTENERS), Pin::Int(3, NONBLOCK_CLOEXEC)],
                "who connects to the guest"
            ),
            Rule::new(
                sys("shutdown"),
                &[Pin::FdFrom(0, LATER), Pin::IntIn(1, &SHUT)],
                "one direction of a connection ends"
            ),
            Rule::new(sys("ppoll"), &[], "wait for kicks and connections"),
            Rule::new(
                sys("futex"),
                &[Pin::IntIn(1, &FUTEX)],
                "a queue's lock, between its thread and the control thread"
            ),
            Rule::new(
                sys("clock_gettime"),
                &[Pin::Int(0, CLOCK_MONOTONIC)],
                "how long a connection may take to begin, where the clock needs a call"
            ),
            Rule::new(sys("exit_group"), &[], "end"),
            // The standard library's debug builds check every descriptor that they close.
            #[cfg(debug_assertions)]
            Rule::new(sys("fcntl"), &[Pin::Int(1, F_GETFD)], "debug build: check before close"),
            $($more)*
        ]
    };
}

/// A socket device of a VM of ours, from the first enabled ring on: 12 calls.
pub const STEADY: Profile = Profile {
    name: "vsock",
    rules: steady_rules![
        Rule::new(sys("close"), &[Pin::FdFrom(0, LATER)], "a connection is over"),
        Rule::new(sys("read"), &[Pin::Fd(0, EVENTS)], "take a kick"),
        Rule::new(sys("write"), &[Pin::Fd(0, EVENTS)], "tell the driver, wake the queues' thread")
    ],
};

/// A socket device that serves another VMM, which sends guest memory and events when it wants.
pub const FOREIGN: Profile = Profile {
    name: "vsock, foreign front end",
    rules: steady_rules![
        Rule::new(sys("read"), &[Pin::FdFrom(0, LATER)], "take a kick"),
        Rule::new(
            sys("write"),
            &[Pin::FdFrom(0, LATER)],
            "tell the driver, wake the queues' thread"
        ),
        Rule::new(
            sys("fstat"),
            &[Pin::FdFrom(0, LATER)],
            "whether a memory file is one, and how long"
        ),
        Rule::new(
            sys("mmap"),
            &[Pin::Int(2, READ_WRITE), Pin::Int(3, MAP_SHARED_NORESERVE), Pin::FdFrom(4, LATER)],
            "guest memory, whenever the front end sends it; never executable"
        ),
        Rule::new(sys("munmap"), &[], "guest memory that was replaced"),
        Rule::new(
            sys("ioctl"),
            &[Pin::Fd(0, FENCE), Pin::Int(1, UFFDIO_REGISTER)],
            "the fence around memory that comes"
        ),
        Rule::new(
            sys("close"),
            &[Pin::FdFrom(0, LATER)],
            "connections that are over, memory files, events that were replaced"
        )
    ],
};

/// Either, until the front end has sent what the lock needs. A filter can only be narrowed, so what
/// comes later is in it, too.
pub const SET_UP: Profile = Profile {
    name: "vsock, set-up",
    rules: steady_rules![
        Rule::new(sys("read"), &[], "events"),
        Rule::new(sys("write"), &[], "events"),
        Rule::new(sys("close"), &[], "memory files, once mapped"),
        Rule::new(sys("eventfd2"), &[], "what wakes the queues' thread"),
        Rule::new(sys("fstat"), &[], "whether a memory file is one, and how long"),
        Rule::new(
            sys("mmap"),
            &[Pin::IntIn(2, &PROTECTIONS)],
            "guest memory, the thread's stack; never executable",
        ),
        Rule::new(
            sys("mprotect"),
            &[Pin::IntIn(2, &PROTECTIONS)],
            "the thread's stack; never executable",
        ),
        Rule::new(sys("munmap"), &[], "what is around a thread's stack"),
        Rule::new(sys("clone3"), &[], "the queues' thread"),
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
        Rule::new(sys("prlimit64"), &[], "no more descriptors than connections; a thread's stack"),
        NARROW
    ],
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
