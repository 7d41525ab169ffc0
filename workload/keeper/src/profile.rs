//! What a keeper may do once it is locked, as data.
//!
//! It reads and writes files that are open, talks to the front, to its supervisor and to its owner,
//! and has random numbers and a clock. There is no call by which it could open, connect or map
//! anything, or start a thread.

use casemate_sandbox::{FdSlot, Layer, Layers, Limits, Pin, Profile, Rule, sys};

/// Leads to the front: calls and answers.
pub const CALLS: FdSlot = FdSlot("calls");
/// Leads to the front: signatures.
pub const SIGNER: FdSlot = FdSlot("signer");
/// Leads to the supervisor.
pub const CONTROL: FdSlot = FdSlot("control");
/// Leads to the supervisor, too: connections of the owner come over it.
pub const OWNER: FdSlot = FdSlot("owner");
/// The number from which on those connections come.
pub const LATER: FdSlot = FdSlot("later");
/// The two files of the store.
pub const STORE: FdSlot = FdSlot("store");
/// The decision log, open to append.
pub const LOG: FdSlot = FdSlot("log");
/// The file beside it that is locked.
pub const LOG_LOCK: FdSlot = FdSlot("log lock");
/// The file with its newest head; empty without one.
pub const LOG_HEAD: FdSlot = FdSlot("log head");

/// `MSG_OOB` and `MSG_PEEK`.
const OOB_PEEK: u64 = 3;
/// `FALLOC_FL_KEEP_SIZE`.
const KEEP_SIZE: u32 = 1;
/// `SEEK_SET`.
const FROM_THE_START: u32 = 0;
/// `LOCK_UN`.
const UNLOCK: u32 = 8;
/// `FUTEX_WAIT`, `FUTEX_WAKE` and `FUTEX_WAIT_BITSET`, each private: locks, and waiting for one's
/// turn.
const FUTEX: [u32; 3] = [128, 129, 137];
#[cfg(debug_assertions)]
const F_GETFD: u32 = 1;

/// A keeper, from before it looks at its store and its log to its end.
pub const KEEPER: Profile = Profile {
    name: "broker-keeper",
    rules: &[
        Rule::new(
            sys("recvfrom"),
            &[Pin::Fd(0, CALLS), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "requests",
        ),
        Rule::new(
            sys("sendto"),
            &[Pin::Fd(0, CALLS), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "answers",
        ),
        Rule::new(
            sys("recvfrom"),
            &[Pin::Fd(0, SIGNER), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "handshakes to be signed",
        ),
        Rule::new(
            sys("sendto"),
            &[Pin::Fd(0, SIGNER), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "signatures",
        ),
        Rule::new(
            sys("sendto"),
            &[Pin::Fd(0, CONTROL), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "that it is ready, what fails",
        ),
        Rule::new(
            sys("recvmsg"),
            &[Pin::Fd(0, OWNER), Pin::Bits(2, OOB_PEEK, 0)],
            "a connection of the owner",
        ),
        Rule::new(
            sys("recvfrom"),
            &[Pin::FdFrom(0, LATER), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "what the owner asks",
        ),
        Rule::new(
            sys("sendto"),
            &[Pin::FdFrom(0, LATER), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "what the owner is answered",
        ),
        Rule::new(sys("close"), &[Pin::FdFrom(0, LATER)], "the owner is answered"),
        Rule::new(
            sys("lseek"),
            &[Pin::Fd(0, STORE), Pin::Int(2, FROM_THE_START)],
            "read the store from its start",
        ),
        Rule::new(sys("fstat"), &[Pin::Fd(0, STORE)], "how long the store is"),
        Rule::new(sys("read"), &[Pin::Fd(0, STORE)], "the store, once"),
        Rule::new(sys("pwrite64"), &[Pin::Fd(0, STORE)], "a change of the store"),
        Rule::new(
            sys("fallocate"),
            &[Pin::Fd(0, STORE), Pin::Int(1, KEEP_SIZE)],
            "room for a change, before it is made",
        ),
        Rule::new(sys("ftruncate"), &[Pin::Fd(0, STORE)], "make the store shorter"),
        Rule::new(sys("fdatasync"), &[Pin::Fd(0, STORE)], "a change is on the disk"),
        Rule::new(sys("pread64"), &[Pin::Fd(0, LOG)], "what a log has that is to be gone on with"),
        Rule::new(sys("pread64"), &[Pin::Fd(0, LOG_HEAD)], "the head that the log must have"),
        Rule::new(sys("write"), &[Pin::Fd(0, LOG)], "decisions; the log is open to append"),
        Rule::new(sys("pwrite64"), &[Pin::Fd(0, LOG_HEAD)], "keep the newest head"),
        Rule::new(sys("ftruncate"), &[Pin::Fd(0, LOG)], "take back half a record"),
        Rule::new(sys("ftruncate"), &[Pin::Fd(0, LOG_HEAD)], "the end of a head"),
        Rule::new(sys("fstat"), &[Pin::Fd(0, LOG)], "whether others have written"),
        Rule::new(sys("fstat"), &[Pin::Fd(0, LOG_HEAD)], "whether there is a head"),
        Rule::new(sys("fdatasync"), &[Pin::Fd(0, LOG)], "what is logged is on the disk"),
        Rule::new(
            sys("flock"),
            &[Pin::Fd(0, LOG_LOCK), Pin::Int(1, UNLOCK)],
            "others may have the log",
        ),
        Rule::new(sys("close"), &[Pin::Fd(0, LOG)], "the log is closed"),
        Rule::new(sys("close"), &[Pin::Fd(0, LOG_LOCK)], "the same, what is locked"),
        Rule::new(sys("close"), &[Pin::Fd(0, LOG_HEAD)], "the same, its head file"),
        // The standard library's debug builds check every descriptor that they close.
        #[cfg(debug_assertions)]
        Rule::new(sys("fcntl"), &[Pin::Int(1, F_GETFD)], "debug build: check before close"),
        Rule::new(sys("futex"), &[Pin::IntIn(1, &FUTEX)], "threads wait for each other"),
        Rule::new(sys("getrandom"), &[], "nonces, keys of what is sealed, signatures"),
        Rule::new(
            sys("clock_gettime"),
            &[],
            "what time it is, where the kernel's clock needs a call",
        ),
        Rule::new(sys("exit_group"), &[], "end"),
    ],
};

/// Descriptors at most: what it begins with, and one connection of the owner.
const OPEN_FILES: u64 = 64;

/// The layers of a keeper: all of them, a network of its own included. Store and log may grow.
#[must_use]
pub fn layers() -> Layers {
    let limits = Limits { open_files: Some(OPEN_FILES), ..Limits::NO_CORE };
    Layers::new("broker-keeper").limits(limits).with(Layer::NetworkNamespace)
}

/// What the supervisor reads: signals.
pub const SIGNALS: FdSlot = FdSlot("signals");
/// What the supervisor writes: messages to its user, an operator's log.
pub const OUTPUTS: FdSlot = FdSlot("output");
/// The sockets of the processes that the supervisor watches.
pub const CONTROLS: FdSlot = FdSlot("process");
/// Where the owner connects.
pub const DOOR: FdSlot = FdSlot("owner's door");
/// The pidfds of the processes that the supervisor watches.
pub const CHILD: FdSlot = FdSlot("child");

const SOL_SOCKET: u32 = 1;
const SO_PEERCRED: u32 = 17;
/// `SO_RCVTIMEO_NEW`, `SO_SNDTIMEO_NEW`: those of a time with 64 bits.
const TIMES: [u32; 2] = [66, 67];
const SIGKILL: u32 = 9;
const P_PIDFD: u32 = 3;

/// The supervisor of a broker, once both processes are there.
pub const SUPERVISOR: Profile = Profile {
    name: "broker-supervisor",
    rules: &[
        Rule::new(sys("ppoll"), &[], "wait for everything"),
        Rule::new(sys("recvfrom"), &[Pin::Fd(0, SIGNALS)], "signals"),
        Rule::new(sys("read"), &[Pin::Fd(0, SIGNALS)], "signals"),
        Rule::new(sys("write"), &[Pin::Fd(0, OUTPUTS)], "messages to its user"),
        Rule::new(
            sys("recvfrom"),
            &[Pin::Fd(0, CONTROLS), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "what the processes say",
        ),
        // Of the handler of a signal, which wakes this process by a socket of its own.
        Rule::new(
            sys("sendto"),
            &[Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "that a signal came, that the front is to end",
        ),
        Rule::new(sys("accept4"), &[Pin::Fd(0, DOOR)], "who asks about the store"),
        Rule::new(
            sys("getsockopt"),
            &[Pin::Int(1, SOL_SOCKET), Pin::Int(2, SO_PEERCRED)],
            "which user asks",
        ),
        Rule::new(
            sys("setsockopt"),
            &[Pin::Int(1, SOL_SOCKET), Pin::IntIn(2, &TIMES)],
            "how long who asks may take",
        ),
        Rule::new(
            sys("sendmsg"),
            &[Pin::Fd(0, OWNER), Pin::Bits(2, OOB_PEEK, 0)],
            "give a connection to the keeper",
        ),
        Rule::new(sys("close"), &[], "a connection that was given away; the end"),
        // The standard library's debug builds check every descriptor that they close.
        #[cfg(debug_assertions)]
        Rule::new(sys("fcntl"), &[Pin::Int(1, F_GETFD)], "debug build: check before close"),
        Rule::new(
            sys("pidfd_send_signal"),
            &[Pin::Fd(0, CHILD), Pin::Int(1, SIGKILL)],
            "end a process that does not end",
        ),
        Rule::new(sys("waitid"), &[Pin::Int(0, P_PIDFD), Pin::Fd(1, CHILD)], "how a process ended"),
        Rule::new(sys("rt_sigreturn"), &[], "after a signal"),
        Rule::new(sys("clock_gettime"), &[], "how long an end takes, where that needs a call"),
        Rule::new(sys("sigaltstack"), &[], "end of the main thread"),
        Rule::new(sys("munmap"), &[], "end of the main thread"),
        Rule::new(sys("exit_group"), &[], "end"),
    ],
};
