//! Least privilege, measured: which rules of which profile a process used.
//!
//! An observer traces a process that runs under its real filter, and records every system call it
//! makes. A profile that allows a call nobody makes can then be told. For tests: it slows the
//! process down and needs root.

use super::profile::{FdTable, Profile};
use super::syscalls::name_of;
use super::trace::{self, SYSCALL_ENTRY};
use super::{Child, SandboxError};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A call with its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// The number of the system call.
    pub number: i64,
    /// Its six arguments, as registers had them.
    pub args: [u64; 6],
}

/// Distinct calls that are kept at most: arguments that vary endlessly must not fill memory.
const MAX_CALLS: usize = 100_000;

/// The system calls that a process made, by phase: before its first filter, under one filter, under
/// two, ...
#[derive(Debug, Clone, Default)]
pub struct Observed(Vec<BTreeSet<Call>>);

/// A process is under observation; [`Observer::finish`] must be called by the same thread.
#[derive(Debug)]
pub struct Observer {
    threads: BTreeMap<i32, Thread>,
    observed: Observed,
    phase: usize,
}

/// What a traced thread is in the middle of.
#[derive(Debug, Default)]
struct Thread {
    /// It is adding a filter.
    filtering: bool,
    /// It was given the signal of a fault, and has made no system call since.
    faulted: bool,
}

/// The signals that the kernel sends for an instruction that cannot be carried out.
const FAULTS: [i32; 4] = [libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGSEGV];

impl Observer {
    /// Starts to observe a process and the threads that it has and will make. Call it while the
    /// process waits for something, before what shall be seen.
    ///
    /// # Errors
    /// [`SandboxError::System`] when the process cannot be traced.
    pub fn attach(child: &Child) -> Result<Self, SandboxError> {
        let system = |e| SandboxError::system("ptrace(PTRACE_SEIZE)", e);
        let tasks = std::fs::read_dir(format!("/proc/{}/task", child.pid()))
            .map_err(|e| SandboxError::system("read /proc/PID/task", e))?;
        let options =
            trace::PTRACE_O_TRACESYSGOOD | trace::PTRACE_O_TRACECLONE | trace::PTRACE_O_TRACEEXIT;
        let mut threads = BTreeMap::new();
        for task in tasks.filter_map(Result::ok) {
            let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            trace::seize(tid, options).map_err(system)?;
            trace::interrupt(tid).map_err(system)?;
            threads.insert(tid, Thread::default());
        }
        Ok(Self { threads, observed: Observed::default(), phase: 0 })
    }

    /// Observes until the process ends.
    ///
    /// # Errors
    /// [`SandboxError::System`] when waiting fails.
    pub fn finish(mut self) -> Result<Observed, SandboxError> {
        while !self.threads.is_empty() {
            match trace::wait(-1, libc::__WNOTHREAD) {
                Ok((tid, status)) => self.event(tid, status),
                Err(e) if e.raw_os_error() == Some(libc::ECHILD) => break,
                Err(e) => return Err(SandboxError::system("waitpid", e)),
            }
        }
        Ok(self.observed)
    }

    fn event(&mut self, tid: i32, status: i32) {
        if !libc::WIFSTOPPED(status) {
            self.threads.remove(&tid);
            return;
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        // A thread that dies meanwhile cannot be resumed, and says so by its next event.
        if event == trace::PTRACE_EVENT_EXIT {
            // Let go before it is a zombie, which its parent shall see.
            trace::detach(tid);
            self.threads.remove(&tid);
        } else if event == trace::PTRACE_EVENT_STOP {
            // A new thread's first stop, our interrupt, or a stop of the whole group.
            self.threads.entry(tid).or_default();
            let stopped =
                matches!(signal, libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU);
            let _ = if stopped { trace::listen(tid) } else { trace::to_next_call(tid, 0) };
        } else if signal == libc::SIGTRAP | 0x80 {
            self.call(tid);
            let _ = trace::to_next_call(tid, 0);
        } else if event == 0 && FAULTS.contains(&signal) && self.faults_again(tid) {
            // The first process of a PID namespace gets no signal that would end it, but for a
            // fault of its own; and of a process that is traced the kernel takes that as sent by
            // somebody (`force_sig_info_to_task`). So it would fault for ever: let go, it ends.
            trace::detach(tid);
            self.threads.remove(&tid);
        } else {
            let _ = trace::to_next_call(tid, if event == 0 { signal } else { 0 });
        }
    }

    /// Whether a thread has faulted before, and done nothing but that since: a handler that mends
    /// something, or ends the process, does it by system calls.
    fn faults_again(&mut self, tid: i32) -> bool {
        let thread = self.threads.entry(tid).or_default();
        std::mem::replace(&mut thread.faulted, true)
    }

    /// A thread is at the entry or exit of a system call.
    fn call(&mut self, tid: i32) {
        let Ok(info) = trace::syscall_info(tid) else { return };
        let thread = self.threads.entry(tid).or_default();
        thread.faulted = false;
        if info.op == SYSCALL_ENTRY {
            let call = Call { number: info.nr.cast_signed(), args: info.args };
            // Asking what filters there are adds none.
            let adds = u64::from(libc::SECCOMP_SET_MODE_FILTER);
            let [operation, ..] = call.args;
            thread.filtering = call.number == libc::SYS_seccomp && operation == adds;
            while self.observed.0.len() <= self.phase {
                self.observed.0.push(BTreeSet::new());
            }
            if let Some(calls) = self.observed.0.get_mut(self.phase)
                && calls.len() < MAX_CALLS
            {
                calls.insert(call);
            }
        } else {
            // The return value of an exit is where the number of an entry is.
            let succeeded = info.nr == 0;
            if std::mem::take(&mut thread.filtering) && succeeded {
                self.phase += 1;
            }
        }
    }
}

/// What of a profile was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The rules that allowed no call, by index into the profile.
    pub unused: Vec<usize>,
    /// Calls that no rule allows, which the filter stopped.
    pub refused: BTreeSet<Call>,
}

impl Observed {
    /// The calls under `phase` filters, without repetitions.
    pub fn calls(&self, phase: usize) -> impl Iterator<Item = &Call> {
        self.0.get(phase).into_iter().flatten()
    }

    /// Adds what another run of the same kind of process did.
    pub fn merge(&mut self, other: Self) {
        for (phase, calls) in other.0.into_iter().enumerate() {
            match self.0.get_mut(phase) {
                Some(known) => known.extend(calls),
                None => self.0.push(calls),
            }
        }
    }

    /// How the calls under `phase` filters compare to the profile that was in force. `fds` are the
    /// process's descriptors; without them, a pin on a descriptor is taken as met.
    ///
    /// # Errors
    /// [`SandboxError::Profile`] for a slot that is not filled.
    pub fn usage(
        &self,
        phase: usize,
        profile: &Profile,
        fds: Option<&FdTable>,
    ) -> Result<Usage, SandboxError> {
        let mut unused: BTreeSet<usize> = (0..profile.rules.len()).collect();
        let mut refused = BTreeSet::new();
        for call in self.calls(phase) {
            let mut allowed = false;
            for (index, rule) in profile.rules.iter().enumerate() {
                let allows = rule.allows(call.number, &call.args, fds).map_err(|what| {
                    let syscall = rule.syscall.name();
                    SandboxError::Profile { profile: profile.name, syscall, what }
                })?;
                if allows {
                    allowed = true;
                    unused.remove(&index);
                }
            }
            if !allowed {
                refused.insert(*call);
            }
        }
        Ok(Usage { unused: unused.into_iter().collect(), refused })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.args;
        let name = name_of(self.number).unwrap_or("unknown");
        write!(f, "{name}({a:#x}, {b:#x}, {c:#x}, {d:#x}, {e:#x}, {g:#x})")
    }
}
