//! What a layer that cannot be had costs: itself, and what is built on it, and never anything of the caller's.
//!
//! The host refuses here by its own means, the limits on namespaces of user_namespaces(7), set in a user namespace
//! that only these tests are in. They cannot tell what a kernel without a layer answers; there the first call fails
//! instead of a later one, by the same path.
//!
//! Each test runs in a mount namespace of its own: one that fails must not take the root directory of the machine.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use casemate_sandbox::{Born, Child, Exit, Layer, Layers, SandboxError, spawn};
use casemate_test_support::sandbox::{confined, pipe};
use rustix::process::DumpableBehavior;
use std::fs::read_link;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
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

/// Every layer that is applied before the lock, all optional; without the one that hides from its parent which
/// namespaces the process is in.
fn all_optional() -> Layers {
    let out = [Layer::Seccomp, Layer::NotDumpable];
    let all = Layer::ALL.into_iter().filter(|layer| !out.contains(layer));
    all.fold(no_layers(), Layers::optional)
}

/// Runs `test` in user and mount namespaces of its own, in which no namespace of the given kinds can be made.
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

/// What must stay as it is: the caller's root directory and what is in it, its namespaces, its user.
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

/// Spawns where some namespaces are forbidden, everything being optional: exactly `missing` is missing, what is
/// said to be there is there, and the caller is as it was.
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
    ])
}
