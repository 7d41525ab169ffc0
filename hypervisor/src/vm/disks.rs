//! The processes of disks, which begin when everything is decided: one that serves, and one that
//! stands by, has the same, and touches nothing until it is told to go on.

use super::begun::DiskSockets;
use super::cgroup::{self, Groups};
use super::error::VmError;
use super::kind::ProcessKind;
use super::open_disk::OpenDisk;
use super::spawning::{layers, pair};
use super::supervisor::{Member, Post};
use crate::config::{Disk, Leaf, OnDeviceDeath, VmConfig};
use casemate_device_block::layers as disk_layers;
use casemate_device_process::{DeviceKind, FrontEnd, Limits, Start, spawn};
use casemate_sandbox::{Image, Layer, Layers};
use rustix::net::SocketType;
use std::os::fd::{AsFd, OwnedFd};

/// What a disk's processes begin with, besides its image: everything that the configuration says.
#[derive(Debug)]
pub(super) struct DiskProcess {
    disk: OpenDisk,
    layers: Layers,
    on_death: OnDeviceDeath,
    limits: Limits,
}

/// Prepares the processes of disks.
pub(super) fn processes(disks: Vec<OpenDisk>, config: &VmConfig) -> Vec<DiskProcess> {
    let one = |(disk, wanted): (OpenDisk, &Disk)| DiskProcess {
        layers: layers_of(&disk, config),
        disk,
        on_death: wanted.on_device_death,
        limits: wanted.limits,
    };
    disks.into_iter().zip(&config.disks).map(one).collect()
}

/// A disk's layers. Of a confidential guest's memory it gets the pages that the guest shares and
/// has touched; a plain guest's memory is all the host's.
pub(super) fn layers_of(disk: &OpenDisk, config: &VmConfig) -> Layers {
    let all = disk_layers(&format!("block-{}", disk.name), disk.image.facts());
    let all = if config.snp.is_some() { all.with(Layer::MemoryFence) } else { all };
    layers(all, config)
}

/// Starts the processes of disks; each gets the end of the socket that leads to the vmm process.
/// This process keeps no image open: the lock on one lasts until the last of its two processes has
/// ended, since both have the description that was locked.
///
/// # Errors
/// [`VmError`].
pub(super) fn start(
    disks: Vec<DiskProcess>,
    sockets: Vec<DiskSockets>,
    device: &Image,
    groups: Option<&Groups>,
) -> Result<Vec<Member>, VmError> {
    let mut members = Vec::new();
    for (number, (process, DiskSockets { serving, standby })) in
        (0..).zip(disks.into_iter().zip(sockets))
    {
        members.push(process.start(ProcessKind::Block, number, &serving, device, groups)?);
        if let Some(standby) = standby {
            members.push(process.start(
                ProcessKind::BlockStandby,
                number,
                &standby,
                device,
                groups,
            )?);
        }
    }
    Ok(members)
}

impl DiskProcess {
    fn start(
        &self,
        kind: ProcessKind,
        number: u8,
        socket: &OwnedFd,
        device: &Image,
        groups: Option<&Groups>,
    ) -> Result<Member, VmError> {
        let (control, its_control) = pair(SocketType::SEQPACKET)?;
        let start = Start {
            kind: DeviceKind::Block,
            front_end: FrontEnd::Ours,
            config: [&self.disk.image.facts().encode()[..], &self.limits.encode()].concat(),
        };
        // A standby reads and writes through a description of its own, so that what the kernel has
        // told of lost writes to the other process is told again, and keeps the one that is locked.
        let own_image = self.disk.standby.iter().filter(|_| kind == ProcessKind::BlockStandby);
        let own = own_image.chain([self.disk.image.file()]).map(AsFd::as_fd);
        let leaf = match kind {
            ProcessKind::BlockStandby => Leaf::Standby(&self.disk.name),
            _ => Leaf::Block(&self.disk.name),
        };
        let layers = cgroup::enter(self.layers.clone(), groups, leaf);
        let own = own.collect::<Vec<_>>();
        let process = spawn(device, layers, &start, socket, &its_control, &own, |_| ())?;
        let post = Post {
            device: number,
            name: self.disk.name.clone(),
            on_death: self.on_death,
            may_end: false,
        };
        Ok(Member::of_device(kind, process, control, post))
    }
}
