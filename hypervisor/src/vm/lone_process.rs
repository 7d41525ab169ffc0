//! The processes of devices that are one process each, which begin when everything is decided.

use super::begun::{layers, pair};
use super::error::VmError;
use super::lone::Lone;
use super::supervisor::Member;
use crate::config::VmConfig;
use casemate_device_process::{FrontEnd, Start, spawn};
use casemate_sandbox::{Image, Layer, Layers};
use rustix::net::SocketType;
use std::os::fd::OwnedFd;

/// What one begins with: everything that the configuration says.
#[derive(Debug)]
pub(super) struct LoneProcess {
    lone: Lone,
    layers: Layers,
}

impl LoneProcess {
    pub(super) fn new(lone: Lone, config: &VmConfig) -> Self {
        let all = lone.layers();
        // As a disk: of a confidential guest's memory what it shares.
        let all = if config.snp.is_some() { all.with(Layer::MemoryFence) } else { all };
        Self { lone, layers: layers(all, config) }
    }

    /// Starts it; `socket` leads to the vmm process.
    ///
    /// # Errors
    /// [`VmError`].
    pub(super) fn start(self, socket: &OwnedFd, program: &Image) -> Result<Member, VmError> {
        let (control, its_control) = pair(SocketType::SEQPACKET)?;
        let start =
            Start { kind: self.lone.device(), front_end: FrontEnd::Ours, config: Vec::new() };
        let process = spawn(program, self.layers, &start, socket, &its_control, &[], |_| ())?;
        Ok(Member::new(self.lone.process(), process, control))
    }
}
