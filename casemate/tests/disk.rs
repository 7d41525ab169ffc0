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

use casemate_hypervisor::exits::Stop;
use casemate_hypervisor::vm::{End, Loss, ProcessKind};
use casemate_sandbox::{Exit, inspect};
use casemate_test_support::guests::kvm;
use casemate_test_support::script::Script;
use casemate_test_support::virtio::{Driver, REQUEST};
use disk_vm::{FLUSH, Folder, GOOD, READ, Vm, WRITE, pid, processes, signal};
use rustix::process::Signal;
use std::process::ExitCode;

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
    let vm = Vm { standby: false, ..Vm::new(&folder, &name, &script) };
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

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        a_guest_reads_and_writes_the_disk_that_its_user_named,
        a_disk_is_a_locked_process_and_its_death_ends_the_vm,
    ])
}
