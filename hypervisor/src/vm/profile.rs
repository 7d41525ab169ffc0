//! What the processes of a VM may do once locked: the system calls, pinned, each with its reason.

use crate::kvm::{KVM_RUN, SET_GSI_ROUTING};
use casemate_sandbox::{FdSlot, Layers, Limits, Pin, Profile, Rule, sys};

/// The vCPUs, which are run.
pub const VCPUS: FdSlot = FdSlot("vcpu");
/// Eventfds that others signal: console, devices, the VM's end.
pub const EVENTS: FdSlot = FdSlot("event");
/// Eventfds that this process signals: interrupt lines, doorbells, its own threads.
pub const SIGNALS: FdSlot = FdSlot("signal");
/// The control and console sockets.
pub const SOCKETS: FdSlot = FdSlot("socket");

/// The sockets of device processes; empty without devices.
pub const DEVICES: FdSlot = FdSlot("device");
/// Those of programs of others; empty without any.
pub const FOREIGN: FdSlot = FdSlot("foreign device");
/// The VM, where devices' interrupts are routed; empty without devices.
pub const ROUTING: FdSlot = FdSlot("routing");

#[allow(clippy::cast_possible_truncation, reason = "an ioctl request is 32 bits")]
const RUN: u32 = KVM_RUN as u32;

/// The VM itself, where page states change.
pub const VM: FdSlot = FdSlot("vm");
/// Files behind guest memory, where page states change.
pub const MEMORY: FdSlot = FdSlot("memory");

/// `KVM_SET_MEMORY_ATTRIBUTES`: `_IOW(KVMIO, 0xd2, struct kvm_memory_attributes)`.
const SET_MEMORY_ATTRIBUTES: u32 = 0x4020_aed2;
/// Punch a hole: `FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE`.
const PUNCH: u32 = 3;
const CLOCK_MONOTONIC: u32 = 1;

/// `FUTEX_WAIT`, `FUTEX_WAKE` and `FUTEX_WAIT_BITSET`, each private: the C library's locks, and the
/// standard library's. Not the operations with priority inheritance, whose state machine in the
/// kernel has been a way in more than once, nor requeueing, nor futexes shared with other
/// processes.
const FUTEX: [u32; 3] = [128, 129, 137];

/// Flags of sending and receiving: `MSG_DONTWAIT`, `MSG_NOSIGNAL`. Not `MSG_OOB`, which UNIX
/// sockets have since Linux 5.15 and nobody here uses, nor `MSG_PEEK`.
const NOT_SEND: u64 = !0x4040 & 0xffff_ffff;
const NOT_RECEIVE: u64 = !0x40 & 0xffff_ffff;
/// An answer of a device process is waited for as a whole: `MSG_WAITALL`.
const NOT_RECEIVE_ANSWER: u64 = !0x140 & 0xffff_ffff;

macro_rules! vmm_rules {
    ($($more:expr),*) => {
        &[
            Rule::new(sys("ioctl"), &[Pin::Fd(0, VCPUS), Pin::Int(1, RUN)], "run a vCPU"),
            Rule::new(sys("ppoll"), &[], "wait for sockets and events"),
            Rule::new(sys("read"), &[Pin::Fd(0, EVENTS)], "take an event"),
            Rule::new(sys("write"), &[Pin::Fd(0, SIGNALS)], "signal an event or interrupt line"),
            Rule::new(
                sys("sendto"),
                &[Pin::Fd(0, SOCKETS), Pin::Bits(3, NOT_SEND, 0), Pin::Long(4, 0)],
                "console output, messages, to the socket's peer only"
            ),
            Rule::new(
                sys("recvfrom"),
                &[Pin::Fd(0, SOCKETS), Pin::Bits(3, NOT_RECEIVE, 0), Pin::Long(4, 0)],
                "console input, messages"
            ),
            Rule::new(
                sys("ioctl"),
                &[Pin::Fd(0, ROUTING), Pin::Int(1, SET_GSI_ROUTING)],
                "route devices' interrupts as the guest sets its vectors"
            ),
            Rule::new(
                sys("sendto"),
                &[Pin::Fd(0, DEVICES), Pin::Bits(3, NOT_SEND, 0), Pin::Long(4, 0)],
                "requests to device processes"
            ),
            Rule::new(
                sys("recvfrom"),
                &[Pin::Fd(0, DEVICES), Pin::Bits(3, NOT_RECEIVE_ANSWER, 0), Pin::Long(4, 0)],
                "their answers; no descriptor can come with one"
            ),
            Rule::new(
                sys("sendmsg"),
                &[Pin::Fd(0, FOREIGN), Pin::Bits(2, NOT_SEND, 0)],
                "a foreign back end gets its events anew with each activation"
            ),
            Rule::new(
                sys("futex"),
                &[Pin::IntIn(1, &FUTEX)],
                "wait for another thread's lock, park a stopped vCPU"
            ),
            Rule::new(sys("exit_group"), &[], "end"),
            $($more),*
        ]
    };
}

/// Descriptors that a thread of the vmm process polls at most: poll(2) fails beyond RLIMIT_NOFILE.
/// That of the console polls as many, that of a device three.
const POLLED: u64 = 5;

/// Descriptors that may be on their way to programs of others when the vmm process sends one more:
/// sendmsg(2) fails with `ETOOMANYREFS` when the user's are more than RLIMIT_NOFILE
/// (`too_many_unix_fds` in Linux). A VM has one on its way for each foreign device at most, but the
/// kernel counts those of all programs of the user.
const ON_THEIR_WAY: u64 = 256;

/// The vmm process's layers: all of them. Once confined it opens no more files, and no file grows.
#[must_use]
pub fn vmm_layers(with_foreign_devices: bool) -> Layers {
    let open_files = Some(if with_foreign_devices { ON_THEIR_WAY } else { POLLED });
    let limits = Limits { open_files, file_size: Some(0), ..Limits::NO_CORE };
    Layers::new("vmm").limits(limits)
}

/// The vmm process of a plain VM while the guest runs.
pub const VMM: Profile = Profile { name: "vmm", rules: vmm_rules![] };

/// The vmm process of a confidential VM while the guest runs: page states change, too.
pub const VMM_SNP: Profile = Profile {
    name: "vmm, confidential",
    rules: vmm_rules![
        Rule::new(
            sys("ioctl"),
            &[Pin::Fd(0, VM), Pin::Int(1, SET_MEMORY_ATTRIBUTES)],
            "make pages private or shared"
        ),
        Rule::new(
            sys("fallocate"),
            &[Pin::Fd(0, MEMORY), Pin::Int(1, PUNCH)],
            "give up the other side of converted pages"
        ),
        Rule::new(
            sys("clock_gettime"),
            &[Pin::Int(0, CLOCK_MONOTONIC)],
            "the policy's rate of page-state changes, where the kernel's clock needs a call"
        )
    ],
};

/// The decision log, open to append.
pub const LOG: FdSlot = FdSlot("log");
/// The file beside it that is locked.
pub const LOG_LOCK: FdSlot = FdSlot("log lock");
/// The file with its newest head; empty without one.
pub const LOG_HEAD: FdSlot = FdSlot("log head");

/// `LOCK_EX | LOCK_NB` and `LOCK_UN`: never a lock that is waited for without end.
const FLOCK: [u32; 2] = [6, 8];

/// The recorder's layers: all of them. Once confined it opens no more files; the log may grow.
#[must_use]
pub fn recorder_layers() -> Layers {
    let limits = Limits { open_files: Some(0), ..Limits::NO_CORE };
    Layers::new("recorder").limits(limits)
}

/// The recorder, from before its first look at the log to its end.
pub const RECORDER: Profile = Profile {
    name: "recorder",
    rules: &[
        Rule::new(
            sys("recvfrom"),
            &[Pin::Fd(0, SOCKETS), Pin::Bits(3, NOT_RECEIVE, 0), Pin::Long(4, 0)],
            "what is to be logged",
        ),
        Rule::new(
            sys("sendto"),
            &[Pin::Fd(0, SOCKETS), Pin::Bits(3, NOT_SEND, 0), Pin::Long(4, 0)],
            "that it is logged, to the socket's peer only",
        ),
        Rule::new(sys("pread64"), &[Pin::Fd(0, LOG)], "what a log has that is to be gone on with"),
        Rule::new(sys("pread64"), &[Pin::Fd(0, LOG_HEAD)], "the head that the log must have"),
        Rule::new(sys("write"), &[Pin::Fd(0, LOG)], "add a record; the log is open to append"),
        Rule::new(sys("pwrite64"), &[Pin::Fd(0, LOG_HEAD)], "keep the newest head"),
        Rule::new(sys("ftruncate"), &[Pin::Fd(0, LOG)], "take back half a record"),
        Rule::new(sys("ftruncate"), &[Pin::Fd(0, LOG_HEAD)], "the end of a head"),
        Rule::new(sys("fstat"), &[Pin::Fd(0, LOG)], "whether others have written"),
        Rule::new(sys("fstat"), &[Pin::Fd(0, LOG_HEAD)], "whether there is a head"),
        Rule::new(
            sys("flock"),
            &[Pin::Fd(0, LOG_LOCK), Pin::IntIn(1, &FLOCK)],
            "one writer at a time",
        ),
        Rule::new(sys("fdatasync"), &[Pin::Fd(0, LOG)], "what is logged is on the disk"),
        Rule::new(sys("close"), &[Pin::Fd(0, LOG)], "a log that is not to be used, the end"),
        Rule::new(sys("close"), &[Pin::Fd(0, LOG_LOCK)], "the same, what is locked"),
        Rule::new(sys("close"), &[Pin::Fd(0, LOG_HEAD)], "the same, its head file"),
        Rule::new(
            sys("clock_nanosleep"),
            &[Pin::Int(0, CLOCK_MONOTONIC), Pin::Int(1, 0)],
            "wait a moment for another writer",
        ),
        Rule::new(
            sys("clock_gettime"),
            &[],
            "times of records, where the kernel's clock needs a call",
        ),
        Rule::new(sys("exit_group"), &[], "end"),
    ],
};

/// What the supervisor reads: signals, console input.
pub const INPUTS: FdSlot = FdSlot("input");
/// What the supervisor writes: console output, its own messages.
pub const OUTPUTS: FdSlot = FdSlot("output");
/// The socket that holds the VM's name.
pub const NAME: FdSlot = FdSlot("name");
/// The pidfds of the processes that it watches.
pub const CHILD: FdSlot = FdSlot("child");
/// The terminal whose settings are changed; empty without one.
pub const TERMINAL: FdSlot = FdSlot("terminal");
/// Files that are cut when they are full; empty without one.
pub const FILES: FdSlot = FdSlot("file");

/// `_IOW('T', 0x2b, struct termios2)`: rustix sets a terminal by it, not by TCSETS.
const TCSETS2: u32 = 0x402c_542b;
/// `TIOCGPGRP`: who has the terminal.
const TIOCGPGRP: u32 = 0x540f;
const SIGSTOP: u32 = 19;
const SOL_SOCKET: u32 = 1;
const SO_PEERCRED: u32 = 17;
#[cfg(debug_assertions)]
const F_GETFD: u32 = 1;
const SIGKILL: u32 = 9;
const P_PIDFD: u32 = 3;

/// The supervisor while the VM runs.
pub const SUPERVISOR: Profile = Profile {
    name: "supervisor",
    rules: &[
        Rule::new(sys("ppoll"), &[], "wait for everything"),
        Rule::new(sys("read"), &[Pin::Fd(0, INPUTS)], "signals, console input"),
        Rule::new(sys("write"), &[Pin::Fd(0, OUTPUTS)], "console output, messages to the user"),
        // The descriptor of who asks is not known beforehand. Whoever that is: only sockets are
        // received from, and no descriptor can come with what a call without a `msghdr` takes.
        Rule::new(
            sys("sendto"),
            &[Pin::Bits(3, NOT_SEND, 0), Pin::Long(4, 0)],
            "console input, messages, answers to who asks about the VM",
        ),
        Rule::new(
            sys("recvfrom"),
            &[Pin::Bits(3, NOT_RECEIVE, 0), Pin::Long(4, 0)],
            "console output, messages, what is asked about the VM",
        ),
        Rule::new(sys("accept4"), &[Pin::Fd(0, NAME)], "who asks about the VM"),
        Rule::new(
            sys("getsockopt"),
            &[Pin::Int(1, SOL_SOCKET), Pin::Int(2, SO_PEERCRED)],
            "which user asks about the VM",
        ),
        Rule::new(sys("close"), &[], "end of an answer; the end"),
        // The standard library's debug builds check every descriptor that they close.
        #[cfg(debug_assertions)]
        Rule::new(sys("fcntl"), &[Pin::Int(1, F_GETFD)], "debug build: check before close"),
        Rule::new(
            sys("pidfd_send_signal"),
            &[Pin::Fd(0, CHILD), Pin::Int(1, SIGKILL)],
            "end the VM",
        ),
        Rule::new(sys("waitid"), &[Pin::Int(0, P_PIDFD), Pin::Fd(1, CHILD)], "how the VM ended"),
        Rule::new(
            sys("ioctl"),
            &[Pin::Fd(0, TERMINAL), Pin::Int(1, TCSETS2)],
            "give the terminal to the guest and set it back",
        ),
        Rule::new(
            sys("ioctl"),
            &[Pin::Fd(0, TERMINAL), Pin::Int(1, TIOCGPGRP)],
            "whether the terminal is in the foreground",
        ),
        Rule::new(
            sys("kill"),
            &[Pin::OwnPid(0), Pin::Int(1, SIGSTOP)],
            "stop when the user's shell asks for it",
        ),
        Rule::new(sys("pread64"), &[Pin::Fd(0, FILES)], "set a full console file aside"),
        Rule::new(sys("pwrite64"), &[Pin::Fd(0, FILES)], "set a full console file aside"),
        Rule::new(sys("ftruncate"), &[Pin::Fd(0, FILES)], "begin the console file anew"),
        Rule::new(sys("rt_sigreturn"), &[], "after a signal"),
        Rule::new(sys("clock_gettime"), &[], "timeline, where the kernel's clock needs a call"),
        Rule::new(sys("sigaltstack"), &[], "end of the main thread"),
        Rule::new(sys("munmap"), &[], "end of the main thread"),
        Rule::new(sys("exit_group"), &[], "end"),
    ],
};
