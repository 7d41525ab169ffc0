//! What a running VM tells whoever started it.

use super::{End, Loss};
use crate::exits::Note;
use crate::vm::decision::LogRepair;
use crate::vm::kind::ProcessKind;
use casemate_device_process::{Limits, Rate};
use casemate_foreign_text::value;
use casemate_layout::ports::mark;
use casemate_sandbox::Report;
use std::fmt;
use std::time::Instant;

/// Something that happened, and when the supervisor learned of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When. The vmm process of a plain VM has no clock: the supervisor's is the one that counts.
    pub at: Instant,
    /// What.
    pub what: Happened,
}

/// What can happen to a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// A step of the start is done: a fact.
    Reached(Step),
    /// The decision log ended in the middle of a line, which was removed.
    LogRepaired(LogRepair),
    /// A process is confined; what became of each layer of its lock.
    Confined(ProcessKind, Report),
    /// Every process is confined, so nothing has to be opened or started any more: the moment for
    /// [`super::RunningVm::lock_this_process`].
    AllConfined,
    /// The guest says that it has reached a step of its boot. It can say so at any time.
    GuestSays(GuestMark),
    /// A process refused something that the guest asked for.
    Refused(ProcessKind, Note),
    /// A device has lost a process, and the VM goes on.
    DeviceLost {
        /// The device's name in the configuration.
        device: String,
        /// How.
        why: Loss,
        /// How it goes on.
        then: Then,
    },
    /// A device is served by what was its standby.
    DeviceTakenOver {
        /// The device's name in the configuration.
        device: String,
    },
    /// Somebody changed the limits of a device.
    Limited {
        /// The device's name in the configuration.
        device: String,
        /// What they are now.
        limits: Limits,
    },
    /// Somebody asked for the VM's end by its name (`casemate stop`).
    Asked(Asked),
    /// The VM has ended; no process of it is left. Bytes of its console may still wait.
    Ended(End),
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// That the guest switches itself off.
    PowerOff,
    /// The end, at once.
    End,
}

/// One line, for who looks at a running VM.
impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached(step) => step.fmt(f),
            Self::LogRepaired(LogRepair { path, dropped }) => {
                let path = value(path.display());
                write!(f, "{path}: a torn last line of {dropped} bytes was removed")
            }
            Self::Confined(kind, report) => {
                write!(f, "{kind} process is confined")?;
                for (place, (layer, why)) in report.missing().enumerate() {
                    let before = if place == 0 { ", WITHOUT" } else { "," };
                    write!(f, "{before} {layer} ({})", value(why).at_most(100))?;
                }
                Ok(())
            }
            Self::AllConfined => f.write_str("every process is confined"),
            Self::GuestSays(mark) => write!(f, "the guest says: {mark}"),
            Self::Refused(kind, Note::PageStateRefused { gpa, pages }) => write!(
                f,
                "{kind}: refused the guest's page-state change of {pages} pages at {gpa:#x}"
            ),
            Self::Refused(kind, Note::UnknownHypercall { number }) => {
                write!(f, "{kind}: refused the guest's hypercall {number}")
            }
            Self::DeviceLost { device, why, then } => write!(f, "device {device}: {why}; {then}"),
            Self::DeviceTakenOver { device } => write!(f, "standby of device {device} serves"),
            Self::Limited { device, limits } => {
                let words = |f: &mut fmt::Formatter<'_>, rate: Option<Rate>, of: &str| match rate {
                    None => write!(f, "no limit of {of}"),
                    Some(rate) => {
                        write!(f, "{} {of} a second, {} at once", rate.per_second(), rate.burst())
                    }
                };
                write!(f, "device {device} from now on: ")?;
                words(f, limits.bytes, "bytes")?;
                f.write_str("; ")?;
                words(f, limits.operations, "requests")
            }
            Self::Asked(Asked::PowerOff) => {
                f.write_str("`casemate stop` asked the guest to power off")
            }
            Self::Asked(Asked::End) => f.write_str("`casemate stop --force` ends the VM"),
            Self::Ended(end) => write!(f, "the VM has ended: {}", end.in_short()),
        }
    }
}

/// How a VM goes on of which a device has lost a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Its standby serves the device.
    StandbyGoesOn,
    /// The guest goes on without the device.
    GuestGoesOn,
    /// It was the standby: the device works, and nobody stands by any more.
    NoStandbyLeft,
}

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StandbyGoesOn => "its standby goes on; there is no other",
            Self::GuestGoesOn => "the guest goes on without this device",
            Self::NoStandbyLeft => {
                "that was the standby: the device goes on, and has none any more"
            }
        })
    }
}

/// A step of the start that a host process has seen itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The plan of the launch is made.
    Planned,
    /// The policy of this name admits it.
    Admitted(String),
    /// A process is in its namespaces.
    Born(ProcessKind),
    /// Guest memory is mapped and has its contents.
    Memory,
    /// Every vCPU exists and has its registers.
    Vcpus,
    /// The firmware has launched this many pages.
    Launched {
        /// Pages, VMSAs included.
        pages: u64,
        /// Microseconds for all of them.
        micros: u64,
    },
    /// The vmm process is locked.
    Locked,
    /// The boot vCPU enters the guest.
    FirstInstruction,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Planned => f.write_str("plan"),
            Self::Admitted(policy) => write!(f, "policy: {policy}"),
            Self::Born(kind) => write!(f, "{kind} process"),
            Self::Memory => f.write_str("memory"),
            Self::Vcpus => f.write_str("vCPUs"),
            Self::Launched { pages, micros } => {
                let each = micros.checked_div(*pages).unwrap_or(0);
                write!(f, "launched {pages} pages, {each} µs each")
            }
            Self::Locked => f.write_str("locked"),
            Self::FirstInstruction => f.write_str("first guest instruction"),
        }
    }
}

/// A mark that a guest set. Any code in the guest can set any of them, so the name says which step
/// the mark stands for, never that the step was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestMark(pub u8);

impl fmt::Display for GuestMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            mark::BOOT_CODE => "boot code",
            mark::ACCEPTED => "memory accepted",
            mark::VERIFIED => "kernel and initrd verified",
            mark::KERNEL => "kernel entry",
            mark::INIT => "init",
            mark::WORKLOAD => "workload start",
            other => return write!(f, "mark {other}"),
        })
    }
}
