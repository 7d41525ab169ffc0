//! Each layer's effect, seen from inside the process and from its parent.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_sandbox::{Child, Exit, Layer, Layers, SandboxError, SharedNetwork, inspect, spawn};
use casemate_test_support::sandbox::{as_ordinary_user, confined, drain, pipe};
use rustix::io::Errno;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

fn layers() -> Layers {
    Layers::new("test")
}

fn every_required_layer_is_applied_and_reported() {
    let mut child = confined(layers(), |_setup| 7);
    let report = child.confined().unwrap().clone();
    for layer in Layer::ALL {
        let expected = !layer.only_where_asked();
        assert_eq!(report.is_applied(layer), expected, "{layer}\n{report}");
    }
    assert_eq!(child.wait().unwrap(), Exit::Code(7));
}

fn ordinary_user_gets_every_layer_too() {
    let exit = as_ordinary_user(|| {
        let mut child = confined(layers(), |_setup| 7);
        let report = child.confined().unwrap().clone();
        let missing = Layer::ALL.into_iter().filter(|layer| !report.is_applied(*layer));
        let missing: Vec<_> = missing.collect();
        assert!(missing.iter().all(|layer| layer.only_where_asked()), "{report}");
        assert_eq!(child.wait().unwrap(), Exit::Code(7));
        0
    });
    assert_eq!(exit, Exit::Code(0));
}

fn no_path_resolves_afterwards() {
    let mut child = confined(layers(), |_setup| {
        for path in ["/proc", "/dev/null", "/etc/passwd", "../../../etc", "/tmp"] {
            let error = std::fs::metadata(path).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{path}");
        }
        assert!(std::fs::read_dir("/").is_err());
        assert!(std::fs::create_dir("/new").is_err());
        0
    });
    child.confined().unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(0));
}

fn root_that_cannot_be_moved_is_covered() {
    // Below a shared mount pivot_root fails with the same error as in an initramfs.
    let no_layers = Layer::ALL.into_iter().fold(layers(), Layers::without);
    let mut outer = spawn(no_layers.with(Layer::MountNamespace), |_born| {
        use rustix::mount::{MountFlags, MountPropagationFlags};
        use rustix::mount::{mount, mount_bind_recursive, mount_change};
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
        mount("none", "/tmp", "tmpfs", MountFlags::empty(), None).unwrap();
        mount_change("/tmp", MountPropagationFlags::SHARED).unwrap();
        std::fs::create_dir("/tmp/root").unwrap();
        mount("none", "/tmp/root", "tmpfs", MountFlags::empty(), None).unwrap();
        for directory in ["proc", "dev"] {
            let place = format!("/tmp/root/{directory}");
            std::fs::create_dir_all(&place).unwrap();
            mount_bind_recursive(format!("/{directory}"), &place).unwrap();
        }
        rustix::process::chroot("/tmp/root").unwrap();
        std::env::set_current_dir("/").unwrap();
        // The kernel makes no user namespace in a chroot.
        let mut child = confined(layers().without(Layer::UserNamespace), |_setup| {
            let reachable = ["/proc", "/dev/null", "..", "/.."]
                .map(|path| std::fs::read_dir(path).map_or(0, Iterator::count));
            i32::from(reachable != [0; 4])
        });
        let report = child.confined().unwrap();
        assert!(report.to_string().contains("chroot"), "{report}");
        assert_eq!(child.wait().unwrap(), Exit::Code(0));
        0
    })
    .unwrap();
    assert_eq!(outer.wait().unwrap(), Exit::Code(0));
}

fn handlers_of_the_parent_are_not_the_childs() {
    let no_layers = Layer::ALL.into_iter().fold(layers(), Layers::without);
    let mut parent = spawn(no_layers, |_born| {
        let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        signal_hook::flag::register(libc::SIGTERM, flag).unwrap();
        // Without a PID namespace the child is not init, which ignores signals that it does not
        // handle.
        let mut child = confined(layers().without(Layer::PidNamespace), |_setup| {
            loop {
                std::thread::park();
            }
        });
        child.confined().unwrap();
        let pid = rustix::process::Pid::from_raw(child.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap(), Exit::Signal(libc::SIGTERM));
        0
    })
    .unwrap();
    assert_eq!(parent.wait().unwrap(), Exit::Code(0));
}

fn processes_share_a_network_without_interfaces() {
    let before = std::fs::read_link("/proc/self/ns/net").unwrap();
    let network = SharedNetwork::new().unwrap();
    let (wait, go) = pipe();
    let members: Vec<_> = (0..2)
        .map(|_| {
            let layers = layers().in_network(&network).keep(&wait);
            let mut child = confined(layers, |_setup| {
                let _ = rustix::io::read(&wait, &mut [0_u8]);
                0
            });
            assert!(child.confined().unwrap().is_applied(Layer::NetworkNamespace));
            child
        })
        .collect();
    let of = |child: &Child| std::fs::read_link(format!("/proc/{}/ns/net", child.pid())).unwrap();
    assert_eq!(of(&members[0]), of(&members[1]));
    assert_ne!(of(&members[0]), before);
    assert_eq!(std::fs::read_link("/proc/self/ns/net").unwrap(), before);
    drop(go);
}

fn network_is_not_left_without_a_way_back() {
    // The child is root of a user namespace that does not own the network: it may leave it, and not
    // enter it.
    let no_layers = Layer::ALL.into_iter().fold(layers(), Layers::without);
    let mut child = spawn(no_layers.with(Layer::UserNamespace), |_born| {
        let before = std::fs::read_link("/proc/self/ns/net").unwrap();
        let error = SharedNetwork::new().unwrap_err();
        assert!(
            matches!(error, SandboxError::Layer { layer: Layer::NetworkNamespace, .. }),
            "{error}"
        );
        assert_eq!(std::fs::read_link("/proc/self/ns/net").unwrap(), before);
        0
    })
    .unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(0));
}

fn only_kept_descriptors_survive_under_their_numbers() {
    let (go, wait) = pipe();
    let (_other, _other_write) = pipe();
    let kept = go.as_raw_fd();
    let mut child = confined(layers().keep(&go), move |_setup| {
        let _ = rustix::io::read(&go, &mut [0_u8]);
        0
    });
    child.confined().unwrap();
    let descriptors = inspect(child.pid()).unwrap().descriptors.unwrap();
    // Its path depends on how much of the old mounts is left.
    assert!((0..3).all(|fd| descriptors[&fd].ends_with("/null")), "{descriptors:?}");
    assert_eq!(descriptors.keys().copied().collect::<Vec<_>>(), [0, 1, 2, kept.cast_unsigned()]);
    drop(wait);
    assert_eq!(child.wait().unwrap(), Exit::Code(0));
}

fn child_is_pid_1_of_an_empty_world_and_nobody() {
    let mut child = confined(layers(), |_setup| {
        assert_eq!(std::process::id(), 1);
        assert_eq!(rustix::process::getuid().as_raw(), 65534);
        let caps = rustix::thread::capabilities(None).unwrap();
        assert!(caps.permitted.is_empty() && caps.effective.is_empty());
        assert!(rustix::thread::no_new_privs().unwrap());
        let again = rustix::thread::set_capabilities_secure_bits(
            rustix::thread::CapabilitiesSecureBits::empty(),
        );
        assert_eq!(again, Err(Errno::PERM));
        0
    });
    child.confined().unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(0));
}

fn required_layer_that_fails_is_an_error_that_names_it() {
    // Without a mount namespace of its own the process may not change the root.
    let mut child = confined(layers().without(Layer::MountNamespace), |_setup| 0);
    let error = child.confined().unwrap_err();
    assert!(matches!(&error, SandboxError::Layer { layer: Layer::EmptyRoot, .. }), "{error}");
    assert!(error.to_string().contains("empty-root"), "{error}");
    assert_eq!(child.wait().unwrap(), Exit::Code(99));
}

fn optional_layer_that_fails_is_reported() {
    let layers = layers().without(Layer::MountNamespace).optional(Layer::EmptyRoot);
    let mut child = confined(layers, |_setup| 0);
    let report = child.confined().unwrap();
    assert_eq!(report.missing().map(|(layer, _)| layer).collect::<Vec<_>>(), [Layer::EmptyRoot]);
}

fn process_with_threads_cannot_spawn() {
    let (read, write) = pipe();
    let thread = std::thread::spawn(move || drain(read));
    assert!(matches!(spawn(layers(), |_| 0), Err(SandboxError::Threads(2))));
    drop(write);
    thread.join().unwrap();
}

fn panic_in_the_child_stays_in_the_child() {
    let mut child = confined(layers(), |_setup| panic!("expected by the test"));
    child.confined().unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(101));
}

fn child_that_dies_early_is_told_apart() {
    let mut child = spawn(layers(), |_born| 3).unwrap();
    let error = child.confined().unwrap_err();
    assert!(matches!(error, SandboxError::Died { exit: Exit::Code(3), .. }), "{error}");
}

fn dropping_a_child_kills_it() {
    let (read, write) = pipe();
    let mut child = confined(layers().keep(&write), |_setup| {
        loop {
            std::thread::park();
        }
    });
    drop(write);
    child.confined().unwrap();
    drop(child);
    // The last write end is gone when the child is.
    assert_eq!(drain(read), "");
}

fn nothing_is_left_when_the_parent_is_killed() {
    let (read, write) = pipe();
    let (told, tell) = pipe();
    let no_layers = Layer::ALL.into_iter().fold(layers(), Layers::without);
    let no_layers = no_layers.keep(&write).keep(&tell);
    let mut parent = spawn(no_layers, move |_born| {
        let mut child = confined(layers().keep(&write), |_setup| {
            loop {
                std::thread::park();
            }
        });
        child.confined().unwrap();
        drop(write);
        drop(tell);
        std::mem::forget(child);
        loop {
            std::thread::park();
        }
    })
    .unwrap();
    drain(told);
    parent.kill().unwrap();
    assert_eq!(parent.wait().unwrap(), Exit::Signal(libc::SIGKILL));
    assert_eq!(drain(read), "");
}

fn process_that_was_not_spawned_can_confine_itself() {
    let no_layers = Layer::ALL.into_iter().fold(layers(), Layers::without);
    let mut supervisor = spawn(no_layers, |_born| {
        let mut child = confined(Layers::new("child"), |_setup| {
            loop {
                std::thread::park();
            }
        });
        child.confined().unwrap();
        let here = casemate_sandbox::Born::here(Layers::for_this_process("supervisor"));
        let setup = here.confine().unwrap();
        assert_eq!(setup.report().missing().count(), 0, "{}", setup.report());
        assert!(std::fs::metadata("/proc").is_ok(), "stat is not an access");
        assert!(std::fs::read_dir("/proc").is_err());
        assert!(std::net::TcpStream::connect("127.0.0.1:9").is_err());
        // It can still end its child.
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap(), Exit::Signal(libc::SIGKILL));
        0
    })
    .unwrap();
    assert_eq!(supervisor.wait().unwrap(), Exit::Code(0));
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        every_required_layer_is_applied_and_reported,
        ordinary_user_gets_every_layer_too,
        no_path_resolves_afterwards,
        root_that_cannot_be_moved_is_covered,
        handlers_of_the_parent_are_not_the_childs,
        processes_share_a_network_without_interfaces,
        network_is_not_left_without_a_way_back,
        only_kept_descriptors_survive_under_their_numbers,
        child_is_pid_1_of_an_empty_world_and_nobody,
        required_layer_that_fails_is_an_error_that_names_it,
        optional_layer_that_fails_is_reported,
        process_with_threads_cannot_spawn,
        panic_in_the_child_stays_in_the_child,
        child_that_dies_early_is_told_apart,
        dropping_a_child_kills_it,
        nothing_is_left_when_the_parent_is_killed,
        process_that_was_not_spawned_can_confine_itself,
    ])
}
