//! Why a VM could not be built.

use crate::bus::BusError;
use crate::kvm::{KvmError, SnpError};
use crate::launch::cpuid_page::TooManyLeaves;
use crate::memory::RamError;
use crate::vhost_user::BackEndError;
use casemate_device_transport::IdentityError;
use std::io;

/// Why a VM could not be built.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// KVM refused something.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// Guest RAM could not be made.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// Two devices want the same addresses.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// An SNP launch failed.
    #[error(transparent)]
    Snp(#[from] SnpError),
    /// The plan is for a VM of another shape.
    #[error("the launch plan is for another VM than the one that was set up")]
    OtherShape,
    /// A confidential VM without /dev/sev.
    #[error("/dev/sev was not opened")]
    NoDevSev,
    /// The CPUID page is too small.
    #[error(transparent)]
    Cpuid(#[from] TooManyLeaves),
    /// An eventfd could not be made.
    #[error("cannot make an eventfd: {0}")]
    Event(#[source] io::Error),
    /// The process of a device cannot be talked to.
    #[error("the process of device {number}: {source}")]
    Device {
        /// Its number, in the order of the configuration.
        number: u8,
        /// Why.
        #[source]
        source: BackEndError,
    },
    /// A standby that is another device than the process that it stands by.
    #[error("the standby of device {number} does not offer what the device does")]
    Standby {
        /// Its number, in the order of the configuration.
        number: u8,
    },
    /// The program of others behind a device cannot be talked to.
    #[error(
        "`vhost_user` (device {number}, disks counted first): {source}; is a back end of its `kind` \
         behind its `socket`, and used by nobody else?"
    )]
    Foreign {
        /// Its number, in the order of the configuration, disks first.
        number: u8,
        /// Why.
        #[source]
        source: BackEndError,
    },
    /// A device that cannot be shown to a guest.
    #[error("device {number}: {source}")]
    Identity {
        /// Its number, in the order of the configuration.
        number: u8,
        /// Why.
        #[source]
        source: IdentityError,
    },
    /// The thread that talks to devices could not be started.
    #[error("cannot start the thread of the devices: {0}")]
    DeviceThread(#[source] io::Error),
    /// A thread could not be started.
    #[error("cannot start the thread of vCPU {id}: {source}")]
    Thread {
        /// The vCPU.
        id: u32,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}
