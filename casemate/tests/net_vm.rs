//! A VM with a network device that loses its process, on /dev/kvm, as the program runs it. Protects
//! a guest from the death of what it can do without: it goes on when the process is killed, and the
//! VM's user is told which device it was and why; where it is written the VM ends. Beside it a
//! disk, whose limits hold the guest until the test has seen what it wants. Cannot tell what a
//! kernel's driver makes of a device that is gone: the end-to-end tests do. Skipped, and said so,
//! without /dev/kvm, not as root, and without network namespaces.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod disk_vm;

use casemate_hypervisor::config::{OnDeviceDeath, RawNet};
use casemate_hypervisor::exits::Stop;
use casemate_hypervisor::vm::{End, Loss, ProcessKind};
use casemate_sandbox::Exit;
use casemate_test_support::guests::kvm;
use casemate_test_support::network::{ip, own_network};
use casemate_test_support::script::Script;
use casemate_test_support::virtio::{Driver, REQUEST};
use disk_vm::{Expected, Folder, GOOD, READ, Vm, WRITE, pid, processes, signal};
use rustix::process::Signal;
use std::process::{Command, ExitCode};

const DEVICE: &str = "device lan: ";

fn casemate(arguments: &[&str]) -> bool {
    let status = Command::new(env!("CARGO_BIN_EXE_casemate")).args(arguments).status();
    status.unwrap().success()
}

/// A VM whose guest says that it runs, and then goes on no faster than a request a second; the
/// process of its network device is killed; then the guest gets what it wants and switches off.
fn loses_its_network(test: &str, on_death: Option<OnDeviceDeath>, expected: Expected) {
    let (folder, name) = (Folder::new(test), format!("{test}-{}", std::process::id()));
    let script = Script::default().open().reset().drive(1 << 9);
    let script = script.bytes(REQUEST[1], b"I run").request(0, WRITE, 0, 512);
    let script = (1..400).fold(script, |script, number| script.request(number, READ, 2, 512));
    let script = script.bytes(REQUEST[1], b"to the end").request(400, WRITE, 0, 512);
    let tap = format!("vm{}", std::process::id());
    let mut vm = Vm::new(&folder, &name, &script).without_standby();
    (vm.devices.disk[0].iops, vm.devices.disk[0].iops_burst) = (Some(1), Some(1));
    vm.devices.net = vec![RawNet {
        name: Some("lan".into()),
        tap: Some(tap.clone()),
        create: true,
        on_device_death: on_death,
        ..RawNet::default()
    }];
    let mut supervisor = vm.start(expected);
    let all = processes(&name, 4);
    folder.wait_for(b"I run");
    signal(pid(&all, ProcessKind::Net), Signal::KILL);
    if on_death.is_none() {
        // The others are there, and the guest goes on when it may.
        let left: Vec<_> = processes(&name, 3).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(left, [ProcessKind::Supervisor, ProcessKind::Vmm, ProcessKind::Block]);
        assert!(!casemate(&["limit", &name, "lan", "packets=5"]), "nobody is there to be told");
        assert!(casemate(&["limit", &name, "disk0", "none"]));
    }
    assert_eq!(supervisor.wait().unwrap(), Exit::Code(GOOD));
    assert_eq!(folder.image().starts_with(b"to the end"), on_death.is_none());
    assert!(!ip(&["link", "show", "dev", &tap]), "the interface is left");
}

fn a_guest_goes_on_when_the_process_of_its_network_is_killed() {
    let went_on = |end: &End, said: &str| {
        *end == End::Stopped(Stop::PowerOff { status: None })
            && said.contains(&format!("{DEVICE}its process was killed from outside (signal 9)"))
    };
    loses_its_network("net-killed", None, went_on);
}

fn a_vm_ends_without_its_network_where_that_is_written() {
    let ended = |end: &End, _: &str| {
        let why = Loss::Died(Some(Exit::Signal(9)));
        *end == End::DeviceLost { device: "lan".into(), why }
    };
    loses_its_network("net-stops", Some(OnDeviceDeath::Stop), ended);
}

fn main() -> ExitCode {
    if !rustix::process::geteuid().is_root() || !own_network() || kvm().is_none() {
        println!("SKIPPED: a VM with a network needs root, a network namespace, and /dev/kvm");
        return ExitCode::SUCCESS;
    }
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        a_guest_goes_on_when_the_process_of_its_network_is_killed,
        a_vm_ends_without_its_network_where_that_is_written,
    ])
}
