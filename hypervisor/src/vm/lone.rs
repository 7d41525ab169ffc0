//! Devices that are one process each, of which a guest has one of a kind, and behind which there is
//! nothing that could be opened: a console, a source of random numbers.

use super::kind::ProcessKind;
use super::virtio::{BackEndOf, DeviceSocket};
use crate::config::{Leaf, VmConfig};
use casemate_device_process::DeviceKind;
use casemate_policy::{DeviceFact, DeviceKind as Kind};
use casemate_sandbox::Layers;
use std::os::fd::OwnedFd;

/// A kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lone {
    /// A console beside the serial one.
    Console,
    /// Random numbers of the host.
    Rng,
}

impl Lone {
    /// Those of a configuration, in the order of the guest's bus.
    pub(super) fn of(config: &VmConfig) -> Vec<Self> {
        let all = [(config.virtio_console, Self::Console), (config.rng, Self::Rng)];
        all.into_iter().filter_map(|(wanted, lone)| wanted.then_some(lone)).collect()
    }

    /// What the vmm process and the device's own know it as.
    pub(super) const fn device(self) -> DeviceKind {
        match self {
            Self::Console => DeviceKind::Console,
            Self::Rng => DeviceKind::Rng,
        }
    }

    /// What the supervisor knows its process as.
    pub(super) const fn process(self) -> ProcessKind {
        match self {
            Self::Console => ProcessKind::Console,
            Self::Rng => ProcessKind::Rng,
        }
    }

    /// The control group of its process.
    pub(super) const fn leaf(self) -> Leaf<'static> {
        match self {
            Self::Console => Leaf::Console,
            Self::Rng => Leaf::Rng,
        }
    }

    /// The layers of its process.
    pub(super) fn layers(self) -> Layers {
        let name = self.device().name();
        match self {
            Self::Console => casemate_device_console::profile::layers(name),
            Self::Rng => casemate_device_rng::profile::layers(name),
        }
    }

    const fn queues(self) -> u16 {
        match self {
            Self::Console => casemate_device_console::QUEUES,
            Self::Rng => casemate_device_rng::QUEUES,
        }
    }

    /// As the vmm process gets it; `socket` leads to its process.
    pub(super) const fn for_vmm(self, socket: OwnedFd) -> DeviceSocket {
        let (kind, queues, of) = (self.device(), self.queues(), BackEndOf::Ours);
        DeviceSocket { kind, of, queues, socket, standby: None, mac: None }
    }

    /// What the policy is told of it, before its process begins.
    pub(super) fn fact(self) -> DeviceFact<'static> {
        let kind = match self {
            Self::Console => Kind::Console,
            Self::Rng => Kind::Rng,
        };
        let queues = self.queues().into();
        DeviceFact { kind, path: None, read_only: false, foreign: false, queues }
    }
}
