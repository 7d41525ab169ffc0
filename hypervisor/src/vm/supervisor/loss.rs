//! How a device lost its process, and whether another process may go on with it.

use super::heartbeat::Hang;
use crate::exits::DeviceFault;
use crate::vm::cgroup::RanOut;
use casemate_sandbox::Exit;
use std::fmt;

/// How a device lost its process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// It ended without a word; None when it cannot be told how.
    Died(Option<Exit>),
    /// The kernel has killed it because memory had run out.
    OutOfMemory(RanOut),
    /// It touched memory that its guest had taken back.
    MemoryTakenBack,
    /// It hung, and was killed.
    Hung(Hang),
    /// It was of no use to the vmm process, and was killed.
    Faulty(DeviceFault),
    /// It said what makes no sense, or what nobody had asked for, and was killed.
    Lied(String),
    /// It ended of itself, and said why: its words, escaped and bounded.
    Said(String),
    /// It was killed and did not end: the kernel holds it, most likely in its storage.
    Unkillable,
}

/// Signals that a process gets for what it does itself. One of them says that its program is wrong,
/// or is somebody else's by now, and the same would become of another process over the same rings.
const ITS_OWN: [i32; 9] = [
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGSYS,
];

impl Loss {
    /// The loss of a process that ended by itself.
    pub(super) const fn of(exit: Option<Exit>) -> Self {
        match exit {
            // A device loads and stores through no other pointer that could be to a hole.
            Some(Exit::Signal(libc::SIGBUS)) => Self::MemoryTakenBack,
            exit => Self::Died(exit),
        }
    }

    /// The loss of a process that is dead, and that was to end before for the reason in `before`;
    /// with it, whether it was killed for it.
    ///
    /// A process that did not answer, or closed a socket, may have been dying meanwhile, by its
    /// filter or by a fault of its own: then how it ended counts, where that is not the kill that
    /// it got. What it said before it died counts whatever became of it.
    pub(super) fn at_the_end(before: Option<(Self, bool)>, exit: Option<Exit>) -> Self {
        let by_the_kill = exit == Some(Exit::Signal(libc::SIGKILL));
        match before {
            None => Self::of(exit),
            Some((why, killed)) if why.is_how_it_seemed() && !(killed && by_the_kill) => {
                Self::of(exit)
            }
            Some((why, _)) => why,
        }
    }

    /// Whether it is only what was seen of a process from outside: its death tells more.
    pub(super) const fn is_how_it_seemed(&self) -> bool {
        matches!(self, Self::Hung(_) | Self::Faulty(DeviceFault::Silent | DeviceFault::Closed))
    }

    /// Whether another process may go on: only where nothing says that it would end the same way,
    /// or that an attacker has the first one. So after a kill from outside, and a hang; not after a
    /// death by the process's own doing, its filter included, nor after a breach of a protocol.
    pub(super) fn may_be_taken_over(&self) -> bool {
        match self {
            Self::Died(Some(Exit::Signal(signal))) => !ITS_OWN.contains(signal),
            Self::Hung(_) | Self::Faulty(DeviceFault::Silent) => true,
            Self::Died(_)
            | Self::OutOfMemory(_)
            | Self::MemoryTakenBack
            | Self::Faulty(_)
            | Self::Lied(_)
            | Self::Said(_)
            | Self::Unkillable => false,
        }
    }

    /// Whether its guest is at fault, not the host.
    #[must_use]
    pub const fn is_guests_fault(&self) -> bool {
        matches!(self, Self::MemoryTakenBack)
    }
}

/// One sentence about the device's process.
impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Died(Some(Exit::Signal(libc::SIGKILL))) => f.write_str(
                "its process was killed from outside (signal 9): by somebody, or because memory ran out, of the \
                 host or of this program's cgroup (`dmesg` says so)",
            ),
            // The kernel tells a parent of the signal only; the call it writes into its own log.
            Self::Died(Some(exit @ Exit::Filter)) => write!(
                f,
                "its process was {exit}; the kernel's log names the call, where it keeps one (`dmesg`: type=1326, \
                 syscall=)"
            ),
            Self::Died(Some(exit)) => write!(f, "its process ended without a word: {exit}"),
            Self::OutOfMemory(ran_out) => {
                write!(f, "its process was killed by the kernel: {ran_out}")
            }
            Self::Died(None) => f.write_str("its process ended, nobody can tell how"),
            Self::MemoryTakenBack => {
                f.write_str("the guest took back memory that its device was using (SIGBUS)")
            }
            Self::Hung(how) => write!(f, "its process hung and was killed: {how}"),
            Self::Faulty(fault) => write!(f, "its process was killed: {fault}"),
            Self::Lied(what) => write!(f, "its process was killed: {what}"),
            Self::Said(why) => write!(f, "its process ended: {why}"),
            Self::Unkillable => f.write_str(
                "its process was killed and does not end: the kernel still works for it, so nobody may take over",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, Hang, Loss, RanOut};
    use crate::exits::DeviceFault;

    /// Protects the host from a fresh process for an attacker whose first one its filter has killed
    /// while it seemed to hang; and a guest whose disk was killed from outside, which goes on.
    #[test]
    fn how_a_process_died_counts_before_how_it_seemed_and_not_before_what_it_said() {
        let killed = Some(Exit::Signal(libc::SIGKILL));
        let closed = Loss::Faulty(DeviceFault::Closed);
        let silent = Loss::Faulty(DeviceFault::Silent);
        let hung = Loss::Hung(Hang::Silent);
        for why in [&hung, &silent, &closed] {
            let how = [Some(Exit::Filter), Some(Exit::Signal(libc::SIGSEGV)), Some(Exit::Code(1))];
            for exit in how {
                let loss = Loss::at_the_end(Some((why.clone(), true)), exit);
                assert_eq!(loss, Loss::Died(exit));
                assert!(!loss.may_be_taken_over());
            }
            // Its own end, before anybody had killed it: from outside.
            assert_eq!(Loss::at_the_end(Some((why.clone(), false)), killed), Loss::Died(killed));
            assert_eq!(Loss::at_the_end(Some((why.clone(), true)), killed), *why);
        }
        for why in [Loss::Lied("nonsense".into()), Loss::Faulty(DeviceFault::Breach)] {
            for exit in [Some(Exit::Filter), killed, None] {
                assert_eq!(Loss::at_the_end(Some((why.clone(), true)), exit), why);
            }
        }
        assert_eq!(Loss::at_the_end(None, killed), Loss::Died(killed));
    }

    /// Protects the host and the other devices: a process that may be an attacker's is not replaced
    /// by a fresh one for the same attack.
    #[test]
    fn only_a_kill_from_outside_and_a_hang_are_taken_over() {
        let signal = |signal| Loss::of(Some(Exit::Signal(signal)));
        for loss in [
            signal(libc::SIGKILL),
            signal(libc::SIGTERM),
            Loss::Hung(Hang::Silent),
            Loss::Hung(Hang::Stuck),
            Loss::Faulty(DeviceFault::Silent),
        ] {
            assert!(loss.may_be_taken_over(), "{loss}");
        }
        for loss in [
            Loss::of(Some(Exit::Filter)),
            signal(libc::SIGBUS),
            signal(libc::SIGSEGV),
            signal(libc::SIGILL),
            signal(libc::SIGABRT),
            signal(libc::SIGXFSZ),
            Loss::of(Some(Exit::Code(0))),
            Loss::of(Some(Exit::Code(101))),
            Loss::of(None),
            Loss::Faulty(DeviceFault::Closed),
            Loss::Faulty(DeviceFault::Breach),
            Loss::Faulty(DeviceFault::Unasked),
            Loss::Lied("nonsense".into()),
            Loss::Said("its words".into()),
            Loss::Unkillable,
            Loss::OutOfMemory(RanOut::Above),
        ] {
            assert!(!loss.may_be_taken_over(), "{loss}");
        }
        assert!(signal(libc::SIGBUS).is_guests_fault());
    }
}
