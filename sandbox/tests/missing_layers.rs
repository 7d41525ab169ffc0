//! What a layer that cannot be had costs: itself, and what is built on it, and never anything of
//! the caller's.
//!
//! The host refuses here by its own means, the limits on namespaces of user_namespaces(7), set in a
//! user namespace that only these tests are in. They cannot tell what a kernel without a layer
//! answers; there the first call fails instead of a later one, by the same path.
//!
//! Each test runs in a mount namespace of its own: one that fails must not take the root directory
//! of the machine.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_sandbox::{
    Action, Born, Child, Exit, FdTable, Layer, Layers, Limits, Profile, Rule, SandboxError,
    inspect, spawn, sys,
};
use casemate_test_support::attack::{Attack, Victim};
use casemate_test_support::sandbox::{confined, pipe};
use rustix::process::{
    DumpableBehavior, Resource, Signal, dumpable_behavior, getrlimit, parent_process_death_signal,
};
use std::fs::read_link;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::ExitCode;

/// The namespace layers with their names in /proc/PID/ns and in `user.max_*_namespaces`.
const NAMESPACES: [(Layer, &str, &str); 7] = [
    (Layer::UserNamespace, "user", "user"),
    (Layer::MountNamespace, "mnt", "mnt"),
    (Layer::PidNamespace, "pid", "pid"),
    (Layer::IpcNamespace, "ipc", "ipc"),
    (Layer::UtsNamespace, "uts", "uts"),
    (Layer::CgroupNamespace, "cgroup", "cgroup"),
    (Layer::NetworkNamespace, "net", "net"),
];

fn no_layers() -> Layers {
    Layer::ALL.into_iter().fold(Layers::new("test"), Layers::without)
}

/// Every layer, all optional; without the one that hides from its parent which namespaces the
/// process is in.
fn all_optional() -> Layers {
    let all = Layer::ALL.into_iter().filter(|layer| *layer != Layer::NotDumpable);
    all.fold(no_layers(), Layers::optional)
}

/// Runs `test` in user and mount namespaces of its own, in which no namespace of the given kinds
/// can be made.
fn where_forbidden(kinds: &[&str], test: impl FnOnce()) {
    let own = [Layer::UserNamespace, Layer::MountNamespace, Layer::UserId];
    let own = own.into_iter().fold(no_layers(), Layers::with);
    let mut host = spawn(own, |_born| {
        // The change of user makes /proc/self root's.
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
        for kind in kinds {
            std::fs::write(format!("/proc/sys/user/max_{kind}_namespaces"), "0").unwrap();
        }
        test();
        0
    })
    .unwrap();
    assert_eq!(host.wait().unwrap(), Exit::Code(0), "{kinds:?}");
}

/// What must stay as it is: the caller's root directory and what is in it, its namespaces, its
/// user.
fn caller() -> (Vec<(u64, u64)>, Vec<String>, u32) {
    let paths = ["/", "/proc", "/dev", "/dev/null", "/etc/passwd"].map(|path| {
        let file = std::fs::metadata(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        (file.dev(), file.ino())
    });
    (paths.to_vec(), namespaces("self"), rustix::process::getuid().as_raw())
}

fn namespaces(process: &str) -> Vec<String> {
    let of = |name: &str| read_link(format!("/proc/{process}/ns/{name}")).unwrap();
    NAMESPACES.map(|(_, name, _)| of(name).display().to_string()).to_vec()
}

/// A confined process that waits until the other end is closed.
fn waiting(layers: Layers) -> (Child, OwnedFd) {
    let (wait, go) = pipe();
    let child = confined(layers.keep(&wait), |_setup| {
        let _ = rustix::io::read(&wait, &mut [0_u8]);
        0
    });
    (child, go)
}

/// Spawns where some namespaces are forbidden, everything being optional: exactly `missing` is
/// missing, what is said to be there is there, and the caller is as it was.
fn costs_only(forbidden: &[&str], missing: &[Layer]) {
    where_forbidden(forbidden, || {
        let before = caller();
        let (mut child, go) = waiting(all_optional());
        let report = child.confined().unwrap().clone();
        let gone: Vec<Layer> = report.missing().map(|(layer, _)| layer).collect();
        assert_eq!(gone, missing, "{forbidden:?}\n{report}");
        let (theirs, ours) = (namespaces(&child.pid().to_string()), &before.1);
        for ((layer, name, _), (theirs, ours)) in NAMESPACES.iter().zip(theirs.iter().zip(ours)) {
            assert_eq!(theirs != ours, !missing.contains(layer), "{name} without {forbidden:?}");
        }
        drop(go);
        assert_eq!(child.wait().unwrap(), Exit::Code(0));
        assert_eq!(caller(), before, "{forbidden:?}");
    });
}

fn namespace_that_cannot_be_had_costs_itself_and_what_stands_on_it() {
    for (layer, _, kind) in NAMESPACES {
        let missing = match layer {
            Layer::MountNamespace => vec![layer, Layer::EmptyRoot],
            layer => vec![layer],
        };
        costs_only(&[kind], &missing);
    }
}

fn every_set_of_namespaces_that_cannot_be_had_leaves_the_callers_root_alone() {
    for set in 0..1_u32 << NAMESPACES.len() {
        let chosen = NAMESPACES.iter().enumerate().filter(|(bit, _)| set >> bit & 1 != 0);
        let chosen: Vec<_> = chosen.map(|(_, namespace)| *namespace).collect();
        let kinds: Vec<&str> = chosen.iter().map(|(_, _, kind)| *kind).collect();
        let mut missing: Vec<Layer> = chosen.iter().map(|(layer, _, _)| *layer).collect();
        if missing.contains(&Layer::MountNamespace) {
            missing.push(Layer::EmptyRoot);
        }
        costs_only(&kinds, &missing);
    }
}

fn empty_root_that_is_required_is_an_error_where_the_mounts_are_the_callers() {
    let refused = |layers: Layers| {
        let before = caller();
        let (mut child, _go) = waiting(layers);
        let error = child.confined().unwrap_err();
        assert!(matches!(error, SandboxError::Layer { layer: Layer::EmptyRoot, .. }), "{error}");
        assert_eq!(child.wait().unwrap(), Exit::Code(99));
        assert_eq!(caller(), before);
    };
    where_forbidden(&["mnt"], || refused(all_optional().with(Layer::EmptyRoot)));
    where_forbidden(&["user", "mnt"], || refused(all_optional().with(Layer::EmptyRoot)));
    where_forbidden(&[], || refused(Layers::new("test").without(Layer::MountNamespace)));
}

fn process_that_was_not_spawned_cannot_empty_the_root_it_shares() {
    where_forbidden(&[], || {
        let before = caller();
        let error = Born::here(Layers::new("test")).confine().unwrap_err();
        assert!(matches!(error, SandboxError::Layer { layer: Layer::EmptyRoot, .. }), "{error}");
        assert_eq!(caller(), before);
    });
}

fn required_namespace_that_cannot_be_had_is_named_and_no_other() {
    for (layer, _, kind) in NAMESPACES {
        where_forbidden(&[kind], || {
            let error = spawn(Layers::new("test").with(Layer::NetworkNamespace), |_| 0);
            let error = error.unwrap_err();
            let named = matches!(error, SandboxError::Layer { layer: named, .. } if named == layer);
            assert!(named, "{kind}: {error}");
        });
    }
}

/// What of the layers is in force, as the process itself finds it: a bit for each that it can tell.
fn found_inside(abstract_socket: &[u8]) -> u32 {
    let address = SocketAddr::from_abstract_name(abstract_socket).unwrap();
    let denied = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    let found = [
        (Layer::DeathSignal, parent_process_death_signal().unwrap() == Some(Signal::KILL)),
        (Layer::Limits, getrlimit(Resource::Nofile).current == Some(OPEN_FILES)),
        (Layer::EmptyRoot, std::fs::metadata("/dev/null").is_err()),
        (Layer::NoNewPrivs, rustix::thread::no_new_privs().unwrap()),
        (Layer::NotDumpable, dumpable_behavior().unwrap() == DumpableBehavior::NotDumpable),
        (Layer::WriteXorExecute, Attack::MakeExecutable.attempt(nobody()).is_err()),
        (Layer::Landlock, TcpListener::bind("127.0.0.1:0").is_err_and(denied)),
        (Layer::LandlockScopes, UnixStream::connect_addr(&address).is_err_and(denied)),
    ];
    found.into_iter().filter(|(_, is)| *is).fold(0, |bits, (layer, _)| bits | 1 << layer as u32)
}

/// A victim for an attack that has none.
fn nobody() -> Victim<'static> {
    Victim { pid: 0, abstract_socket: b"" }
}

/// Whether the kernel says of a process that its speculation is off for good, where the processor
/// is affected and the host lets processes decide.
fn speculation_is_off(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().any(|line| line.contains("peculation") && line.contains("force"))
}

const OPEN_FILES: u64 = 77;

/// The same as the kernel tells of the process: `descriptors` are those that it should have.
fn found_outside(child: &Child, descriptors: usize) -> Vec<(Layer, bool)> {
    let told = inspect(child.pid()).unwrap();
    let own = told.namespaces.unwrap();
    let namespaces = NAMESPACES.map(|(layer, name, _)| (layer, own[name]));
    let set = |name: &str| told.capabilities[name];
    namespaces
        .into_iter()
        .chain([
            (Layer::Descriptors, told.descriptors.unwrap().len() == descriptors),
            (Layer::UserId, told.uid == 65534),
            (Layer::BoundingSet, set("bounding") == 0),
            (Layer::Capabilities, set("permitted") == 0 && set("effective") == 0),
            (Layer::Seccomp, told.seccomp_mode == 2),
            (Layer::Speculation, speculation_is_off(child.pid())),
        ])
        .collect()
}

/// Protects against a layer that quietly rests on another: without any one of them, each other one
/// that does not stand on it is in force, as found from inside and from outside, and not only said
/// to be.
fn every_layer_is_in_force_whichever_other_one_is_left_out() {
    const PROFILE: Profile = Profile {
        name: "waits",
        rules: &[
            Rule::new(sys("read"), &[], "waits for the test"),
            Rule::new(sys("write"), &[], "tells the test"),
            Rule::new(sys("exit_group"), &[], "ends"),
        ],
    };
    let name = format!("casemate-missing-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let left_out = std::iter::once(None).chain(Layer::ALL.map(Some));
    for left_out in left_out {
        let before = caller();
        let ((wait, go), (told, tell)) = (pipe(), pipe());
        let limits = Limits { open_files: Some(OPEN_FILES), ..Limits::NO_CORE };
        let layers = Layer::ALL.into_iter().fold(Layers::new("test"), Layers::optional);
        let layers = layers.limits(limits).keep(&wait).keep(&tell);
        // Its own network has no abstract socket, so that nothing could be told of their scope. The
        // fence has a test like this of its own.
        let off = left_out.into_iter().chain([Layer::NetworkNamespace, Layer::MemoryFence]);
        let layers = off.fold(layers, Layers::without);
        let name = name.clone();
        let mut child = confined(layers, move |setup| {
            let found = found_inside(name.as_bytes());
            let _locked = setup.lock(&PROFILE, &FdTable::new(), Action::Kill).unwrap();
            rustix::io::write(&tell, &found.to_le_bytes()).unwrap();
            let _ = rustix::io::read(&wait, &mut [0_u8]);
            casemate_sandbox::exit(0)
        });
        let report = child.confined().unwrap().clone();
        let mut bits = [0; 4];
        rustix::io::read(&told, &mut bits).unwrap();
        let inside = u32::from_le_bytes(bits);
        // Three standard ones and two kept.
        let outside = found_outside(&child, 5);
        for layer in Layer::ALL {
            let gone = |layer: Layer| Some(layer) == left_out || layer.only_where_asked();
            let stands = std::iter::successors(Some(layer), |layer| layer.stands_on());
            let expected = !stands.into_iter().any(gone);
            let seen = outside.iter().find(|(known, _)| *known == layer).map(|(_, found)| *found);
            let found = seen.unwrap_or(inside >> layer as u32 & 1 != 0);
            assert_eq!(
                report.is_applied(layer),
                expected,
                "{layer} without {left_out:?}\n{report}"
            );
            // The change of user makes a process not dumpable, too: there it cannot be told.
            let told = expected || layer != Layer::NotDumpable;
            // A processor that is not affected, or a host that has decided for all, shows nothing.
            if layer == Layer::Speculation && expected && !report.to_string().contains("s: off") {
                continue;
            }
            assert_eq!(found && told, expected, "{layer} without {left_out:?}\n{report}");
        }
        // Not by closing: without its layer the child has every descriptor, this end, too.
        rustix::io::write(&go, &[1]).unwrap();
        assert_eq!(child.wait().unwrap(), Exit::Code(0));
        assert_eq!(caller(), before, "without {left_out:?}");
    }
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        namespace_that_cannot_be_had_costs_itself_and_what_stands_on_it,
        every_set_of_namespaces_that_cannot_be_had_leaves_the_callers_root_alone,
        empty_root_that_is_required_is_an_error_where_the_mounts_are_the_callers,
        process_that_was_not_spawned_cannot_empty_the_root_it_shares,
        required_namespace_that_cannot_be_had_is_named_and_no_other,
        every_layer_is_in_force_whichever_other_one_is_left_out,
    ])
}
