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
use super::{Child, SandboxError, SharedNetwork, descriptors, directory};
use rustix::io::Errno;
use rustix::process::{
    Signal, WaitId, WaitIdOptions, set_parent_process_death_signal, setsid, waitid,
};
use std::os::fd::AsFd;
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
pub(super) fn spawn_with(
    layers: Layers,
    child: impl FnOnce(Layers, Channel) -> i32,
) -> Result<(Child, Ids), SandboxError> {
    match threads()? {
        1 => {}
        several => return Err(SandboxError::Threads(several)),
    }
    let (ours, theirs) = Channel::pair()?;
    let mut report = Report::default();
    let left = layers.network.as_ref().map(SharedNetwork::enter).transpose()?;
    let come_back = || left.as_ref().map_or(Ok(()), Left::come_back);
    match clone_into_namespaces(&layers, &mut report).or_else(|e| come_back().and(Err(e)))? {
        // Whatever happens, the child does not return from here: its caller's code is the parent's.
        Side::Child => {
            drop(ours);
            let run = || child(layers, theirs);
            sys::exit(catch_unwind(AssertUnwindSafe(run)).unwrap_or(PANICKED))
        }
        Side::Parent { pid, pidfd } => {
            drop(theirs);
            let name = layers.name().to_owned();
            let mut child = Child {
                name,
                pid,
                pidfd,
                channel: Some(ours),
                report,
                exit: None,
                abandoned: false,
            };
            // From here on an error drops the child, which kills it.
            come_back()?;
            let mut ids = Ids::Shared;
            if child.report.is_applied(Layer::UserNamespace) {
                ids = map_ids(pid)
                    .map_err(|e| SandboxError::layer(Layer::UserNamespace, e.call, e.source))?;
                child.report.specify(Layer::UserNamespace, ids.details());
            }
            Ok((child, ids))
        }
    }
}

/// Clones with all wanted namespaces.
///
/// The kernel takes all of them or none and does not tell which one it cannot give. So when it
/// refuses, they are tried one on top of the other, in the order of [`Layer::ALL`]: the user
/// namespace comes first because an ordinary user gets the others only inside it. One that cannot
/// be had costs itself and no other.
fn clone_into_namespaces(layers: &Layers, report: &mut Report) -> Result<Side, SandboxError> {
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
    if let Ok(side) = sys::clone(all) {
        for (layer, _) in wanted {
            report.record(layer, State::Applied(String::new()));
        }
        return Ok(side);
    }
    let mut flags = 0;
    // A process that cannot be copied at all is no layer's fault.
    try_clone(flags).map_err(|e| SandboxError::system("clone", e))?;
    for (layer, need) in wanted {
        match try_clone(flags | layer.namespace_flag()) {
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
    sys::clone(flags).map_err(|e| SandboxError::system("clone", e))
}

/// Whether the kernel gives these namespaces: to a process that ends at once.
fn try_clone(flags: libc::c_int) -> std::io::Result<()> {
    match sys::clone(flags)? {
        Side::Child => sys::exit(0),
        Side::Parent { pidfd, .. } => {
            let ended = || waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            while matches!(ended(), Err(Errno::INTR)) {}
            Ok(())
        }
    }
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
