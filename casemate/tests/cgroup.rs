//! Control groups for a VM's processes, as a user meets them: `casemate run --cgroup` with a guest
//! of a few instructions. Protects the host from processes that run outside of the group that
//! limits them, and the user from groups that are left behind and from limits that nobody keeps.
//! Cannot tell what limits do, which takes controllers: tests/e2e/tests/cgroup.rs does. Skipped,
//! and said so, without /dev/kvm, not as root, or where no cgroup v2 is mounted in which root may
//! make groups.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod disk_vm;

use casemate_hypervisor::config::{RawCgroup, RawConfig};
use casemate_hypervisor::host::cgroup::mount_point;
use casemate_hypervisor::vm::{End, ProcessKind};
use casemate_sandbox::Child;
use casemate_test_support::guests::{elf_kernel, kvm, power_off};
use casemate_test_support::script::Script;
use casemate_test_support::virtio::{Driver, REQUEST};
use disk_vm::{Folder, Vm, WRITE, pid, processes, signal};
use rustix::process::Signal;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Duration;

/// A control group that root made.
struct Group(PathBuf);

impl Group {
    fn new(test: &str) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let Some(root) = mount_point(&mounts) else {
            println!("SKIPPED: no cgroup v2 is mounted");
            return None;
        };
        let group = Path::new(&root).join(format!("casemate-{test}-{}", std::process::id()));
        match std::fs::create_dir(&group) {
            Ok(()) => Some(Self(group)),
            Err(e) => {
                println!("SKIPPED: {}: {e}", group.display());
                None
            }
        }
    }

    fn at(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// The groups in it.
    fn groups(&self) -> Vec<String> {
        let all = std::fs::read_dir(&self.0).unwrap().map(Result::unwrap);
        let groups = all.filter(|entry| entry.path().is_dir());
        groups.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    /// Starts a VM with a disk in it, whose guest writes once and then waits for ever.
    fn start(&self, folder: &Folder, name: &str) -> Child {
        let script = Script::default().open().reset().drive(1 << 9);
        let script = script.bytes(REQUEST[1], b"I run").request(0, WRITE, 0, 512);
        let script = script.wait_u8(REQUEST[2], 0x77);
        let mut vm = Vm::new(folder, name, &script);
        let directory = Some(self.0.clone());
        vm.devices = RawConfig {
            cgroup: Some(RawCgroup { directory, ..RawCgroup::default() }),
            grace: Some("1s".into()),
            ..vm.devices
        };
        let supervisor = vm.start(|end, _| matches!(end, End::GraceOver(_) | End::Killed));
        folder.wait_for(b"I run");
        supervisor
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for group in self.groups() {
            let _ = std::fs::remove_dir(self.0.join(group));
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn casemate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn each_process_is_in_a_group_of_its_own_and_none_is_left_however_the_vm_ends() {
    let Some(group) = Group::new("groups") else { return };
    for how in [Signal::TERM, Signal::QUIT, Signal::KILL] {
        let name = format!("groups-{}", std::process::id());
        let folder = Folder::new(&name);
        let mut supervisor = group.start(&folder, &name);
        let all = processes(&name, 5);
        assert!(pid(&all, ProcessKind::GroupJanitor) > 0);
        assert_eq!(group.groups(), [format!("{name}.vm")]);
        let shown = said(&casemate(&["sandbox", "show", &name]));
        for leaf in ["vmm", "block-disk0", "standby-disk0"] {
            let own = format!("/{name}.vm/{leaf}\n");
            assert!(shown.contains(&own), "no {own:?} in {shown}");
        }
        // The supervisor and the janitor are outside, where they were started.
        let groups = shown.lines().filter(|line| line.starts_with("control group"));
        assert_eq!(groups.filter(|line| line.contains(".vm/")).count(), 3, "{shown}");
        let inspected = said(&casemate(&["inspect", &name]));
        let own = format!("cgroup         {}/{name}.vm\n", group.at());
        assert!(inspected.contains(&own), "{inspected}");
        signal(supervisor.pid(), how);
        supervisor.wait().unwrap();
        // A supervisor that ends removes them before; one that is killed leaves them to another.
        while how == Signal::KILL && !group.groups().is_empty() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(group.groups(), [""; 0], "{how:?}");
    }
}

fn what_cannot_be_had_is_one_line_by_key_and_remedy_and_leaves_nothing() {
    let Some(group) = Group::new("refused") else { return };
    let running = format!("taken-{}", std::process::id());
    let folder = Folder::new(&running);
    let mut supervisor = group.start(&folder, &running);
    let kernel = folder.0.join("k");
    std::fs::write(&kernel, elf_kernel(&power_off())).unwrap();
    let (other, link, none) = (group.0.join("other"), folder.0.join("link"), group.0.join("none"));
    std::fs::create_dir(&other).unwrap();
    chown(&other, Some(12345), Some(12345)).unwrap();
    symlink(&group.0, &link).unwrap();
    let has = std::fs::read_to_string(group.0.join("cgroup.controllers")).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let at = group.at().to_owned();
    let (none, kernel_path, place) = (text(&none), text(&kernel), text(&folder.0));
    let (link, other) = (text(&link), text(&other));
    let mut cases: Vec<(Vec<&str>, Vec<&str>)> = vec![
        (vec!["--cgroup", &none], vec!["`cgroup.directory`", "not there", "make one below"]),
        (vec!["--cgroup", &kernel_path], vec!["`cgroup.directory`", "no directory"]),
        (vec!["--cgroup", &place], vec!["`cgroup.directory`", "no control group", "below"]),
        (vec!["--cgroup", &link], vec!["`cgroup.directory`", "symbolic link"]),
        (
            vec!["--cgroup", &other],
            vec!["`cgroup.directory`", "not delegated", "user 12345's", "chown"],
        ),
        (vec!["--cgroup-limit", "memory=1G"], vec!["`cgroup.directory` is missing", "--cgroup"]),
        (
            vec!["--cgroup", &at, "--cgroup-limit", "vsock:pids=1"],
            vec!["`cgroup.process`", "\"vsock\"", "vmm"],
        ),
        (
            vec!["--cgroup", &at, "--cgroup-limit", "recorder:pids=1"],
            vec!["`cgroup.process`", "\"recorder\"", "--decision-log"],
        ),
        (vec!["--cgroup", &at, "--name", &running], vec!["`name`", "another name"]),
    ];
    for (controller, limit) in
        [("memory", "memory=1G"), ("pids", "pids=9"), ("cpu", "cpu_percent=9")]
    {
        if !has.split_whitespace().any(|name| name == controller) {
            let words = vec!["`cgroup.", controller, "cgroup.subtree_control of the group above"];
            cases.push((vec!["--cgroup", &at, "--cgroup-limit", limit], words));
        }
    }
    let guest = ["run", "--protection", "none", "--memory", "64M", "--kernel", &kernel_path];
    for (flags, words) in cases {
        let output = casemate(&[&guest[..], &flags].concat());
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {text}");
        let warning = |line: &&str| !line.contains("warning: protection");
        let lines: Vec<_> = text.lines().filter(warning).collect();
        assert_eq!(lines.len(), 1, "{flags:?}: {text}");
        for word in words {
            assert!(lines[0].contains(word), "{flags:?}: no {word:?} in {text}");
        }
        let mut groups = group.groups();
        groups.sort();
        assert_eq!(groups, ["other".to_owned(), format!("{running}.vm")], "{flags:?}");
    }
    signal(supervisor.pid(), Signal::KILL);
    supervisor.wait().unwrap();
    while group.0.join(format!("{running}.vm")).exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    // A start that fails when its vmm process, and a recorder, are there already.
    let (log, gone) = (text(&folder.0.join("log")), text(&folder.0.join("gone.sock")));
    let foreign = format!("socket={gone},kind=block");
    for device in [&["--net", "tap=no-such-tap"][..], &["--vhost-user", &foreign]] {
        for logged in [&[][..], &["--decision-log", &log]] {
            let own = ["--cgroup", &at, "--name", "fails"];
            let output = casemate(&[&guest[..], &own, device, logged].concat());
            assert_ne!(output.status.code(), Some(0), "{}", said(&output));
            assert_eq!(group.groups(), ["other"], "{device:?} {logged:?}: {}", said(&output));
        }
    }
    // One that a VM has left whose every process was killed is not taken for this VM's.
    std::fs::create_dir(group.0.join("left.vm")).unwrap();
    let output = casemate(&[&guest[..], &["--cgroup", &at, "--name", "left"]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("left.vm is there"), "{}", said(&output));
}

fn main() -> ExitCode {
    if kvm().is_none() {
        return ExitCode::SUCCESS;
    }
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        each_process_is_in_a_group_of_its_own_and_none_is_left_however_the_vm_ends,
        what_cannot_be_had_is_one_line_by_key_and_remedy_and_leaves_nothing,
    ])
}
