//! Who spawns: an ordinary user, root, and those in between whom "am I root?" misjudges. Each gets
//! every layer, or an error that names the one it cannot have and whose advice works.
//!
//! The callers are made by setpriv and unshare of util-linux, as people make them; each runs this
//! program again. That a container's own seccomp profile refuses is not tried here: user namespaces
//! are forbidden by their limit instead.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use casemate_sandbox::{Action, Exit, FdTable, Layer, Layers, spawn};
use casemate_test_support::sandbox::{MINIMAL, confined};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// This program, where any user can run it.
struct Program(PathBuf);

impl Program {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let place = std::env::temp_dir().join(format!("casemate-privilege-{}", std::process::id()));
        std::fs::copy(std::env::current_exe().unwrap(), &place).unwrap();
        std::fs::set_permissions(&place, PermissionsExt::from_mode(0o755)).unwrap();
        Self(place)
    }

    /// Spawns a confined process as the caller that `with` makes; the layers named are optional.
    /// The report, or what the error says.
    fn spawn(&self, with: &[&str], optional: &[Layer]) -> Result<String, String> {
        let (first, rest) = with.split_first().unwrap();
        let output = Command::new(first)
            .args(rest)
            .arg(&self.0)
            .arg("--as-caller")
            .args(optional.iter().map(|layer| layer.name()))
            .output()
            .unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        match output.status.code() {
            Some(0) => Ok(out),
            Some(1) => Err(out),
            status => panic!("{status:?}: {out}{}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What the program does when a test runs it.
fn as_caller(optional: &[String]) -> ExitCode {
    let optional = optional.iter().map(|name| Layer::from_name(name).unwrap());
    let layers = optional.fold(Layers::new("test"), Layers::optional);
    let child = spawn(layers, |born| {
        let locked =
            born.confine().and_then(|setup| setup.lock(&MINIMAL, &FdTable::new(), Action::Kill));
        i32::from(locked.is_err())
    });
    match child.and_then(|mut child| child.confined().cloned()) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            print!("{error}");
            ExitCode::FAILURE
        }
    }
}

const USER: [&str; 3] = ["setpriv", "--reuid=12345", "--clear-groups"];
const ONE_USER: [&str; 2] = ["unshare", "-Ur"];
const NO_CAPABILITY: [&str; 3] = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];

fn missing(report: &str) -> Vec<Layer> {
    let missing = report.lines().filter(|line| line.contains(" MISSING: "));
    missing.map(|line| Layer::from_name(line.split(' ').next().unwrap()).unwrap()).collect()
}

fn line(report: &str, layer: Layer) -> &str {
    report.lines().find(|line| line.starts_with(layer.name())).unwrap()
}

fn ordinary_user_and_root_of_a_user_namespace_with_one_get_every_layer() {
    let program = Program::new();
    let both = [&USER[..], &ONE_USER].concat();
    for caller in [&USER[..], &both] {
        let report = program.spawn(caller, &[]).unwrap_or_else(|e| panic!("{caller:?}: {e}"));
        assert_eq!(missing(&report), [], "{caller:?}\n{report}");
        // Whatever it is called inside, outside it is the ordinary user.
        assert!(line(&report, Layer::UserId).contains("12345"), "{caller:?}\n{report}");
    }
}

fn root_that_can_become_nobody_else_is_told_so_or_loses_that_layer_only() {
    let program = Program::new();
    for caller in [&ONE_USER[..], &NO_CAPABILITY] {
        let error = program.spawn(caller, &[]).unwrap_err();
        assert!(error.starts_with("sandbox layer user-id: "), "{caller:?}: {error}");
        assert!(error.contains("root outside"), "{caller:?}: {error}");
        assert!(error.contains("or name the layer optional"), "{caller:?}: {error}");
        // The advice works.
        let report = program.spawn(caller, &[Layer::UserId]).unwrap();
        assert_eq!(missing(&report), [Layer::UserId], "{caller:?}\n{report}");
    }
    let range = ["unshare", "-U", "--map-users=0,0,1", "--map-users=65534,65534,1"];
    let range = [&range[..], &["--map-groups=0,0,1", "--map-groups=65534,65534,1"]].concat();
    if Command::new("unshare")
        .args(range.iter().skip(1))
        .arg("true")
        .status()
        .is_ok_and(|s| s.success())
    {
        let report = program.spawn(&range, &[]).unwrap();
        assert_eq!(missing(&report), [], "{report}");
        assert!(line(&report, Layer::UserId).contains("65534"), "{report}");
    } else {
        println!("(this unshare maps no ranges: not tried) ");
    }
}

/// As in a container without capabilities where user namespaces are forbidden, too.
fn process_without_any_privilege_keeps_the_layers_that_take_none() {
    let program = Program::new();
    let own = [Layer::UserNamespace, Layer::MountNamespace, Layer::UserId];
    let none = Layer::ALL.into_iter().fold(Layers::new("test"), Layers::without);
    let mut host = spawn(own.into_iter().fold(none, Layers::with), |_born| {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
        std::fs::write("/proc/sys/user/max_user_namespaces", "0").unwrap();
        let namespaces = [
            Layer::UserNamespace,
            Layer::MountNamespace,
            Layer::PidNamespace,
            Layer::IpcNamespace,
            Layer::UtsNamespace,
            Layer::CgroupNamespace,
        ];
        // With the bounding set emptied, and with one that nobody may empty any more.
        for caller in [&NO_CAPABILITY[..], &["env"]] {
            let error = program.spawn(caller, &[]).unwrap_err();
            assert!(error.starts_with("sandbox layer user-namespace: "), "{error}");
            let optional = [&namespaces[..], &[Layer::EmptyRoot]].concat();
            let report = program.spawn(caller, &optional).unwrap();
            assert_eq!(missing(&report), optional, "{caller:?}\n{report}");
        }
        0
    })
    .unwrap();
    assert_eq!(host.wait().unwrap(), Exit::Code(0));
}

fn what_the_best_caller_gets_is_what_the_others_are_measured_by() {
    let mut child = confined(Layers::new("test"), |_setup| 0);
    let report = child.confined().unwrap().to_string();
    assert_eq!(missing(&report), []);
    assert!(line(&report, Layer::UserId).contains("65534, no supplementary group"), "{report}");
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some((flag, optional)) = args.split_first()
        && flag == "--as-caller"
    {
        return as_caller(optional);
    }
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        ordinary_user_and_root_of_a_user_namespace_with_one_get_every_layer,
        root_that_can_become_nobody_else_is_told_so_or_loses_that_layer_only,
        process_without_any_privilege_keeps_the_layers_that_take_none,
        what_the_best_caller_gets_is_what_the_others_are_measured_by,
    ])
}
