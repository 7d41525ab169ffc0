//! What is behind a VM's devices, open before anything is decided about it.

use super::open_disk::OpenDisk;
use super::open_vsock::OpenVsock;
use casemate_policy::DeviceFact;

/// All of them.
#[derive(Debug)]
pub(super) struct Devices {
    pub(super) disks: Vec<OpenDisk>,
    pub(super) vsock: Option<OpenVsock>,
}

impl Devices {
    /// What the policy is told of them.
    pub(super) fn facts(&self) -> Vec<DeviceFact<'_>> {
        let disks = self.disks.iter().map(OpenDisk::fact);
        disks.chain(self.vsock.iter().map(|_| OpenVsock::fact())).collect()
    }
}
