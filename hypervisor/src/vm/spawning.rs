//! What every process of a VM is started with: its layers as the user wants them, sockets, and a
//! word to an operator.

use super::kind::ProcessKind;
use crate::config::VmConfig;
use casemate_diagnostics::event;
use casemate_sandbox::{Child, Layers};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::OwnedFd;

/// Tells that a process is there, which nobody has given anything of a guest yet.
pub(super) fn begins(kind: ProcessKind, process: &Child) {
    let (kind, pid) = (kind.name(), process.pid());
    event!(DEBUG, Vm, "a process begins", kind = kind, pid = pid);
}

/// A process's layers, of which the user wrote that this host may lack some.
pub(super) fn layers(all: Layers, config: &VmConfig) -> Layers {
    config.sandbox_optional.iter().copied().fold(all, Layers::may_lack)
}

/// Two ends of a socket.
pub(super) fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
}
