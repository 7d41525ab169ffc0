//! The processes of a socket device: the device, the connector where the guest may connect to
//! something, and the janitor that removes the sockets when the VM is over.

use super::cgroup::{self, Groups};
use super::error::VmError;
use super::kind::ProcessKind;
use super::open_vsock::OpenVsock;
use super::spawning::{layers, pair};
use super::supervisor::Member;
use crate::config::{Leaf, VmConfig};
use casemate_device_process::{
    DeviceKind, FrontEnd, PathSocket, Start, connector_layers, janitor_layers, spawn,
    spawn_connector, spawn_janitor,
};
use casemate_device_vsock::profile::layers as vsock_layers;
use casemate_sandbox::{Image, Layer, Layers};
use rustix::net::SocketType;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What they begin with: everything that the configuration says.
#[derive(Debug)]
pub(super) struct VsockProcesses {
    vsock: OpenVsock,
    device: Layers,
    connector: Layers,
    janitor: Layers,
}

/// The layers of the device, its connector and its janitor, whose sockets are in `directory`.
pub(super) fn layers_of(directory: &Path, config: &VmConfig) -> (Layers, Layers, Layers) {
    let device = vsock_layers("vsock");
    // As a disk: of a confidential guest's memory what it shares.
    let device = if config.snp.is_some() { device.with(Layer::MemoryFence) } else { device };
    let (connector, janitor) = (connector_layers(directory), janitor_layers(directory));
    (layers(device, config), layers(connector, config), layers(janitor, config))
}

impl VsockProcesses {
    pub(super) fn new(vsock: OpenVsock, config: &VmConfig) -> Self {
        let (device, connector, janitor) = layers_of(&vsock.directory, config);
        Self { vsock, device, connector, janitor }
    }

    /// Starts them; `socket` leads to the vmm process. The janitor is last: it is there for what
    /// all others leave.
    ///
    /// # Errors
    /// [`VmError`]; the sockets are gone then.
    pub(super) fn start(
        self,
        socket: &OwnedFd,
        program: &Image,
        groups: Option<&Groups>,
    ) -> Result<Vec<Member>, VmError> {
        let Self { vsock: OpenVsock { facts, sockets, connects, .. }, .. } = &self;
        let mut members = Vec::new();
        let polled = sockets.iter().map(PathSocket::polled).collect::<Result<Vec<_>, _>>();
        let mut own = polled.map_err(VmError::Listen)?;
        if let Some(connects) = connects {
            let (channel, its_channel) = pair(SocketType::SEQPACKET)?;
            let (control, its_control) = pair(SocketType::SEQPACKET)?;
            let layers = cgroup::enter(self.connector.clone(), groups, Leaf::Connector);
            let process =
                spawn_connector(program, layers, connects, &its_channel, &its_control, |_| ())?;
            members.push(Member::new(ProcessKind::Connector, process, control));
            own.push(channel);
        }
        let (control, its_control) = pair(SocketType::SEQPACKET)?;
        let start =
            Start { kind: DeviceKind::Vsock, front_end: FrontEnd::Ours, config: facts.encode() };
        let layers = cgroup::enter(self.device.clone(), groups, Leaf::Vsock);
        let own: Vec<_> = own.iter().map(AsFd::as_fd).collect();
        let process = spawn(program, layers, &start, socket, &its_control, &own, |_| ())?;
        members.insert(0, Member::new(ProcessKind::Vsock, process, control));
        if sockets.is_empty() {
            return Ok(members);
        }
        let (control, its_control) = pair(SocketType::SEQPACKET)?;
        let places: Vec<_> = sockets.iter().filter_map(PathSocket::place).collect();
        let layers = self.janitor.clone();
        let process = spawn_janitor(program, layers, &places, &its_control, |_| ())?;
        members.push(Member::of_janitor(process, control, self.vsock.sockets));
        Ok(members)
    }
}
