//! The stages of a process's life, as types: [`Born`], [`Setup`], [`ReadyToLock`], [`Locked`]. Each
//! is made only by the one before.

use super::landlock_deny::Scopes;
use super::layer::{Layer, Need, Report};
use super::layers::Layers;
use super::namespace::{NamespaceId, OwnMounts};
use super::profile::{Action, FdTable, Pin, Profile, Rule};
use super::refusal::Refusal;
use super::syscalls::sys as syscall;
use super::wire::Channel;
use super::{
    Fence, SandboxError, descriptors, fence, filesystem, landlock_deny, privileges, speculation,
    sys,
};
use rustix::fs::stat;
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities, no_new_privs};
use seccompiler::BpfProgram;
use std::os::fd::RawFd;

/// A set-up profile that will be narrowed must have this rule.
pub const NARROW: Rule = Rule::new(
    syscall("seccomp"),
    &[Pin::Int(0, libc::SECCOMP_SET_MODE_FILTER), Pin::Long(1, libc::SECCOMP_FILTER_FLAG_TSYNC)],
    "installs the narrower filter of the next phase",
);

/// A process in its namespaces, not yet confined. It has one thread.
#[derive(Debug)]
pub struct Born {
    layers: Layers,
    report: Report,
    channel: Option<Channel>,
    /// The mount namespace of the process that spawned this one; None for one that was not spawned.
    callers_mounts: Option<NamespaceId>,
}

/// A confined process that may still make threads and map memory: everything is in force but the
/// filter.
#[derive(Debug)]
#[must_use = "the process has no system-call filter yet"]
pub struct Setup {
    report: Report,
}

/// A confined process whose filter is made, and not in force yet.
#[derive(Debug)]
#[must_use = "the process has no system-call filter yet"]
pub struct ReadyToLock {
    report: Report,
    /// None where the layer is off, or optional and missing.
    program: Option<BpfProgram>,
}

/// A process with a filter on all threads.
#[derive(Debug)]
pub struct Locked {
    report: Report,
}

/// How many threads the process has.
pub(super) fn threads() -> Result<u64, SandboxError> {
    let task = stat("/proc/self/task")
        .map_err(|e| SandboxError::system("stat(/proc/self/task): is /proc mounted?", e))?;
    // A directory has two links plus one for each directory in it, here one for each thread.
    Ok(task.st_nlink.saturating_sub(2))
}

impl Born {
    pub(super) const fn in_child(
        layers: Layers,
        report: Report,
        channel: Channel,
        callers_mounts: Option<NamespaceId>,
    ) -> Self {
        Self { layers, report, channel: Some(channel), callers_mounts }
    }

    /// The calling process itself, for one that was not spawned. Use [`Layers::for_this_process`]:
    /// an empty root is refused, since others use the same mounts.
    #[must_use]
    pub fn here(layers: Layers) -> Self {
        Self { layers, report: Report::default(), channel: None, callers_mounts: None }
    }

    /// Applies every layer but the filter. The parent is told, whatever comes of it.
    ///
    /// # Errors
    /// [`SandboxError::Layer`] for a required layer that cannot be had, [`SandboxError::Threads`].
    /// The process is then confined in part and must exit.
    pub fn confine(mut self) -> Result<Setup, SandboxError> {
        let outcome = self.apply();
        if let Some(channel) = self.channel.take() {
            channel.tell(outcome.as_ref().map(|()| &self.report));
        }
        outcome?;
        Ok(Setup { report: self.report })
    }

    fn apply(&mut self) -> Result<(), SandboxError> {
        match threads()? {
            1 => {}
            several => return Err(SandboxError::Threads(several)),
        }
        let (layers, report) = (&self.layers, &mut self.report);
        let kill = layers.signals_children;
        let keep = if kill { CapabilitySet::KILL } else { CapabilitySet::empty() };
        let (callers, sees) = (self.callers_mounts, layers.sees);
        layers.attempt(report, Layer::EmptyRoot, || {
            filesystem::lock(OwnMounts::proven(callers)?, sees)
        })?;
        layers.attempt(report, Layer::NoNewPrivs, privileges::no_new_privs)?;
        layers.attempt(report, Layer::BoundingSet, privileges::empty_bounding_set)?;
        layers.attempt(report, Layer::Capabilities, || privileges::drop_capabilities(keep))?;
        layers.attempt(report, Layer::NotDumpable, privileges::not_dumpable)?;
        layers.attempt(report, Layer::WriteXorExecute, privileges::write_xor_execute)?;
        layers.attempt(report, Layer::Speculation, speculation::restrict)?;
        let scopes = match layers.need(Layer::LandlockScopes) {
            Need::Off => Scopes::None,
            _ if kill => Scopes::Sockets,
            _ => Scopes::All,
        };
        let mut denied = None;
        layers.attempt(report, Layer::Landlock, || {
            let denied = denied.insert(landlock_deny::deny_all(scopes, sees)?);
            Ok(denied.details())
        })?;
        layers.attempt(report, Layer::LandlockScopes, || match &denied {
            Some(denied) => denied.scopes(),
            None => Err(Refusal::new("no landlock to scope it by", Errno::OPNOTSUPP)),
        })?;
        // After landlock, which needs a descriptor.
        layers.attempt(report, Layer::Limits, || layers.limits.apply())?;
        // As the filter, the fence comes later: when there is something to fence.
        layers.attempt(report, Layer::MemoryFence, fence::available)?;
        // The filter itself comes when threads and memory are there. Whether the kernel has filters
        // is asked now, while the parent can still be told: a process that runs without one must
        // not be the only one to know.
        layers.attempt(report, Layer::Seccomp, || {
            sys::seccomp_kills()?;
            // seccomp(2) takes a filter from who has this, or CAP_SYS_ADMIN.
            let admin = capabilities(None)
                .is_ok_and(|now| now.effective.contains(CapabilitySet::SYS_ADMIN));
            if !admin && !no_new_privs().unwrap_or(false) {
                return Err(Refusal::new("seccomp without no_new_privs", Errno::ACCESS));
            }
            Ok("when it is locked".into())
        })
    }
}

impl Setup {
    /// What became of each layer so far.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Closes every descriptor that is in no slot of `fds` and not in `also`: what no rule uses is
    /// not there to be used by another way. The three standard ones stay.
    ///
    /// Call it last before the lock. Owners of what is closed must neither use nor drop it any
    /// more; a locked process ends without destructors ([`super::exit`]).
    ///
    /// # Errors
    /// [`SandboxError::Layer`]; the process must exit.
    pub fn close_unnamed(&self, fds: &FdTable, also: &[RawFd]) -> Result<(), SandboxError> {
        let keep: Vec<RawFd> = fds.all().chain(also.iter().copied()).collect();
        descriptors::close_range_but(&keep)
            .map_err(|e| SandboxError::layer(Layer::Descriptors, e.call, e.source))
    }

    /// The fence of this process, before its first filter; [`Fence::cover`] puts memory behind it.
    /// Where the layer is off, or optional and missing, it is one that covers nothing.
    ///
    /// # Errors
    /// [`SandboxError::Layer`]; the process must exit, since its parent was told of a fence.
    pub fn fence(&self) -> Result<Fence, SandboxError> {
        if !self.report.is_applied(Layer::MemoryFence) {
            return Ok(Fence::NONE);
        }
        Fence::new().map_err(|e| SandboxError::layer(Layer::MemoryFence, e.call, e.source))
    }

    /// The number from which on every descriptor comes that will be opened: what is free below the
    /// highest one in `fds` is taken. For [`Pin::FdFrom`], whose slot this belongs into.
    ///
    /// # Errors
    /// [`SandboxError::System`] when the process may open no more.
    pub fn first_free(&self, fds: &FdTable) -> Result<RawFd, SandboxError> {
        let highest = fds.all().max().unwrap_or(2);
        descriptors::fill_below(highest)
            .map_err(|e| SandboxError::system("fcntl(F_DUPFD_CLOEXEC)", e.source))
    }

    /// Installs the profile's filter on all threads, for good.
    ///
    /// # Errors
    /// [`SandboxError::Profile`], [`SandboxError::Compile`], [`SandboxError::Layer`]; the process
    /// must exit.
    pub fn lock(
        self,
        profile: &Profile,
        fds: &FdTable,
        action: Action,
    ) -> Result<Locked, SandboxError> {
        self.ready_to_lock(profile, fds, action)?.lock()
    }

    /// The same but for its last step, which is one system call: for a process that waits, and then
    /// is waited for.
    ///
    /// # Errors
    /// As [`Setup::lock`].
    pub fn ready_to_lock(
        mut self,
        profile: &Profile,
        fds: &FdTable,
        action: Action,
    ) -> Result<ReadyToLock, SandboxError> {
        if !self.report.is_applied(Layer::Seccomp) {
            return Ok(ReadyToLock { report: self.report, program: None });
        }
        let program = Some(profile.program(fds, action)?);
        let details = format!("{}: {} system calls", profile.name, profile.syscalls().len());
        self.report.specify(Layer::Seccomp, details);
        Ok(ReadyToLock { report: self.report, program })
    }
}

impl ReadyToLock {
    /// Installs the filter on all threads, for good.
    ///
    /// # Errors
    /// [`SandboxError::Layer`]; the process must exit.
    pub fn lock(self) -> Result<Locked, SandboxError> {
        let Self { report, program } = self;
        // The parent was told that there will be a filter: now its absence is an error, optional or
        // not.
        if let Some(program) = program {
            sys::seccomp(&program)
                .map_err(|e| SandboxError::layer(Layer::Seccomp, e.call, e.source))?;
        }
        Ok(Locked { report })
    }
}

impl Locked {
    /// What became of each layer.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Adds a second filter: what both allow remains. The first must contain [`NARROW`].
    ///
    /// # Errors
    /// As [`Setup::lock`].
    pub fn narrow(
        self,
        profile: &Profile,
        fds: &FdTable,
        action: Action,
    ) -> Result<Self, SandboxError> {
        let program = profile.program(fds, action)?;
        sys::seccomp(&program)
            .map_err(|e| SandboxError::layer(Layer::Seccomp, e.call, e.source))?;
        Ok(self)
    }
}
