//! `casemate kbs serve`: a broker that runs.
//!
//! Three processes, and a janitor for each folder in which a socket is. This one opens everything,
//! starts the two others from sealed images, locks itself, and waits. The *front* has the network
//! and no key; the *keeper* has the keys, the store and the log, and sees no byte of the network
//! but whole requests. No byte of a secret, and none of a key, is in this one.

use super::broker::Broker;
use super::prepare::{Door, Prepared, doors};
use super::watch::Watch;
use crate::device::{PROGRAM as DEVICE, signals};
use crate::diagnostics::Log;
use crate::out::{attended, outln};
use crate::{Failure, Outcome};
use casemate_device_process::{PathSocket, Place, janitor_layers, spawn_janitor};
use casemate_front as front;
use casemate_keeper::profile::CHILD;
use casemate_keeper::{self as keeper, Curve};
use casemate_sandbox::{Action, Born, Child, Image, Layer, Layers, Limits, freeze_heap};
use clap::Args;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

/// The programs of the two processes, which build.rs has built.
static KEEPER: &[u8] = include_bytes!(env!("CASEMATE_BROKER_KEEPER_IMAGE"));
static FRONT: &[u8] = include_bytes!(env!("CASEMATE_BROKER_FRONT_IMAGE"));

const _: () = assert!(keeper::MAX_CONNECTIONS == front::MAX_CONNECTIONS);

/// Heap after the lock: messages.
const HEAP: usize = 256 * 1024;

/// Run a broker
///
/// Prints one line when it is ready: where it listens, and the hash of its key. It runs until a
/// signal comes (SIGTERM, SIGINT): requests that are there are answered, the log is closed. Beside
/// it, `put`, `get`, `list`, `versions` and `revoke` go on working.
///
/// It reads its configuration, policy and certificates once: start it anew when they change.
/// Guests do not notice, but for connections that end: challenges and sessions go on.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  a signal has ended it
  1  it failed
  2  its configuration, or a file in it, is not what it must be

Examples:
  casemate kbs serve
  casemate kbs serve --config broker/kbs.toml
")]
pub(super) struct ServeArgs {
    /// Take over a decision log whose end no head of the key vouches for; the log says so for ever
    #[arg(long)]
    adopt: bool,
    /// A layer of the lock that this host may lack, see `casemate host`; can be repeated
    #[arg(long, value_name = "LAYER", value_parser = crate::device::layer)]
    optional: Vec<Layer>,
    #[command(flatten)]
    broker: Broker,
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), Failure> {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
        .map_err(|error| failed(&error))
}

/// Runs the subcommand.
///
/// # Errors
/// [`Failure`].
pub(super) fn run(args: &ServeArgs, log: &Log) -> Outcome {
    let signals = signals().map_err(|error| failed(&error))?;
    let prepared = Prepared::new(args.broker.config()?, args.adopt)?;
    let mut doors = doors(&prepared.config)?;
    let control = PathSocket::at("control", &prepared.config.control)
        .map_err(|error| Failure::BadInput(error.to_string()))?;
    let lacking = |layers: Layers| args.optional.iter().copied().fold(layers, Layers::may_lack);
    // Whatever happens from here on, what is in the file system is taken away.
    let paths = doors.iter_mut().filter_map(|door| door.path.take()).collect();
    let door = control.polled().map_err(|error| failed(&error))?;
    let janitors = Janitors::start(paths, control, &lacking)?;
    let words = attended::begin().map_err(|error| failed(&error))?;
    let mut started = start(&prepared, &doors, &lacking)?;
    let pin = casemate_attestation::hex::encode(&prepared.identity.pin());
    let urls: Vec<String> = doors.iter().map(|door| door.url.clone()).collect();
    let store = prepared.config.store.clone();
    // Theirs from here on: nothing of it stays open here.
    drop((prepared, doors));
    started.wait_until_ready(&signals, &door, &store)?;
    let born = Born::here(lacking(own_layers()));
    let setup = born.confine().map_err(|error| failed(&error))?;
    freeze_heap(HEAP).map_err(|error| failed(&error))?;
    outln!("ready {} key {pin}", urls.join(" "));
    crate::out::finish()?;
    let fds = started.slots(&signals, &door, words, log).with_raw(CHILD, janitors.raw());
    setup.lock(&keeper::profile::SUPERVISOR, &fds, Action::Kill).map_err(|error| failed(&error))?;
    let ended = started.watch(&signals, &door);
    drop(started);
    drop(janitors);
    ended
}

fn own_layers() -> Layers {
    let limits = Limits { file_size: None, ..Limits::NO_CORE };
    Layers::for_this_process("broker-supervisor").limits(limits)
}

/// A janitor for each folder in which a socket is. It removes what is still this broker's when this
/// process has ended, however that was, or when this is dropped, which waits for that.
struct Janitors(Vec<(OwnedFd, Child)>);

impl Janitors {
    fn start(
        paths: Vec<PathSocket>,
        control: PathSocket,
        lacking: &dyn Fn(Layers) -> Layers,
    ) -> Result<Self, Failure> {
        let mut folders: BTreeMap<PathBuf, Vec<Place>> = BTreeMap::new();
        for socket in paths.iter().chain([&control]) {
            let folder = socket.folder().to_owned();
            folders.entry(folder).or_default().extend(socket.place());
        }
        let image = Image::new("casemate-device", DEVICE).map_err(|error| failed(&error))?;
        let mut all = Self(Vec::new());
        for (folder, places) in folders {
            let (ours, its) = pair(SocketType::SEQPACKET)?;
            let layers = lacking(janitor_layers(&folder));
            let child = spawn_janitor(&image, layers, &places, &its, |_| ());
            all.0.push((ours, child.map_err(|error| failed(&error))?));
        }
        for (_, child) in &mut all.0 {
            child.confined().map_err(|error| failed(&error))?;
        }
        paths.into_iter().chain([control]).for_each(PathSocket::leave);
        Ok(all)
    }

    fn raw(&self) -> impl Iterator<Item = RawFd> {
        self.0.iter().map(|(_, child)| child.as_fd().as_raw_fd())
    }
}

/// How long a janitor is waited for: it has a file or two to remove.
const JANITOR: u32 = 5000;

impl Drop for Janitors {
    fn drop(&mut self) {
        for (end, mut child) in self.0.drain(..) {
            // What it waits for.
            drop(end);
            if !matches!(child.wait_at_most(JANITOR), Ok(Some(_))) {
                // It may outlive this process.
                std::mem::forget(child);
            }
        }
    }
}

/// The two processes, started.
fn start(
    prepared: &Prepared,
    doors: &[Door],
    lacking: &dyn Fn(Layers) -> Layers,
) -> Result<Watch, Failure> {
    let (front_control, its_control) = pair(SocketType::SEQPACKET)?;
    let (keeper_control, keepers_control) = pair(SocketType::SEQPACKET)?;
    let (owner, keepers_owner) = pair(SocketType::SEQPACKET)?;
    let (calls, keepers_calls) = pair(SocketType::STREAM)?;
    let (signer, keepers_signer) = pair(SocketType::STREAM)?;
    let image = |name, program| Image::new(name, program).map_err(|error| failed(&error));
    let given = keeper::Descriptors {
        control: keepers_control.as_fd(),
        calls: keepers_calls.as_fd(),
        signer: keepers_signer.as_fd(),
        owner: keepers_owner.as_fd(),
        store: &prepared.store,
        log: &prepared.log,
        log_key: prepared.log_key.as_ref(),
        tls_key: &prepared.tls_key,
        broker_key: &prepared.broker_key,
        kek: &prepared.kek,
    };
    let layers = lacking(keeper::profile::layers());
    let keeper_image = image("casemate-broker-keeper", KEEPER)?;
    let keeper =
        keeper::spawn(&keeper_image, layers, &prepared.plan, &given, |_| ()).map_err(|error| {
            match error {
                keeper::StartError::TooMuch => Failure::BadInput(error.to_string()),
                _ => failed(&error),
            }
        })?;
    let plan = front_plan(prepared, doors);
    let listeners: Vec<BorrowedFd<'_>> = doors.iter().map(|door| door.socket.as_fd()).collect();
    let given = front::Descriptors {
        control: its_control.as_fd(),
        keeper: calls.as_fd(),
        signer: signer.as_fd(),
        listeners: &listeners,
    };
    let front_image = image("casemate-broker-front", FRONT)?;
    let layers = lacking(front::layers(plan.limits.connections));
    let front =
        front::spawn(&front_image, layers, &plan, &given, |_| ()).map_err(|error| match error {
            front::StartError::Plan(_) => Failure::BadInput(error.to_string()),
            front::StartError::Sandbox(_) => failed(&error),
        })?;
    Ok(Watch::new((front, front_control), (keeper, keeper_control), owner))
}

fn front_plan(prepared: &Prepared, doors: &[Door]) -> front::Plan {
    let limits = prepared.config.limits;
    let limits = front::Limits {
        connections: limits.connections,
        per_peer: limits.connections_per_address,
        rate: limits.requests_per_second,
        burst: limits.requests_per_second.saturating_mul(10).min(1_000_000),
        ..front::Limits::default()
    };
    let scheme = match prepared.identity.curve {
        Curve::P256 => front::Scheme::P256,
        Curve::P384 => front::Scheme::P384,
    };
    let kind = |door: &Door| match door.is_unix {
        true => front::Listener::Unix,
        false => front::Listener::Tcp,
    };
    let chain = prepared.identity.chain.clone();
    front::Plan { limits, scheme, chain, listeners: doors.iter().map(kind).collect() }
}
