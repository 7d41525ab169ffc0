//! What the processes of a VM may do once locked: the system calls, pinned, each with its reason.

use crate::kvm::KVM_RUN;
use crate::sandbox::{FdSlot, Pin, Profile, Rule, sys};

/// The vCPUs.
pub const VCPUS: FdSlot = FdSlot("vcpu");
/// Eventfds of the VM's devices and of its end.
pub const EVENTS: FdSlot = FdSlot("event");
/// The control and console sockets.
pub const SOCKETS: FdSlot = FdSlot("socket");

#[allow(clippy::cast_possible_truncation, reason = "an ioctl request is 32 bits")]
const RUN: u32 = KVM_RUN as u32;

/// The vmm process while the guest runs.
pub const VMM: Profile = Profile {
    name: "vmm",
    rules: &[
        Rule::new(sys("ioctl"), &[Pin::Fd(0, VCPUS), Pin::Int(1, RUN)], "run a vCPU"),
        Rule::new(sys("ppoll"), &[], "wait for sockets and events"),
        Rule::new(sys("read"), &[Pin::Fd(0, EVENTS)], "take an event"),
        Rule::new(sys("write"), &[Pin::Fd(0, EVENTS)], "signal an event or interrupt line"),
        Rule::new(sys("sendto"), &[Pin::Fd(0, SOCKETS)], "console output, messages"),
        Rule::new(sys("recvfrom"), &[Pin::Fd(0, SOCKETS)], "console input, messages"),
        Rule::new(sys("futex"), &[], "wait for another thread's lock, park a stopped vCPU"),
        Rule::new(sys("exit_group"), &[], "end"),
    ],
};

/// The supervisor's own descriptors that it reads.
pub const READS: FdSlot = FdSlot("read");
/// Those it writes.
pub const WRITES: FdSlot = FdSlot("write");
/// Sockets to the vmm process.
pub const TO_VMM: FdSlot = FdSlot("to-vmm");
/// The name's listening socket.
pub const NAME: FdSlot = FdSlot("name");
/// The vmm process.
pub const CHILD: FdSlot = FdSlot("child");
/// The terminal to be restored.
pub const TERMINAL: FdSlot = FdSlot("terminal");
