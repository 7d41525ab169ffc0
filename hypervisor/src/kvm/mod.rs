//! The only code that talks to /dev/kvm (and /dev/sev): every ioctl, every kernel structure.
//!
//! kvm-ioctls makes the calls it has; KVM_RUN and its reply are ours, because the translation of
//! `kvm_run` must be total (see [`crate::exits::Exit`]).
//!
//! UNSAFETY: this module exists to call into the kernel with addresses and file descriptors.
#![allow(unsafe_code, reason = "this module exists to make ioctls")]

mod cpuid;
mod firmware;
mod kernel_sides;
mod platform;
mod private_memory;
mod regs;
mod routing;
mod snp;
mod supported;
mod vcpu;
mod vm;

pub use firmware::{FirmwareError, LaunchPhase};
pub use kernel_sides::KernelSides;
pub use platform::{SnpPlatform, snp_platform};
pub use private_memory::PrivateMemory;
pub use routing::{FIRST_DEVICE_GSI, Routing, SET_GSI_ROUTING};
pub use snp::{SnpError, SnpVm};
pub use supported::SupportedCpuid;
pub use vcpu::{KVM_RUN, Vcpu};
pub use vm::{Vm, VmKind, has_certificate_exits, offers_snp};

/// Why KVM could not do what was asked: the call, what it was for, and the kernel's reason.
#[derive(Debug, thiserror::Error)]
#[error("{call} failed ({what}): {source}")]
pub struct KvmError {
    /// The ioctl or file.
    pub call: &'static str,
    /// What the call was made on, or with.
    pub what: String,
    /// What the kernel said.
    #[source]
    pub source: std::io::Error,
}

impl KvmError {
    fn new(call: &'static str, what: impl Into<String>, errno: kvm_ioctls::Error) -> Self {
        let source = std::io::Error::from_raw_os_error(errno.errno());
        Self { call, what: what.into(), source }
    }
}
