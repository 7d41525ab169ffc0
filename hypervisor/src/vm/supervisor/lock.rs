//! The lock of the supervisor's own process: from then on it opens nothing and starts nothing.

use super::RunningVm;
use crate::vm::profile;
use casemate_sandbox::{Action, Born, FdTable, Limits, Report, SandboxError, freeze_heap};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// What the process that watches uses besides the VM: its user's side.
#[derive(Debug, Default)]
pub struct Outside<'a> {
    /// What it reads: signals, input for the console.
    pub inputs: Vec<BorrowedFd<'a>>,
    /// What it writes: the console's output, its own messages.
    pub outputs: Vec<BorrowedFd<'a>>,
    /// The terminal whose settings it changes; none without one.
    pub terminal: Option<BorrowedFd<'a>>,
    /// Files that it cuts when they are full.
    pub files: Vec<BorrowedFd<'a>>,
    /// Largest size to which a file that it writes can grow, bytes.
    pub file_size: Option<u64>,
}

/// Heap after the lock: for messages, the timeline, the lines that are kept of what happened (48
/// KiB), and an answer to who asks about the VM (64 KiB, three times while it is made).
const HEAP: usize = 512 * 1024;

pub(super) fn lock(vm: &RunningVm, outside: &Outside<'_>) -> Result<Report, SandboxError> {
    let limits = Limits { file_size: outside.file_size, ..Limits::NO_CORE };
    let setup = Born::here(vm.layers.clone().limits(limits)).confine()?;
    freeze_heap(HEAP)?;
    let raw = |fds: &[BorrowedFd<'_>]| fds.iter().map(AsRawFd::as_raw_fd).collect::<Vec<_>>();
    let controls = vm.children.iter().map(|m| m.control().as_raw_fd());
    let processes = vm.children.iter().map(|m| m.process().as_fd().as_raw_fd());
    let fds = FdTable::new()
        .with_raw(profile::INPUTS, raw(&outside.inputs))
        .with_raw(profile::OUTPUTS, raw(&outside.outputs))
        .with_raw(profile::TERMINAL, outside.terminal.map(|fd| fd.as_raw_fd()))
        .with_raw(profile::FILES, raw(&outside.files))
        .with_raw(profile::SOCKETS, controls.chain(vm.console.raw()))
        .with(profile::NAME, &vm.name)
        .with_raw(profile::CHILD, processes);
    let locked = setup.lock(&profile::SUPERVISOR, &fds, Action::Kill)?;
    Ok(locked.report().clone())
}
