//! A process with one directory for its root. Protects everything outside of it, and in it all but
//! the one thing that the process is for. Cannot tell of kernels with another landlock than the
//! running one's: before ABI 9 the root alone bounds what can be connected to.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_sandbox::{Exit, InDirectory, Layer, Layers};
use casemate_test_support::sandbox::{as_ordinary_user, confined};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;

/// A folder with a socket and a file in it, and both beside it, for every user.
struct Place {
    folder: PathBuf,
    _listeners: [UnixListener; 2],
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("casemate-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let inner = folder.join("inner");
        std::fs::create_dir_all(inner.join("folder")).unwrap();
        let sockets = [folder.join("beside"), inner.join("socket")];
        File::create(folder.join("file")).unwrap();
        File::create(inner.join("file")).unwrap();
        let listeners = sockets.each_ref().map(|at| UnixListener::bind(at).unwrap());
        for path in [&folder, &inner].into_iter().chain(&sockets) {
            std::fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        }
        Self { folder, _listeners: listeners }
    }

    fn layers(&self, may: InDirectory) -> Layers {
        Layers::new("in a directory").in_directory(self.folder.join("inner"), may)
    }

    fn inner(&self, name: &str) -> bool {
        self.folder.join("inner").join(name).exists()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What succeeds of what a process could try, by name.
fn attempts() -> Vec<&'static str> {
    // `..` of a root is the root.
    let outside = ["../beside", "/../beside", "beside", "/beside", "/proc/1/root/beside"];
    let tries = [
        ("connect", UnixStream::connect("/socket").is_ok()),
        ("connect outside", outside.iter().any(|path| UnixStream::connect(path).is_ok())),
        ("open a file", File::open("/file").is_ok()),
        ("list", std::fs::read_dir("/").is_ok_and(|entries| entries.count() > 0)),
        ("write a file", File::create("/file").is_ok()),
        ("make a file", File::create("/new").is_ok()),
        ("make a socket", UnixListener::bind("/new-socket").is_ok()),
        ("make a folder", std::fs::create_dir("/new-folder").is_ok()),
        ("rename", std::fs::rename("/file", "/other").is_ok()),
        ("change a mode", {
            let mode = Permissions::from_mode(0o4777);
            std::fs::set_permissions("/file", mode).is_ok()
        }),
        ("remove a folder", std::fs::remove_dir("/folder").is_ok()),
        ("remove", std::fs::remove_file("/file").is_ok()),
    ];
    tries.into_iter().filter_map(|(name, works)| works.then_some(name)).collect()
}

/// Runs the attempts in a confined process; what it could do besides is its exit status.
fn outcome(layers: Layers, expected: &'static [&'static str]) -> Exit {
    let mut child = confined(layers, move |_setup| {
        let found = attempts();
        if found != expected {
            eprintln!("could: {found:?}, not {expected:?}");
        }
        i32::from(found != expected)
    });
    let report = child.confined().unwrap().clone();
    assert!(report.is_applied(Layer::EmptyRoot), "{report}");
    child.wait().unwrap()
}

fn a_process_that_may_connect_in_a_directory_does_nothing_else_and_nothing_elsewhere() {
    let place = Place::new("connects");
    let layers = || place.layers(InDirectory::Connect).keep(&std::io::stderr());
    assert_eq!(outcome(layers(), &["connect"]), Exit::Code(0));
    let ordinary = as_ordinary_user(|| match outcome(layers(), &["connect"]) {
        Exit::Code(0) => 0,
        _ => 1,
    });
    assert_eq!(ordinary, Exit::Code(0));
    assert!(place.inner("file") && !place.inner("new"));
}

fn a_process_that_may_remove_in_a_directory_leaves_all_else_as_it_is() {
    let place = Place::new("removes");
    // Before landlock can deny connecting (ABI 9), the directory's sockets are reached, too; it has
    // no right for modes. A filter without these calls stops both.
    let expected: &[&str] = if landlock_abi() < 9 {
        &["connect", "change a mode", "remove"]
    } else {
        &["change a mode", "remove"]
    };
    let layers = place.layers(InDirectory::Remove).keep(&std::io::stderr());
    // As the user whose files they are, as a janitor of root's.
    let layers = layers.without(Layer::UserNamespace).without(Layer::UserId);
    assert_eq!(outcome(layers, expected), Exit::Code(0));
    assert!(!place.inner("file") && place.inner("socket") && place.inner("folder"));
    assert!(place.folder.join("file").exists());
}

fn a_process_that_may_remove_folders_in_a_directory_leaves_all_else_as_it_is() {
    let place = Place::new("removes-folders");
    let expected: &[&str] = if landlock_abi() < 9 {
        &["connect", "change a mode", "remove a folder"]
    } else {
        &["change a mode", "remove a folder"]
    };
    let layers = place.layers(InDirectory::RemoveFolders).keep(&std::io::stderr());
    let layers = layers.without(Layer::UserNamespace).without(Layer::UserId);
    assert_eq!(outcome(layers, expected), Exit::Code(0));
    assert!(place.inner("file") && place.inner("socket") && !place.inner("folder"));
}

fn landlock_abi() -> i64 {
    let mut child = confined(Layers::new("abi"), |_| 0);
    let report = child.confined().unwrap().to_string();
    child.wait().unwrap();
    let abi = report.split("ABI ").nth(1).and_then(|rest| rest.split([':', ' ']).next());
    abi.unwrap().parse().unwrap()
}

fn a_directory_that_is_not_there_is_told_and_nothing_runs() {
    let layers = Layers::new("nowhere").in_directory("/no/such/folder", InDirectory::Connect);
    let mut child = confined(layers, |_| 0);
    let error = child.confined().unwrap_err().to_string();
    assert!(error.contains("directory"), "{error}");
    assert_ne!(child.wait().unwrap(), Exit::Code(0));
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        a_process_that_may_connect_in_a_directory_does_nothing_else_and_nothing_elsewhere,
        a_process_that_may_remove_in_a_directory_leaves_all_else_as_it_is,
        a_process_that_may_remove_folders_in_a_directory_leaves_all_else_as_it_is,
        a_directory_that_is_not_there_is_told_and_nothing_runs,
    ])
}
