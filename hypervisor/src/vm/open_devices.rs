//! What is behind a VM's devices, open before anything is decided about it.

use super::error::VmError;
use super::open_disk::{self, OpenDisk};
use super::open_vsock::OpenVsock;
use crate::config::VmConfig;
use casemate_policy::DeviceFact;

/// All of them.
#[derive(Debug)]
pub(super) struct Devices {
    pub(super) disks: Vec<OpenDisk>,
    pub(super) vsock: Option<OpenVsock>,
}

impl Devices {
    /// Opens what the configuration names.
    ///
    /// # Errors
    /// [`VmError`] for the first that cannot be had.
    pub(super) fn open(config: &VmConfig) -> Result<Self, VmError> {
        let disks = open_disk::open(&config.disks)?;
        let vsock = config.vsock.as_ref().map(OpenVsock::open).transpose()?;
        Ok(Self { disks, vsock })
    }

    /// What the policy is told of them.
    pub(super) fn facts(&self) -> Vec<DeviceFact<'_>> {
        let disks = self.disks.iter().map(OpenDisk::fact);
        disks.chain(self.vsock.iter().map(|_| OpenVsock::fact())).collect()
    }
}
