//! Why a VM was not started, and whose fault it is.

use super::cgroup::CgroupError;
use super::decision::DecisionError;
use super::name::NameError;
use super::open::OpenError;
use super::open_devices::DevicesError;
use super::open_disk::DiskError;
use super::open_foreign::ForeignError;
use super::open_vsock::VsockError;
use crate::config::ConfigError;
use crate::kvm::KvmError;
use crate::launch::LaunchError;
use casemate_device_net::TapError;
use casemate_sandbox::SandboxError;
use rustix::io::Errno;

/// Why a VM was not started.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The policy does not admit it, or cannot be asked.
    #[error(transparent)]
    Decision(#[from] DecisionError),
    /// The configuration asks for something impossible.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No plan can be made.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Something cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The image of a disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A back end of another project cannot be had.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// The sockets of the socket device cannot be had.
    #[error(transparent)]
    Vsock(#[from] VsockError),
    /// The TAP of a network device cannot be had.
    #[error("`net`: {0}")]
    Net(#[source] TapError),
    /// They cannot be given to its process.
    #[error("a socket of the socket device: {0}")]
    Listen(#[source] std::io::Error),
    /// The control groups cannot be had.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The name cannot be had.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A process cannot be confined.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The protection asked for cannot be had here.
    #[error("`protection` is \"sev-snp\", which this host cannot give: {0}; see `casemate host`")]
    Protection(String),
    /// The policy does not let a confidential guest share what its devices need.
    #[error(
        "`memory` is {memory}M, of which a confidential guest shares {pool}M with its devices: more \
         than the {percent} percent that the policy admits (`runtime.shared_percent`); {remedy}"
    )]
    BouncePool {
        /// MiB of RAM.
        memory: u64,
        /// MiB of the pool.
        pool: u64,
        /// The policy's.
        percent: u64,
        /// What to do.
        remedy: String,
    },
    /// Another launch than the expected one.
    #[error(
        "the launch digest will be {found}, not the expected {expected}: compare `casemate measure --explain` of both"
    )]
    Digest {
        /// Expected.
        expected: String,
        /// Computed.
        found: String,
    },
    /// An ID block for another launch.
    #[error(
        "`snp.id_block` is for the launch digest {block}, this launch has {launch}: make it with `casemate measure`"
    )]
    IdBlock {
        /// The block's.
        block: String,
        /// The launch's.
        launch: String,
    },
    /// A KVM call.
    #[error(transparent)]
    Kvm(KvmError),
    /// Sockets or signals.
    #[error("cannot prepare the VM's processes: {0}")]
    System(#[source] std::io::Error),
}

impl VmError {
    /// Whether the user's input is at fault, not the host.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Decision(DecisionError::Log(e)) => e.is_bad_input(),
            Self::Decision(DecisionError::Policy(_))
            | Self::Config(_)
            | Self::Launch(_)
            | Self::Disk(_)
            | Self::BouncePool { .. }
            | Self::Vsock(_)
            | Self::Net(_)
            | Self::Digest { .. }
            | Self::IdBlock { .. }
            | Self::Name(NameError::InUse(_) | NameError::Mute(_)) => true,
            Self::Open(e) => e.is_bad_input(),
            Self::Foreign(e) => e.is_bad_input(),
            Self::Cgroup(e) => e.is_bad_input(),
            _ => false,
        }
    }
}

impl From<DevicesError> for VmError {
    fn from(error: DevicesError) -> Self {
        match error {
            DevicesError::Disk(error) => Self::Disk(error),
            DevicesError::Foreign(error) => Self::Foreign(error),
            DevicesError::Vsock(error) => Self::Vsock(error),
            DevicesError::Net(error) => Self::Net(error),
        }
    }
}

impl From<Errno> for VmError {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}
