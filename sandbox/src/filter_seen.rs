//! The filters of a process, read back by ptrace (PTRACE_SECCOMP_GET_FILTER, which needs
//! CAP_SYS_ADMIN and CONFIG_CHECKPOINT_RESTORE). The process stops for some microseconds.

use super::trace;
use seccompiler::{BpfProgram, sock_filter};
#[cfg(feature = "serde")]
use serde::{Serialize, Serializer};
use std::fmt;

/// A filter as the kernel holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Filter(BpfProgram);

impl Filter {
    pub(super) const fn new(program: BpfProgram) -> Self {
        Self(program)
    }

    /// Its instructions, as the kernel runs them.
    #[must_use]
    pub fn instructions(&self) -> &[sock_filter] {
        &self.0
    }

    /// Whether it is exactly this program.
    #[must_use]
    pub fn is(&self, program: &[sock_filter]) -> bool {
        self.0 == program
    }

    /// The actions that it can return, in words.
    #[must_use]
    pub fn actions(&self) -> Vec<&'static str> {
        // BPF_RET | BPF_K; the upper half of the constant is the action, `linux/seccomp.h`.
        const RETURN: u16 = 0x06;
        let returns = self.0.iter().filter(|instruction| instruction.code == RETURN);
        let mut actions: Vec<_> = returns
            .map(|instruction| match instruction.k & 0xffff_0000 {
                libc::SECCOMP_RET_KILL_PROCESS => "kill process",
                libc::SECCOMP_RET_KILL_THREAD => "kill thread",
                libc::SECCOMP_RET_TRAP => "trap",
                libc::SECCOMP_RET_ERRNO => "errno",
                libc::SECCOMP_RET_USER_NOTIF => "notify",
                libc::SECCOMP_RET_TRACE => "trace",
                libc::SECCOMP_RET_LOG => "log",
                libc::SECCOMP_RET_ALLOW => "allow",
                _ => "unknown",
            })
            .collect();
        actions.sort_unstable();
        actions.dedup();
        actions
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({self})")
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} instructions: {}", self.0.len(), self.actions().join(", "))
    }
}

#[cfg(feature = "serde")]
impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape<'a> {
            instructions: usize,
            actions: Vec<&'static str>,
            program: Vec<(u16, u8, u8, u32)>,
            #[serde(skip)]
            _filter: &'a Filter,
        }
        let program = self.0.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect();
        let (instructions, actions) = (self.0.len(), self.actions());
        Shape { instructions, actions, program, _filter: self }.serialize(serializer)
    }
}

/// The `count` filters of a process, newest first; None when they cannot be read.
pub(super) fn filters(pid: u32, count: u32) -> Option<Vec<Filter>> {
    if count == 0 {
        return Some(Vec::new());
    }
    let tracee = trace::Tracee::stop(pid).ok()?;
    (0..count).map(|index| tracee.filter(index).ok().map(Filter::new)).collect()
}
