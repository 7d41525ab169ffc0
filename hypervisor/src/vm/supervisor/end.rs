//! How a VM ended.

use super::Loss;
use crate::exits::Stop;
use crate::vm::cgroup::RanOut;
use crate::vm::kind::ProcessKind;
use casemate_policy::NetRule;
use casemate_sandbox::Exit;
use std::time::Duration;

/// How a VM ended. What a guest says of its own end ([`Stop`]) is a claim; everything else was
/// seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Stopped(Stop),
    /// The launch failed, for this reason.
    LaunchFailed(String),
    /// It ran longer than it may.
    TimedOut(Duration),
    /// It switched itself off after someone had asked for that.
    PoweredOffAsAsked,
    /// It was asked to switch itself off and had not done so after this time.
    GraceOver(Duration),
    /// Someone ended it at once.
    Killed,
    /// One of its processes ended without a word.
    ProcessDied {
        /// Which kind.
        kind: ProcessKind,
        /// How; None when that cannot be told.
        how: Option<Exit>,
    },
    /// The kernel has killed one of its processes because memory had run out.
    OutOfMemory {
        /// Which kind.
        kind: ProcessKind,
        /// Whose memory.
        ran_out: RanOut,
    },
    /// A device process that nobody stands by for could not go on, and said why.
    DeviceFailed {
        /// Which kind.
        kind: ProcessKind,
        /// Its words, escaped and bounded.
        reason: String,
    },
    /// A device has no process any more, and its guest is not to go on without it.
    DeviceLost {
        /// Its name in the configuration.
        device: String,
        /// How it lost its process.
        why: Loss,
    },
    /// Its guest broke a rule of its policy, which says to end it for that.
    DeniedByPolicy {
        /// The rule.
        rule: NetRule,
    },
    /// What has to be logged of it could not be.
    NotLogged {
        /// Why.
        why: String,
        /// How it ended otherwise; None when it was ended for this.
        end: Option<Box<Self>>,
    },
    /// One of its processes said something that makes no sense.
    ProcessLied {
        /// Which kind.
        kind: ProcessKind,
        /// What is wrong with it.
        what: String,
    },
}

impl End {
    /// Why, in a few words; what foreign words are in it is escaped by who prints it.
    pub(super) fn in_short(&self) -> String {
        match self {
            Self::Stopped(stop) => stop.to_string(),
            Self::LaunchFailed(reason) => reason.clone(),
            Self::TimedOut(after) => format!("it ran longer than {after:?}"),
            Self::PoweredOffAsAsked => "the guest switched itself off as asked".into(),
            Self::GraceOver(after) => format!("the guest did not switch itself off in {after:?}"),
            Self::Killed => "it was ended at once".into(),
            Self::ProcessDied { kind, how: None } => format!("the {kind} process ended"),
            Self::ProcessDied { kind, how: Some(how) } => format!("the {kind} process: {how}"),
            Self::OutOfMemory { kind, ran_out } => format!("the {kind} process: {ran_out}"),
            Self::DeviceFailed { kind, reason } => format!("the {kind} process: {reason}"),
            Self::DeviceLost { device, why } => format!("device {device}: {why}"),
            Self::DeniedByPolicy { rule } => {
                format!("the guest went beyond the policy's `{}`", rule.path())
            }
            Self::NotLogged { why, .. } => format!("it could not be logged: {why}"),
            Self::ProcessLied { kind, what } => format!("the {kind} process: {what}"),
        }
    }
}
