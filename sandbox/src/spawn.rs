//! Copies the calling process into new namespaces.

use super::identity::{Ids, become_unprivileged, map_ids, user_outside};
use super::layer::{Layer, Need, Report, State};
use super::layers::Layers;
use super::namespace::NamespaceId;
use super::network::Left;
use super::refusal::refused;
use super::stages::{Born, threads};
use super::sys::{self, Side};
use super::wire::Channel;
use super::{Child, ControlGroup, SandboxError, SharedNetwork, descriptors, directory};
use rustix::io::Errno;
use rustix::process::{
    Signal, WaitId, WaitIdOptions, set_parent_process_death_signal, setsid, waitid,
};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Exit status of a child whose body panicked, as Rust's own.
const PANICKED: i32 = 101;
/// Exit status of a child that failed before its body; the parent gets the reason.
pub(super) const UNBORN: i32 = 1;

/// Copies the caller, which must have one thread, into a child process with the namespaces of
/// `layers`, in a session of its own, as an unprivileged user, without the descriptors that it does
/// not keep; `body` runs in the child, which exits with its result. There is no exec: the body can
/// own what the caller had opened and read.
///
/// # Errors
/// [`SandboxError::Threads`], or [`SandboxError::Layer`] for a namespace that cannot be had. What
/// fails later in the child is told by [`Child::confined`].
pub fn spawn(layers: Layers, body: impl FnOnce(Born) -> i32) -> Result<Child, SandboxError> {
    let origin = Origin::here();
    let (child, ids) = spawn_with(layers, |layers, channel| live(layers, channel, origin, body))?;
    child.channel.iter().for_each(|channel| channel.go(ids));
    Ok(child)
}

/// Copies the caller into new namespaces, where `child` runs; gives the child its ids, and says
/// which.
fn spawn_with(
    layers: Layers,
    child: impl FnOnce(Layers, Channel) -> i32,
) -> Result<(Child, Ids), SandboxError> {
    let (ours, theirs) = channel_of_one_thread()?;
    let (side, left, report) = begin(&layers, |flags| clone(flags, layers.group.as_ref()))?;
    match side {
        // Whatever happens, the child does not return from here: its caller's code is the parent's.
        Side::Child => {
            drop(ours);
            let run = || child(layers, theirs);
            sys::exit(catch_unwind(AssertUnwindSafe(run)).unwrap_or(PANICKED))
        }
        Side::Parent { pid, pidfd } => {
            drop(theirs);
            watched(&layers, (pid, pidfd), ours, report, left.as_ref())
        }
    }
}

/// The same for a child that is not copied, see [`sys::clone_to_exec`]: `child` runs on the
/// caller's memory, and replaces the process, or returns what it exits with.
pub(super) fn spawn_to_exec(
    layers: &Layers,
    mut child: impl FnMut(&Channel) -> i32,
) -> Result<(Child, Ids), SandboxError> {
    let (ours, theirs) = channel_of_one_thread()?;
    let mut run = || catch_unwind(AssertUnwindSafe(|| child(&theirs))).unwrap_or(PANICKED);
    // clone3(2), which alone knows of control groups, has no function for the child to begin in, as
    // a stack of its own needs: into a group it is a copy, which costs some 0.15 ms.
    let (pid_and_fd, left, report) = begin(layers, |flags| match layers.group.as_ref() {
        None => sys::clone_to_exec(flags, &mut run),
        group => match clone(flags, group)? {
            Side::Child => sys::exit(run()),
            Side::Parent { pid, pidfd } => Ok((pid, pidfd)),
        },
    })?;
    drop(theirs);
    watched(layers, pid_and_fd, ours, report, left.as_ref())
}

/// A channel to a child of the caller, which must have one thread.
fn channel_of_one_thread() -> Result<(Channel, Channel), SandboxError> {
    match threads()? {
        1 => Channel::pair(),
        several => Err(SandboxError::Threads(several)),
    }
}

/// Clones the caller into the namespaces of `layers`. Gives what `clone` gave, and what brings the
/// parent back from a network that it entered for it.
fn begin<T>(
    layers: &Layers,
    clone: impl FnMut(libc::c_int) -> std::io::Result<T>,
) -> Result<(T, Option<Left>, Report), SandboxError> {
    let mut report = Report::default();
    let left = layers.network.as_ref().map(SharedNetwork::enter).transpose()?;
    match clone_into_namespaces(layers, &mut report, clone) {
        Ok(cloned) => Ok((cloned, left, report)),
        Err(e) => left.as_ref().map_or(Ok(()), Left::come_back).and(Err(e)),
    }
}

/// In the parent: the child, which gets its ids.
fn watched(
    layers: &Layers,
    (pid, pidfd): (u32, OwnedFd),
    channel: Channel,
    report: Report,
    left: Option<&Left>,
) -> Result<(Child, Ids), SandboxError> {
    let name = layers.name().to_owned();
    let channel = Some(channel);
    let mut child = Child { name, pid, pidfd, channel, report, exit: None, abandoned: false };
    // From here on an error drops the child, which kills it.
    left.map_or(Ok(()), Left::come_back)?;
    let mut ids = Ids::Shared;
    if child.report.is_applied(Layer::UserNamespace) {
        ids = map_ids(pid)
            .map_err(|e| SandboxError::layer(Layer::UserNamespace, e.call, e.source))?;
        child.report.specify(Layer::UserNamespace, ids.details());
    }
    Ok((child, ids))
}

/// Clones with all wanted namespaces.
///
/// The kernel takes all of them or none and does not tell which one it cannot give. So when it
/// refuses, they are tried one on top of the other, in the order of [`Layer::ALL`]: the user
/// namespace comes first because an ordinary user gets the others only inside it. One that cannot
/// be had costs itself and no other.
fn clone_into_namespaces<T>(
    layers: &Layers,
    report: &mut Report,
    mut clone: impl FnMut(libc::c_int) -> std::io::Result<T>,
) -> Result<T, SandboxError> {
    let mut wanted = Vec::new();
    for layer in Layer::ALL.into_iter().filter(|layer| layer.namespace_flag() != 0) {
        match layers.need(layer) {
            _ if layer == Layer::NetworkNamespace && layers.network.is_some() => {
                report.record(layer, State::Applied("shared".into()));
            }
            Need::Off => report.record(layer, State::Off),
            need => wanted.push((layer, need)),
        }
    }
    let all = wanted.iter().fold(0, |flags, (layer, _)| flags | layer.namespace_flag());
    if let Ok(cloned) = clone(all) {
        for (layer, _) in wanted {
            report.record(layer, State::Applied(String::new()));
        }
        return Ok(cloned);
    }
    let (mut flags, group) = (0, layers.group.as_ref());
    // A process that cannot be copied at all is no layer's fault.
    try_clone(flags, group).map_err(|e| SandboxError::system("clone", e))?;
    for (layer, need) in wanted {
        match try_clone(flags | layer.namespace_flag(), group) {
            Ok(()) => {
                flags |= layer.namespace_flag();
                report.record(layer, State::Applied(String::new()));
            }
            Err(e) if need == Need::Optional => {
                report.record(layer, State::Missing(format!("clone: {e}")));
            }
            Err(e) => return Err(SandboxError::layer(layer, "clone", e)),
        }
    }
    clone(flags).map_err(|e| SandboxError::system("clone", e))
}

/// Copies the caller. clone3(2), which alone knows of control groups, is used for one only: there
/// are hosts whose own filter for containers refuses it.
fn clone(flags: libc::c_int, group: Option<&ControlGroup>) -> std::io::Result<Side> {
    group.map_or_else(|| sys::clone(flags), |group| sys::clone_into(flags, group.raw()))
}

/// Whether the kernel gives these namespaces in this group: to a process that ends at once.
fn try_clone(flags: libc::c_int, group: Option<&ControlGroup>) -> std::io::Result<()> {
    match clone(flags, group)? {
        Side::Child => sys::exit(0),
        Side::Parent { pidfd, .. } => {
            let ended = || waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            while matches!(ended(), Err(Errno::INTR)) {}
            Ok(())
        }
    }
}

/// Whether the kernel lets this process, which must have one thread, start others in a group: with
/// one that ends at once.
///
/// # Errors
/// What clone3(2) says: EACCES where a group above both this process's and that one may not be
/// written, EBUSY where that one is for groups only, EAGAIN where a limit of tasks is met, ENOSYS
/// or E2BIG of a kernel before Linux 5.7.
pub fn try_group(group: &ControlGroup) -> std::io::Result<()> {
    try_clone(0, Some(group))
}

/// What a child must know of the process that it comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// Its mount namespace, to compare with one's own. A child that does not know it leaves its
    /// root alone.
    pub(super) mounts: Option<NamespaceId>,
    /// Its user, see [`user_outside`].
    pub(super) user: u32,
}

impl Origin {
    /// The calling process as the origin of a child.
    pub(super) fn here() -> Self {
        Self { mounts: NamespaceId::of_mounts().ok(), user: user_outside() }
    }
}

/// The child, from its first instruction to its exit status.
fn live(layers: Layers, channel: Channel, origin: Origin, body: impl FnOnce(Born) -> i32) -> i32 {
    let Some(ids) = channel.wait_for_go() else { return UNBORN };
    let mut report = Report::default();
    let entered = directory::enter(layers.directory.as_deref())
        .map_err(|e| SandboxError::system("its directory", e.source))
        .and_then(|()| enter(&layers, &channel, ids, origin.user, &mut report));
    match entered {
        Ok(true) => body(Born::in_child(layers, report, channel, origin.mounts)),
        Ok(false) => UNBORN,
        Err(error) => {
            channel.tell(Err(&error));
            UNBORN
        }
    }
}

/// What every child does before its body; false when the parent has died meanwhile.
pub(super) fn enter(
    layers: &Layers,
    channel: &Channel,
    ids: Ids,
    callers_user: u32,
    report: &mut Report,
) -> Result<bool, SandboxError> {
    sys::reset_signals();
    // A terminal's signals are for the parent.
    setsid().map_err(|e| SandboxError::system("setsid", e))?;
    layers.attempt(report, Layer::Descriptors, || {
        descriptors::close_all_but(&[&layers.keep[..], &[channel.fd()]].concat())
    })?;
    layers.attempt(report, Layer::UserId, || become_unprivileged(ids, callers_user))?;
    // After the change of ids, which clears it.
    layers.attempt(report, Layer::DeathSignal, || {
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(refused("prctl(PR_SET_PDEATHSIG)"))?;
        Ok(String::new())
    })?;
    Ok(channel.parent_lives())
}
