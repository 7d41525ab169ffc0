//! The life of a front's process, from its first instruction to its end.

use crate::crowd::{ANSWERS, REQUESTS};
use crate::front::{Front, FrontError, Sockets};
use crate::limits::Limits;
use crate::plan::Plan;
use crate::profile::{CONTROL, FRONT, KEEPER, LATER, LISTENERS, SIGNER};
use casemate_relay::{Message, ToFront, ToKeeper, Word};
use casemate_sandbox::{Action, Born, FdTable, Given, SandboxError, Setup, exit, reserve_heap};
use rustix::net::{SendFlags, send};
use rustix::process::{Resource, getrlimit};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Exit status of a front that ended as it should.
pub const DONE: i32 = 0;
/// Exit status of one that could not go on, after telling why.
pub const FAILED: i32 = 1;

/// What a connection's TLS has at most: a handshake's bytes and their copy, then a record in each
/// direction.
const TLS: usize = 64 * 1024;
/// What the process has beside its connections, the answer that is being read included.
const BASE: usize = 4 * 1024 * 1024 + 3 * <ToFront<'_> as Message<'_>>::MOST;

/// What a front is given.
#[derive(Debug)]
pub struct Input {
    /// Its plan.
    pub plan: Plan,
    /// Its descriptors.
    pub sockets: Sockets,
}

impl Input {
    /// What the image was given; None when its supervisor is another version, or none of ours.
    fn of(mut given: Given) -> Option<Self> {
        let plan = Plan::decode(&given.start).ok()?;
        let (control, keeper) = (Arc::new(given.descriptor()?), given.descriptor()?);
        let signer = given.descriptor()?;
        let listeners: Vec<OwnedFd> = std::iter::from_fn(|| given.descriptor()).collect();
        let whole = listeners.len() == plan.listeners.len();
        let sockets = Sockets { control, keeper, signer, listeners };
        whole.then_some(Self { plan, sockets })
    }
}

/// What an attacker would find in the process, for tests that are one.
#[derive(Debug, Clone)]
pub struct Holdings {
    /// Where connections come from.
    pub listeners: Vec<RawFd>,
    /// The keeper's sockets: calls, signatures.
    pub keeper: [RawFd; 2],
}

/// The whole process: what the image's `main` does. Gives the exit status, where the process has
/// not exited before.
///
/// A process that no supervisor of this version started has nobody to tell, and ends.
#[must_use]
pub fn main() -> i32 {
    let Ok((born, given)) = Born::of_image() else { return FAILED };
    Input::of(given).map_or(FAILED, |input| body_with(input, born, |_| ()))
}

/// The body of the process, with something more that is done once it is locked. For tests: what an
/// attacker who took it over would try.
pub fn body_with(input: Input, born: Born, once_locked: impl FnOnce(&Holdings)) -> i32 {
    // Its parent hears of it by the report.
    let Ok(setup) = born.confine() else { return FAILED };
    let Input { plan, sockets } = input;
    let control = sockets.control.clone();
    let (word, status) = match serve(setup, &plan, sockets, once_locked) {
        Ok(()) => (Word::Ended("its supervisor is gone, or said so".into()), DONE),
        Err(fault) => (Word::Failed(fault.to_string()), FAILED),
    };
    tell(&control, &word);
    // No destructors: they would close what the filter does not let it close.
    exit(status)
}

/// Why a front ends that should not.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Front(#[from] FrontError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

fn serve(
    setup: Setup,
    plan: &Plan,
    sockets: Sockets,
    once_locked: impl FnOnce(&Holdings),
) -> Result<(), Fault> {
    let control = sockets.control.clone();
    let raw = |fd: &OwnedFd| fd.as_raw_fd();
    let holdings = Holdings {
        listeners: sockets.listeners.iter().map(raw).collect(),
        keeper: [raw(&sockets.keeper), raw(&sockets.signer)],
    };
    let fds = FdTable::new()
        .with(CONTROL, &*control)
        .with(KEEPER, &sockets.keeper)
        .with(SIGNER, &sockets.signer)
        .with_raw(LISTENERS, holdings.listeners.iter().copied());
    setup.close_unnamed(&fds, &[])?;
    // Connections have higher numbers than all of these.
    let later = setup.first_free(&fds)?;
    reserve_heap(heap(&plan.limits))?;
    let mut front = Front::new(plan, sockets)?;
    // A user who may not have as many descriptors as the plan says has fewer connections.
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    front.at_most(files.saturating_sub(u64::try_from(later).unwrap_or(0)));
    setup.lock(&FRONT, &fds.with_raw(LATER, [later]), Action::Kill)?;
    tell(&control, &Word::Locked);
    once_locked(&holdings);
    let ended = front.serve();
    // Its destructor would close listeners, against the filter.
    std::mem::forget(front);
    Ok(ended?)
}

/// The most that a front can need, and half as much again, since a heap has holes. None of it is
/// there before it is used; a front that needs more ends.
fn heap(limits: &Limits) -> usize {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let connections = count(limits.connections).saturating_mul(TLS);
    let calls = count(limits.calls).saturating_mul(<ToKeeper<'_> as Message<'_>>::MOST);
    let all = connections.saturating_add(calls).saturating_add(REQUESTS + ANSWERS + BASE);
    all.saturating_add(all / 2)
}

/// Says a word. A supervisor that is gone, or does not read, hears nothing.
fn tell(control: &OwnedFd, word: &Word) {
    let _ = send(control, &word.encode(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}
