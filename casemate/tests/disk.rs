//! A disk as a user gets it: the program's own vmm and device processes, locked, and a guest of a
//! few instructions that drives the disk through PCI. Skipped, and said so, without /dev/kvm or not
//! as root.
//!
//! Protects the whole way from `[[disk]]` to the image and back. Cannot tell what a kernel's driver
//! makes of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_console::{HostConsole, Messages, Signals, Timeline, attend};
use casemate_hypervisor::config::{RawConfig, RawConsole, RawDisk, RawForeign};
use casemate_hypervisor::exits::Stop;
use casemate_hypervisor::vm::name::ask;
use casemate_hypervisor::vm::{End, ProcessKind, Programs, prepare_plan};
use casemate_sandbox::{Child, Exit, Layer, Layers, inspect, spawn};
use casemate_test_support::guests::kvm;
use casemate_test_support::script::Script;
use casemate_test_support::virtio::{Driver, QUEUE_STEP, REQUEST, scripted};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const PROGRAMS: Programs<'_> = Programs {
    vmm: include_bytes!(env!("CASEMATE_VMM_IMAGE")),
    device: include_bytes!(env!("CASEMATE_DEVICE_IMAGE")),
};
const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
/// Exit statuses of a supervisor: the end was as expected, or not.
const GOOD: i32 = 0;
const BAD: i32 = 9;

/// A folder with an image of 8 sectors, each of which begins with its number and a word.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("casemate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut bytes = vec![b'.'; 8 * 512];
        for (number, sector) in bytes.chunks_mut(512).enumerate() {
            sector[..8].copy_from_slice(format!("{number} sector").as_bytes());
        }
        std::fs::write(folder.join("disk.img"), bytes).unwrap();
        Self(folder)
    }

    fn image(&self) -> Vec<u8> {
        std::fs::read(self.0.join("disk.img")).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The configuration of a VM with the folder's disk.
fn with_disk(folder: &Path) -> RawConfig {
    let disk = RawDisk { path: Some(folder.join("disk.img")), ..RawDisk::default() };
    RawConfig { disk: vec![disk], ..RawConfig::default() }
}

/// Starts a supervisor that runs a guest with these devices; it ends with [`GOOD`] when the VM
/// ended as `expected` says.
fn supervisor(
    folder: &Path,
    name: &str,
    (devices, script): (RawConfig, &Script),
    expected: fn(&End) -> bool,
) -> Child {
    let no_layers = Layer::ALL.into_iter().fold(Layers::new("supervisor"), Layers::without);
    let (folder, name, plan) = (folder.to_owned(), name.to_owned(), scripted(script));
    let body = move || {
        let raw = RawConfig {
            name: Some(name),
            kernel: Some("unused".into()),
            protection: Some("none".into()),
            timeout: Some("2m".into()),
            console: Some(RawConsole::File(folder.join("console"))),
            ..devices
        };
        let config = raw.validate().unwrap();
        let prepared = prepare_plan(&config, plan, PROGRAMS).unwrap();
        let (signals, mut timeline) = (Signals::take_over().unwrap(), Timeline::start());
        let console = HostConsole::open(&config.console).unwrap();
        let vm = prepared.start().unwrap();
        let mut said = String::new();
        let mut say = |line: &str| said.push_str(line);
        let messages = Messages { say: &mut say, to: rustix::stdio::stderr(), log: None };
        let attended = attend(vm, console, &signals, &mut timeline, config.grace, messages);
        let as_expected = expected(&attended.end) && attended.loss.is_none();
        if !as_expected {
            // Locked: no file can be opened, but standard error is there.
            let text = format!("{:?}\n{said}\n{}\n", attended.end, timeline.to_text());
            let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
        }
        if as_expected { GOOD } else { BAD }
    };
    spawn(no_layers, move |_born| body()).unwrap()
}

/// The VM's processes by their kind, once there are three.
fn processes(name: &str) -> Vec<(ProcessKind, u32)> {
    loop {
        if let Ok(told) = ask(name)
            && told.len() == 3
        {
            return told.iter().map(|process| (process.kind, process.pid)).collect();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn a_guest_reads_and_writes_the_disk_that_its_user_named() {
    if kvm().is_none() {
        return;
    }
    let folder = Folder::new("disk-used");
    let [_, data, _] = REQUEST;
    let script = Script::default().open().reset().drive(1 << 9).request(0, READ, 3, 512);
    let script = script.interrupted(65).print(data, 8).bytes(data, b"written by the guest");
    let script = script.request(1, WRITE, 5, 512).request(2, FLUSH, 0, 0);
    // A second driver, under the same filters.
    let script = script.reset().drive(1 << 9).request(0, READ, 5, 512).print(data, 20);
    let ended = |end: &End| *end == End::Stopped(Stop::PowerOff { status: None });
    let vm = (with_disk(&folder.0), &script);
    let mut supervisor = supervisor(&folder.0, "disk-used", vm, ended);
    assert_eq!(supervisor.wait().unwrap(), Exit::Code(GOOD));
    let console = std::fs::read_to_string(folder.0.join("console")).unwrap();
    assert_eq!(console, "3 sectorwritten by the guest");
    assert_eq!(&folder.image()[5 * 512..][..20], b"written by the guest");
}

fn a_disk_is_a_locked_process_and_its_death_ends_the_vm() {
    if kvm().is_none() {
        return;
    }
    let (folder, name) = (Folder::new("disk-dies"), format!("disk-dies-{}", std::process::id()));
    // The guest writes when it has its disk, and then waits for ever.
    let script = Script::default().open().reset().drive(1 << 9).bytes(REQUEST[1], b"I run");
    let script = script.request(0, WRITE, 0, 512).wait_u8(REQUEST[2], 0x77);
    let died = |end: &End| {
        matches!(end, End::ProcessDied { kind: ProcessKind::Block, how: Some(Exit::Signal(9)) })
    };
    let vm = (with_disk(&folder.0), &script);
    let mut supervisor = supervisor(&folder.0, &name, vm, died);
    let user = std::thread::spawn({
        let image = folder.0.join("disk.img");
        move || {
            while !std::fs::read(&image).unwrap().starts_with(b"I run") {
                std::thread::sleep(Duration::from_millis(10));
            }
            let all = processes(&name);
            let kinds: Vec<_> = all.iter().map(|(kind, _)| *kind).collect();
            assert_eq!(kinds, [ProcessKind::Supervisor, ProcessKind::Vmm, ProcessKind::Block]);
            let told = inspect(all[2].1).unwrap();
            assert_eq!((told.seccomp_mode, told.seccomp_filters), (2, 2), "{told}");
            assert!(told.threads_agree && told.no_new_privs, "{told}");
            kill_process(Pid::from_raw(all[2].1.cast_signed()).unwrap(), Signal::KILL).unwrap();
        }
    });
    let end = supervisor.wait().unwrap();
    // Where the VM ended before, the user would wait for ever.
    assert_eq!(end, Exit::Code(GOOD));
    user.join().unwrap();
}

/// Protects a guest with several processors: each has a queue, and each queue a thread, all of them
/// under the lock.
fn a_disk_of_several_queues_has_a_locked_thread_for_each() {
    if kvm().is_none() {
        return;
    }
    let (folder, name) = (Folder::new("disk-queues"), format!("queues-{}", std::process::id()));
    let data = |queue: u64| REQUEST[1] + QUEUE_STEP * queue;
    let script = Script::default().open().reset().drive_queues(1 << 9, 4);
    let script = script.request_by(3, 0, (READ, 3, 512)).print(data(3), 8);
    let script = script.request_by(1, 0, (READ, 1, 512)).interrupted(66).print(data(1), 8);
    let script = script.bytes(data(2), b"I run").request_by(2, 0, (WRITE, 0, 512));
    let script = script.wait_u8(REQUEST[2], 0x77);
    let died = |end: &End| matches!(end, End::ProcessDied { kind: ProcessKind::Block, .. });
    let mut config = with_disk(&folder.0);
    config.disk[0].queues = Some(4);
    config.vcpus = Some(4);
    let mut supervisor = supervisor(&folder.0, &name, (config, &script), died);
    let user = std::thread::spawn({
        let image = folder.0.join("disk.img");
        move || {
            while !std::fs::read(&image).unwrap().starts_with(b"I run") {
                std::thread::sleep(Duration::from_millis(10));
            }
            let all = processes(&name);
            let told = inspect(all[2].1).unwrap();
            assert_eq!((told.threads, told.seccomp_mode, told.seccomp_filters), (5, 2, 2));
            assert!(told.threads_agree && told.no_new_privs, "{told}");
            kill_process(Pid::from_raw(all[2].1.cast_signed()).unwrap(), Signal::KILL).unwrap();
        }
    });
    let end = supervisor.wait().unwrap();
    assert_eq!(end, Exit::Code(GOOD));
    user.join().unwrap();
    let console = std::fs::read_to_string(folder.0.join("console")).unwrap();
    assert_eq!(console, "3 sector1 sector");
}

/// A program of others that serves the folder's disk at `socket`; None where it is not installed.
fn storage_daemon(folder: &Path) -> Option<std::process::Child> {
    let (image, socket) = (folder.join("disk.img"), folder.join("socket"));
    let blockdev = format!("driver=file,node-name=f,filename={}", image.display());
    let export = format!(
        "type=vhost-user-blk,id=e,node-name=f,writable=on,addr.type=unix,addr.path={},num-queues=2",
        socket.display()
    );
    let mut command = std::process::Command::new("qemu-storage-daemon");
    let mut daemon = command.args(["--blockdev", &blockdev, "--export", &export]).spawn().ok()?;
    while !socket.exists() {
        assert!(daemon.try_wait().unwrap().is_none(), "it cannot export a disk");
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(daemon)
}

/// Protects the way of `[[vhost_user]]`, under the lock of the vmm process: two drivers one after
/// the other, two VMs one after the other, and the program itself, which is nobody's to end.
fn a_disk_that_a_program_of_others_serves_is_used_by_one_vm_after_the_other() {
    if kvm().is_none() {
        return;
    }
    let folder = Folder::new("disk-foreign");
    let Some(mut daemon) = storage_daemon(&folder.0) else {
        println!("SKIPPED: there is no qemu-storage-daemon");
        return;
    };
    let data = REQUEST[1];
    let script = Script::default().open().reset().drive_queues(1 << 9, 2);
    let script = script.request_by(1, 0, (READ, 6, 512)).interrupted(66);
    let script = script.print(data + QUEUE_STEP, 8).bytes(data, b"written by the guest");
    let script = script.request(0, WRITE, 5, 512).request(1, FLUSH, 0, 0);
    let script = script.reset().drive(1 << 9).request(0, READ, 5, 512).print(data, 20);
    let ended = |end: &End| *end == End::Stopped(Stop::PowerOff { status: None });
    for turn in 0..2 {
        let foreign = RawForeign {
            socket: Some(folder.0.join("socket")),
            kind: Some("block".into()),
            queues: Some(2),
            ..RawForeign::default()
        };
        let config =
            RawConfig { vhost_user: vec![foreign], vcpus: Some(2), ..RawConfig::default() };
        let name = format!("foreign-{turn}-{}", std::process::id());
        let mut supervisor = supervisor(&folder.0, &name, (config, &script), ended);
        assert_eq!(supervisor.wait().unwrap(), Exit::Code(GOOD));
        assert!(daemon.try_wait().unwrap().is_none(), "the program of others ended with the VM");
    }
    let console = std::fs::read_to_string(folder.0.join("console")).unwrap();
    assert_eq!(console, "6 sectorwritten by the guest".repeat(2));
    let _ = (daemon.kill(), daemon.wait());
    assert_eq!(&folder.image()[5 * 512..][..20], b"written by the guest");
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        a_guest_reads_and_writes_the_disk_that_its_user_named,
        a_disk_is_a_locked_process_and_its_death_ends_the_vm,
        a_disk_of_several_queues_has_a_locked_thread_for_each,
        a_disk_that_a_program_of_others_serves_is_used_by_one_vm_after_the_other,
    ])
}
