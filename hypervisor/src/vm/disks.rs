//! The processes of disks, which begin when everything is decided.

use super::begun::{layers, pair};
use super::error::VmError;
use super::kind::ProcessKind;
use super::open_disk::OpenDisk;
use super::supervisor::Member;
use crate::config::VmConfig;
use casemate_device_block::layers as disk_layers;
use casemate_device_process::{DeviceKind, FrontEnd, Start, spawn};
use casemate_sandbox::{Image, Layer, Layers};
use rustix::net::SocketType;
use std::os::fd::{AsFd, OwnedFd};

/// What a disk's process begins with, besides its image: everything that the configuration says.
#[derive(Debug)]
pub(super) struct DiskProcess {
    disk: OpenDisk,
    layers: Layers,
}

/// Prepares the processes of disks.
pub(super) fn processes(disks: Vec<OpenDisk>, config: &VmConfig) -> Vec<DiskProcess> {
    let one = |disk: OpenDisk| DiskProcess { layers: layers_of(&disk, config), disk };
    disks.into_iter().map(one).collect()
}

/// A disk's layers. Of a confidential guest's memory it gets the pages that the guest shares and
/// has touched; a plain guest's memory is all the host's.
fn layers_of(disk: &OpenDisk, config: &VmConfig) -> Layers {
    let all = disk_layers(&format!("block-{}", disk.name), disk.image.facts());
    let all = if config.snp.is_some() { all.with(Layer::MemoryFence) } else { all };
    layers(all, config)
}

/// Starts the processes of disks; each gets the end of the socket that leads to the vmm process.
/// This process keeps no image open.
///
/// # Errors
/// [`VmError`].
pub(super) fn start(
    disks: Vec<DiskProcess>,
    sockets: Vec<OwnedFd>,
    device: &Image,
) -> Result<Vec<Member>, VmError> {
    let mut members = Vec::new();
    for (DiskProcess { disk, layers }, socket) in disks.into_iter().zip(sockets) {
        let (control, its_control) = pair(SocketType::SEQPACKET)?;
        let start = Start {
            kind: DeviceKind::Block,
            front_end: FrontEnd::Ours,
            config: disk.image.facts().encode().to_vec(),
        };
        let image = [disk.image.file().as_fd()];
        let process = spawn(device, layers, &start, &socket, &its_control, &image, |_| ())?;
        members.push(Member::new(ProcessKind::Block, process, control));
    }
    Ok(members)
}
