//! The processes of devices that are one process each, which begin when everything is decided.

use super::cgroup::{self, Groups};
use super::error::VmError;
use super::lone::Lone;
use super::spawning::{layers, pair};
use super::supervisor::Member;
use crate::config::VmConfig;
use casemate_device_process::{FrontEnd, Start, spawn};
use casemate_sandbox::{Image, Layer, Layers};
use rustix::net::SocketType;
use std::os::fd::{AsFd, OwnedFd};

/// What one begins with: everything that the configuration says.
#[derive(Debug)]
pub(super) struct LoneProcess {
    lone: Lone,
    layers: Layers,
}

/// The layers of such a process.
pub(super) fn layers_of(lone: Lone, config: &VmConfig) -> Layers {
    let all = lone.layers();
    // As a disk: of a confidential guest's memory what it shares.
    layers(if config.snp.is_some() { all.with(Layer::MemoryFence) } else { all }, config)
}

impl LoneProcess {
    pub(super) fn new(lone: Lone, config: &VmConfig) -> Self {
        Self { lone, layers: layers_of(lone, config) }
    }

    /// Starts it; `socket` leads to the vmm process. With a console comes the other end of its
    /// stream, which has no other holder: it ends with the process.
    ///
    /// # Errors
    /// [`VmError`].
    pub(super) fn start(
        self,
        socket: &OwnedFd,
        program: &Image,
        groups: Option<&Groups>,
    ) -> Result<(Member, Option<OwnedFd>), VmError> {
        let (control, its_control) = pair(SocketType::SEQPACKET)?;
        let start =
            Start { kind: self.lone.device(), front_end: FrontEnd::Ours, config: Vec::new() };
        let stream = matches!(self.lone, Lone::Console).then(|| pair(SocketType::STREAM));
        let (ours, its) = stream.transpose()?.unzip();
        let own: Vec<_> = its.iter().map(AsFd::as_fd).collect();
        let layers = cgroup::enter(self.layers, groups, self.lone.leaf());
        let process = spawn(program, layers, &start, socket, &its_control, &own, |_| ())?;
        Ok((Member::new(self.lone.process(), process, control), ours))
    }
}
