//! The processes of network devices, which begin when everything is decided.

use super::cgroup::{self, Groups};
use super::error::VmError;
use super::kind::ProcessKind;
use super::lone::Lone;
use super::open_net::OpenNet;
use super::spawning::{layers, pair};
use super::supervisor::{Member, Post};
use crate::config::{Leaf, VmConfig};
use casemate_device_net::layers as net_layers;
use casemate_device_process::{DeviceKind, FrontEnd, Start, spawn};
use casemate_policy::NetworkRules;
use casemate_sandbox::{Image, Layer, Layers};
use rustix::net::SocketType;
use std::os::fd::{AsFd, OwnedFd};

/// What such a process begins with, besides its TAP: everything that configuration and policy say.
#[derive(Debug)]
pub(super) struct NetProcess {
    net: OpenNet,
    layers: Layers,
    start: Start,
    post: Post,
}

/// Prepares the processes of network devices, which let their guest reach what these rules say.
pub(super) fn processes(
    nets: Vec<OpenNet>,
    config: &VmConfig,
    rules: &NetworkRules,
) -> Vec<NetProcess> {
    let count = nets.len() as u64;
    let one = |(index, net): (usize, OpenNet)| {
        let (kind, front_end) = (DeviceKind::Net, FrontEnd::Ours);
        // The processes do not know of each other, so each has its share of what may be opened.
        let rules = rules.share_of(index as u64, count);
        let may_end = rules.ends_guest();
        let start = Start { kind, front_end, config: net.facts(rules).encode() };
        let post = Post {
            device: number(config, index),
            name: net.net.name.clone(),
            on_death: net.net.on_device_death,
            may_end,
        };
        NetProcess { layers: layers_of(&net.net.name, config), start, net, post }
    };
    nets.into_iter().enumerate().map(one).collect()
}

/// The layers of the process of the network device with that name.
pub(super) fn layers_of(name: &str, config: &VmConfig) -> Layers {
    let all = net_layers(&format!("net-{name}"));
    // As a disk: of a confidential guest's memory what it shares.
    layers(if config.snp.is_some() { all.with(Layer::MemoryFence) } else { all }, config)
}

/// The number that the vmm process knows a network device by: they are the last on the bus.
fn number(config: &VmConfig, index: usize) -> u8 {
    let VmConfig { disks, foreign, vsock, .. } = config;
    let before = [disks.len(), foreign.len(), usize::from(vsock.is_some()), Lone::of(config).len()];
    // A VM has so few devices: `MAX_DEVICES`.
    u8::try_from(before.iter().sum::<usize>() + index).unwrap_or(u8::MAX)
}

/// Starts them; each gets the end of the socket that leads to the vmm process. This process keeps
/// no TAP open, so that one that was made for a VM goes with its process.
///
/// # Errors
/// [`VmError`].
pub(super) fn start(
    nets: Vec<NetProcess>,
    sockets: Vec<OwnedFd>,
    device: &Image,
    groups: Option<&Groups>,
) -> Result<Vec<Member>, VmError> {
    nets.into_iter().zip(sockets).map(|(net, socket)| net.start(&socket, device, groups)).collect()
}

impl NetProcess {
    fn start(
        self,
        socket: &OwnedFd,
        device: &Image,
        groups: Option<&Groups>,
    ) -> Result<Member, VmError> {
        let Self { net, layers, start, post } = self;
        let (control, its_control) = pair(SocketType::SEQPACKET)?;
        let own = [net.tap.file().as_fd()];
        let layers = cgroup::enter(layers, groups, Leaf::Net(&post.name));
        let process = spawn(device, layers, &start, socket, &its_control, &own, |_| ())?;
        Ok(Member::of_device(ProcessKind::Net, process, control, post))
    }
}
