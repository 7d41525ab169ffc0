//! The kinds of confined processes that a VM consists of.

use super::profile;
use casemate_device_process::{DeviceKind, GROUP_JANITOR, JANITOR};
use casemate_policy_log::WAIT as LOG_WAIT;
use casemate_sandbox::Profile;
use std::time::Duration;

/// A kind of process: its name, its profile, how it ends. A new kind is a variant here; every match
/// over kinds, the tests of the lock included, then asks for what it needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProcessKind {
    /// Starts the others, watches them and outlives them.
    Supervisor,
    /// Runs the vCPUs of a plain VM.
    Vmm,
    /// Runs the vCPUs of a confidential VM, which changes the states of its pages.
    VmmConfidential,
    /// A disk.
    Block,
    /// Goes on with a disk when the process that serves it is gone. Until then it has all that the
    /// other has, and uses nothing of it.
    BlockStandby,
    /// A console beside the serial one.
    Console,
    /// Random numbers of the host.
    Rng,
    /// Streams between the guest and sockets of the host.
    Vsock,
    /// A network interface.
    Net,
    /// Connects to sockets of the host for the guest.
    Connector,
    /// Removes what the VM has in the file system when it is over.
    Janitor,
    /// Removes the VM's control groups when it is over.
    GroupJanitor,
    /// Has the decision log and its key.
    Recorder,
}

impl ProcessKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Supervisor,
        Self::Vmm,
        Self::VmmConfidential,
        Self::Recorder,
        Self::Block,
        Self::BlockStandby,
        Self::Console,
        Self::Rng,
        Self::Vsock,
        Self::Net,
        Self::Connector,
        Self::Janitor,
        Self::GroupJanitor,
    ];

    /// The name that users and the answer to `casemate sandbox show` use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Vmm => "vmm",
            Self::VmmConfidential => "vmm-confidential",
            Self::Block => DeviceKind::Block.name(),
            Self::BlockStandby => "block-standby",
            Self::Console => DeviceKind::Console.name(),
            Self::Rng => DeviceKind::Rng.name(),
            Self::Vsock => DeviceKind::Vsock.name(),
            Self::Net => DeviceKind::Net.name(),
            Self::Connector => "connector",
            Self::Janitor => "janitor",
            Self::GroupJanitor => "group-janitor",
            Self::Recorder => "recorder",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What a process of this kind may do once it is locked.
    #[must_use]
    pub const fn profile(self) -> &'static Profile {
        match self {
            Self::Supervisor => &profile::SUPERVISOR,
            Self::Vmm => &profile::VMM,
            Self::VmmConfidential => &profile::VMM_SNP,
            Self::Block | Self::BlockStandby => DeviceKind::Block.description().steady,
            Self::Console => DeviceKind::Console.description().steady,
            Self::Rng => DeviceKind::Rng.description().steady,
            Self::Vsock => DeviceKind::Vsock.description().steady,
            Self::Net => DeviceKind::Net.description().steady,
            Self::Connector => &casemate_device_vsock::profile::CONNECT,
            Self::Janitor => &JANITOR,
            Self::GroupJanitor => &GROUP_JANITOR,
            Self::Recorder => &profile::RECORDER,
        }
    }

    /// How long a child may live on when the VM has ended, to finish what it has begun. A vmm
    /// process has sent every byte of the console before it tells of the end, so nothing is left to
    /// it. What a disk has not acknowledged by then, its guest has not waited for. A recorder may
    /// have to wait for others that write the same log. A janitor has its work before it then.
    #[must_use]
    pub const fn grace(self) -> Duration {
        match self {
            Self::Supervisor | Self::Vmm | Self::VmmConfidential => Duration::ZERO,
            Self::Block | Self::BlockStandby => Duration::ZERO,
            Self::Console | Self::Rng | Self::Vsock | Self::Net => Duration::ZERO,
            Self::Connector => Duration::ZERO,
            Self::Janitor | Self::GroupJanitor => Duration::from_secs(5),
            Self::Recorder => LOG_WAIT.saturating_add(Duration::from_secs(2)),
        }
    }

    /// Whether it is a device: its front end is the vmm process.
    #[must_use]
    pub const fn is_device(self) -> bool {
        matches!(
            self,
            Self::Block | Self::BlockStandby | Self::Console | Self::Rng | Self::Vsock | Self::Net
        )
    }

    /// Whether it is there for what the others leave.
    pub(in crate::vm) const fn is_janitor(self) -> bool {
        matches!(self, Self::Janitor | Self::GroupJanitor)
    }

    /// Whether it runs vCPUs: it has the power button, and its last words tell how the VM ended.
    pub(in crate::vm) const fn runs_vcpus(self) -> bool {
        matches!(self, Self::Vmm | Self::VmmConfidential)
    }
}

impl std::fmt::Display for ProcessKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::ProcessKind;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_a_profile_that_lets_it_end() {
        for kind in ProcessKind::ALL {
            assert_eq!(ProcessKind::from_name(kind.name()), Some(kind));
            assert!(kind.profile().syscalls().contains(&"exit_group"), "{kind}");
        }
    }
}
