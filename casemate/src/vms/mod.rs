//! Running VMs of this user: which there are, what each is, its end, what happened to it, the
//! limits of its disks.
//!
//! Each command asks the supervisor that holds the VM's name; the kernel says of both sides who
//! they are. What comes back is of a process of the same user, and is printed as foreign text.

mod group;
mod inspect;
mod limit;
mod logs;
mod ps;
mod stop;

pub(super) use inspect::{InspectArgs, run as inspect};
pub(super) use limit::{LimitArgs, run as limit};
pub(super) use logs::{LogsArgs, run as logs};
pub(super) use ps::{PsArgs, run as ps};
pub(super) use stop::{StopArgs, run as stop};

use crate::Failure;
use crate::out::outln;
use casemate_hypervisor::vm::manage::{Facts, ManageError, Session};
use casemate_hypervisor::vm::name::NameError;
use std::time::Duration;

/// Reaches the VM of this name.
fn session(name: &str) -> Result<Session, Failure> {
    Session::open(name).map_err(failure)
}

/// What a running VM is, as its supervisor says.
pub(crate) fn facts(name: &str) -> Result<Facts, Failure> {
    session(name)?.facts().map_err(failure)
}

/// A name that no VM has is bad input.
#[allow(clippy::needless_pass_by_value, reason = "it is what an error is made into")]
fn failure(error: ManageError) -> Failure {
    match error {
        ManageError::Name(NameError::NotFound(_)) => Failure::BadInput(error.to_string()),
        _ => Failure::Failed(error.to_string()),
    }
}

/// A time as people say it: `5s`, `3m 20s`, `2h 5m`, `4d 3h`.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// A line of what is known.
fn told(what: &str, it: impl std::fmt::Display) {
    outln!("{what:14} {it}");
}

#[cfg(test)]
mod tests {
    use super::in_words;
    use std::time::Duration;

    #[test]
    fn a_time_has_its_two_greatest_units() {
        for (seconds, words) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3599, "59m 59s"),
            (3600, "1h 0m"),
            (86399, "23h 59m"),
            (90061, "1d 1h"),
            (8_640_000, "100d 0h"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
