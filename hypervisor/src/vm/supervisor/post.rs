//! What a device process is for, and that it is to end.

use super::Loss;
use crate::config::OnDeviceDeath;
use std::time::{Duration, Instant};

/// How long a process that closed a socket, or said that it ends, may take to end: the kernel
/// closes descriptors before it tells of the end of a process. Long, since a process of ours has no
/// call to close one: it is dying, which takes seconds on a machine that has too much to do, and
/// killed sooner it would not be known to have died by itself.
const ENDS: Duration = Duration::from_secs(30);
/// How long a killed process may take: what the kernel does for it then is to end the system call
/// that it is in. Where that is one of its storage, see [`Condemned::when_overdue`].
const DIES: Duration = Duration::from_secs(10);

/// What a device process is for.
#[derive(Debug, Clone)]
pub struct Post {
    /// Its device's number, in the order of the configuration.
    pub device: u8,
    /// Its device's name.
    pub name: String,
    /// What becomes of the VM when the device has no process any more.
    pub on_death: OnDeviceDeath,
    /// Whether its process may say that the policy ends the guest: a network device's under a
    /// policy that says so.
    pub may_end: bool,
}

/// A process that is to end, and is waited for.
#[derive(Debug)]
pub(super) struct Condemned {
    pub(super) why: Loss,
    /// Whether it was killed; before, it is given a moment to end of itself, since how it ends says
    /// more.
    pub(super) killed: bool,
    /// When it must have ended.
    pub(super) until: Instant,
}

/// What becomes of a process that was to have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It is killed.
    Kill,
    /// It is waited for on.
    WaitOn,
    /// It is given up, and its device with it.
    GiveUp,
}

impl Condemned {
    pub(super) fn new(why: Loss, killed: bool, now: Instant) -> Self {
        let until = now.checked_add(if killed { DIES } else { ENDS }).unwrap_or(now);
        Self { why, killed, until }
    }

    /// What becomes of it now that it has not ended in time; `stores` says whether a thread of it
    /// was in its storage when it was seen last.
    ///
    /// A killed process lasts as long as the system call that it is in, and slow storage is no
    /// reason to end a VM: had nobody killed the process, its guest would wait for the same
    /// request. So it is waited for as long as that takes. What is in no storage and does not die
    /// the kernel holds for a reason that nobody here knows.
    pub(super) fn when_overdue(&mut self, stores: bool, now: Instant) -> Overdue {
        let (wait, overdue) = match (self.killed, stores) {
            (false, _) => (true, Overdue::Kill),
            (true, true) => (true, Overdue::WaitOn),
            (true, false) => (false, Overdue::GiveUp),
        };
        if wait {
            self.killed = true;
            self.until = now.checked_add(DIES).unwrap_or(now);
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::{Condemned, DIES, ENDS, Overdue};
    use crate::vm::supervisor::{Hang, Loss};
    use std::time::Instant;

    /// Protects a guest whose disk's process is killed while its storage is slow: it waits as it
    /// would have without the kill, however long that takes. Cannot tell when the kernel lets a
    /// process go: there is none here.
    #[test]
    fn a_killed_process_that_was_in_its_storage_is_waited_for_and_no_other() {
        let mut now = Instant::now();
        let mut stores = Condemned::new(Loss::Hung(Hang::Silent), true, now);
        for _ in 0..1000 {
            assert_eq!(stores.until, now + DIES);
            now = stores.until;
            assert_eq!(stores.when_overdue(true, now), Overdue::WaitOn);
        }
        let mut other = Condemned::new(Loss::Said("its words".into()), false, now);
        assert_eq!(other.until, now + ENDS);
        assert_eq!(other.when_overdue(false, now), Overdue::Kill);
        assert!(other.killed && other.until == now + DIES);
        assert_eq!(other.when_overdue(false, now), Overdue::GiveUp);
    }
}
