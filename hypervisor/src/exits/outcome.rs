//! What a handler decides: run on, or stop for a named reason.

use casemate_layout::{Refusal, TERMINATION_SET, Termination};
use casemate_values::Shown;
use std::fmt;

/// The end of handling one exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Enter the guest again.
    Resume,
    /// Stop the whole VM.
    Stop(Stop),
}

/// Why a VM stopped by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The guest switched itself off.
    PowerOff {
        /// Exit status of its workload, if it told one.
        status: Option<u8>,
    },
    /// The guest asked for a reset; a new run is a new VM.
    Reset,
    /// Triple fault, or with SNP a corrupted VMSA.
    Shutdown,
    /// The boot code refused to boot, in plain mode; a termination code of `casemate-layout`.
    BootRefused(u32),
    /// PID 1 refused to start the workload and switched the guest off; a refusal's code of
    /// `casemate-layout`.
    Refused(u8),
    /// The guest ended itself through the GHCB: reason set and code (SNP ABI: set 0 is the GHCB
    /// protocol's).
    Terminated {
        /// Reason code set, 0 to 15.
        set: u8,
        /// Code within the set.
        code: u8,
    },
    /// The guest used its memory in a way that has no answer.
    MemoryFault {
        /// Address of the page that was touched.
        gpa: Shown,
        /// Whether the access was to private memory.
        private: bool,
    },
    /// The guest changed page states, or shared memory, beyond the policy's limits, which say to
    /// end it then.
    PageStateLimit,
    /// KVM could not run the guest's instruction or event.
    InternalError {
        /// KVM's suberror, `KVM_INTERNAL_ERROR_*`.
        suberror: u32,
    },
    /// The processor refused the guest state.
    FailEntry {
        /// The processor's reason, for people.
        reason: u64,
    },
    /// KVM_RUN failed with an errno that a guest can cause.
    RunFailed {
        /// The errno of KVM_RUN.
        errno: i32,
    },
    /// The process of a device cannot be gone on with; nobody knows whether it still uses guest
    /// memory, so the guest does not go on either.
    DeviceFailed {
        /// The device's number, in the order of the configuration.
        device: u8,
        /// What is wrong with it.
        fault: DeviceFault,
    },
    /// An exit that this VM did not enable, or the kernel's reply makes no sense.
    UnexpectedExit {
        /// `exit_reason`, of which this program knows nothing.
        reason: u32,
    },
}

/// What is wrong with a device process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum DeviceFault {
    /// It is gone, or pretends to be.
    Closed = 1,
    /// It did not answer in time.
    Silent = 2,
    /// It does not keep to the protocol.
    Breach = 3,
    /// Its interrupts cannot be routed: KVM refused.
    Routes = 4,
    /// It floods, or speaks unasked.
    Unasked = 5,
}

impl DeviceFault {
    /// Every fault, for whoever reads one from a message.
    pub const ALL: [Self; 5] =
        [Self::Closed, Self::Silent, Self::Breach, Self::Routes, Self::Unasked];
}

impl fmt::Display for DeviceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "it closed its socket",
            Self::Silent => "it hangs: it did not answer in time",
            Self::Breach => "it does not keep to the protocol",
            Self::Routes => "KVM refused the routes of its interrupts",
            Self::Unasked => "it sent what nobody asked for",
        })
    }
}

impl Stop {
    /// Whether the guest ended the way a guest is meant to end: switched off, and its workload did
    /// not fail.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::PowerOff { status: None | Some(0) })
    }
}

impl Stop {
    /// Whether the host failed: KVM, or the process of a device.
    #[must_use]
    pub fn is_hosts_fault(self) -> bool {
        matches!(self, Self::UnexpectedExit { .. } | Self::DeviceFailed { .. })
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOff { status: Some(status @ 1..) } => {
                write!(f, "the guest says that its workload failed with status {status}")
            }
            Self::PowerOff { .. } => write!(f, "the guest switched itself off"),
            Self::Reset => write!(f, "the guest asked for a reset, which ends the VM"),
            Self::Shutdown => write!(f, "the guest triple-faulted"),
            Self::BootRefused(code) => {
                let code = u8::try_from(*code).ok().and_then(Termination::from_code);
                refused(f, code)
            }
            Self::Refused(code) => match Refusal::from_code(*code) {
                Some(why) => write!(f, "the guest says that its PID 1 refused: {why}"),
                None => write!(
                    f,
                    "the guest says that its PID 1 refused, for a reason that this version does not know"
                ),
            },
            Self::Terminated { set: TERMINATION_SET, code } => {
                refused(f, Termination::from_code(*code))
            }
            Self::Terminated { set, code } => {
                write!(f, "the guest terminated itself (GHCB reason set {set}, code {code:#x})")
            }
            Self::MemoryFault { gpa, private } => {
                let kind = if *private { "private" } else { "shared" };
                write!(f, "the guest made a {kind} access to {gpa:#x}, which cannot be served")
            }
            Self::PageStateLimit => {
                write!(
                    f,
                    "the guest went beyond the policy's limits on page states (`runtime.page_state_changes`, `runtime.shared_percent`)"
                )
            }
            Self::InternalError { suberror } => {
                write!(
                    f,
                    "KVM could not go on with the guest (internal error, suberror {suberror})"
                )
            }
            Self::FailEntry { reason } => {
                write!(f, "the processor refused to enter the guest (reason {reason:#x})")
            }
            Self::RunFailed { errno } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                write!(f, "KVM refused to run the guest: {error}")
            }
            Self::DeviceFailed { device, fault } => {
                write!(f, "the process of device {device} failed: {fault}")
            }
            Self::UnexpectedExit { reason } => {
                write!(f, "KVM reported exit reason {reason}, which this VM did not enable")
            }
        }
    }
}

/// Any code of the guest can write what the boot code writes, so it is a claim.
fn refused(f: &mut fmt::Formatter<'_>, why: Option<Termination>) -> fmt::Result {
    match why {
        Some(why) => write!(f, "the guest says that its boot code refused: {why}"),
        None => write!(
            f,
            "the guest says that its boot code refused, for a reason that this version does not know"
        ),
    }
}
