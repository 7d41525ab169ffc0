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

mod disk_vm;

use casemate_hypervisor::config::{RawConfig, RawForeign};
use casemate_hypervisor::exits::Stop;
use casemate_hypervisor::vm::{End, Loss, ProcessKind};
use casemate_sandbox::{Exit, inspect};
use casemate_test_support::guests::kvm;
use casemate_test_support::script::Script;
use casemate_test_support::virtio::{Driver, QUEUE_STEP, REQUEST};
use disk_vm::{FLUSH, Folder, GOOD, READ, Vm, WRITE, pid, processes, signal};
use rustix::process::Signal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

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
    let ended = |end: &End, _: &str| *end == End::Stopped(Stop::PowerOff { status: None });
    let mut supervisor = Vm::new(&folder, "disk-used", &script).start(ended);
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
    let died = |end: &End, _: &str| {
        let why = Loss::Died(Some(Exit::Signal(9)));
        *end == End::DeviceLost { device: "disk0".into(), why }
    };
    let vm = Vm::new(&folder, &name, &script).without_standby();
    let mut supervisor = vm.start(died);
    folder.wait_for(b"I run");
    let all = processes(&name, 3);
    let kinds: Vec<_> = all.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [ProcessKind::Supervisor, ProcessKind::Vmm, ProcessKind::Block]);
    let disk = pid(&all, ProcessKind::Block);
    let told = inspect(disk).unwrap();
    assert_eq!((told.seccomp_mode, told.seccomp_filters), (2, 2), "{told}");
    assert!(told.threads_agree && told.no_new_privs, "{told}");
    signal(disk, Signal::KILL);
    assert_eq!(supervisor.wait().unwrap(), Exit::Code(GOOD));
}

/// Protects a guest with several processors: each has a queue, and each queue a thread, all of them
/// under the lock; one that takes over goes on with each of them.
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
    // Until its process is killed, and some more.
    let script = (1..400).fold(script, |script, number| {
        let script = script.request_by(2, number, (READ, 2, 512));
        script.request_by(0, number - 1, (READ, 4, 512))
    });
    let script = script.print(data(0), 8);
    let taken_over = |end: &End, said: &str| {
        *end == End::Stopped(Stop::PowerOff { status: None })
            && said.contains("its standby goes on")
    };
    let mut vm = Vm::new(&folder, &name, &script);
    vm.devices.disk[0].queues = Some(4);
    vm.devices.vcpus = Some(4);
    let mut supervisor = vm.start(taken_over);
    let all = processes(&name, 4);
    folder.wait_for(b"I run");
    for kind in [ProcessKind::Block, ProcessKind::BlockStandby] {
        let told = inspect(pid(&all, kind)).unwrap();
        // Its front end's, its heart's, and one for each queue.
        assert_eq!((told.threads, told.seccomp_mode, told.seccomp_filters), (6, 2, 2));
        assert!(told.threads_agree && told.no_new_privs, "{told}");
    }
    signal(pid(&all, ProcessKind::Block), Signal::KILL);
    assert_eq!(supervisor.wait().unwrap(), Exit::Code(GOOD));
    let console = std::fs::read_to_string(folder.0.join("console")).unwrap();
    assert_eq!(console, "3 sector1 sector4 sector");
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
    let ended = |end: &End, _: &str| *end == End::Stopped(Stop::PowerOff { status: None });
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
        let vm = Vm { devices: config, ..Vm::new(&folder, &name, &script) };
        let mut supervisor = vm.start(ended);
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
