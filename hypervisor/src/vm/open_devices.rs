//! The devices of a configuration, each as it was opened: what the policy is asked about.

use super::lone::Lone;
use super::open_disk::{self, DiskError, OpenDisk};
use super::open_foreign::{self, ForeignError, OpenForeign};
use super::open_net::OpenNet;
use super::open_vsock::{FoundVsock, VsockError};
use crate::config::{Net, VmConfig};
use casemate_device_net::TapError;
use casemate_policy::{DeviceFact, Facts, Key};
use std::os::fd::OwnedFd;

/// Devices in the order of the guest's bus.
#[derive(Debug)]
pub(super) struct OpenDevices {
    pub(super) disks: Vec<OpenDisk>,
    pub(super) foreign: Vec<OpenForeign>,
    pub(super) vsock: Option<FoundVsock>,
    pub(super) nets: Vec<Net>,
    pub(super) lone: Vec<Lone>,
}

/// A device that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum DevicesError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    #[error(transparent)]
    Vsock(#[from] VsockError),
    #[error(transparent)]
    Net(#[from] TapError),
}

impl OpenDevices {
    /// Opens and locks every image, and looks every foreign back end up, and where a socket
    /// device's sockets are to be; `sockets` are for foreign back ends. What would be made, sockets
    /// and TAPs, is made when the policy has admitted the VM.
    ///
    /// # Errors
    /// [`DevicesError`] for the first that cannot be used.
    pub(super) fn open(config: &VmConfig, sockets: Vec<OwnedFd>) -> Result<Self, DevicesError> {
        let launched = config.snp.as_ref().map(|snp| &snp.host_data);
        let disks = open_disk::open(&config.disks, launched)?;
        let foreign = open_foreign::look_up(&config.foreign, sockets)?;
        let vsock = config.vsock.as_ref().map(FoundVsock::look).transpose()?;
        let nets = config.nets.clone();
        Ok(Self { disks, foreign, vsock, lone: Lone::of(config), nets })
    }

    fn each(&self) -> Vec<DeviceFact<'_>> {
        let disks = self.disks.iter().map(OpenDisk::fact);
        let foreign = self.foreign.iter().map(OpenForeign::fact);
        let vsock = self.vsock.iter().map(|_| FoundVsock::fact());
        let lone = self.lone.iter().map(|lone| lone.fact());
        let nets = self.nets.iter().map(|_| OpenNet::fact());
        disks.chain(foreign).chain(vsock).chain(lone).chain(nets).collect()
    }

    /// What the policy is told of each.
    pub(super) fn facts(&self) -> Facts {
        Facts::new().devices(&self.each())
    }

    /// What they cost the host, added to `facts`. The size of a disk that others serve is only what
    /// they say once the guest has it: nobody knows it now, so there is no fact of sizes then, and
    /// every rule but `any` denies.
    pub(super) fn costs(&self, facts: Facts) -> Facts {
        let queues = self.each().iter().map(|device| device.queues).sum();
        let facts = facts.number(Key::ResourcesQueues, queues);
        if self.foreign.iter().any(OpenForeign::is_disk) {
            return facts;
        }
        let sizes: Vec<u64> = self.disks.iter().map(OpenDisk::mib).collect();
        let total = sizes.iter().fold(0, |total: u64, mib| total.saturating_add(*mib));
        facts.numbers(Key::ResourcesDisk, sizes).number(Key::ResourcesDiskTotal, total)
    }
}
