//! The lock of the vmm process as it runs a guest: what an attacker in it can do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use casemate_hypervisor::vm::engine::HostFds;
use casemate_hypervisor::vm::profile;
use casemate_hypervisor::vm::vmm;
use casemate_sandbox::{Child, Exit, spawn};
use casemate_test_support::attack::Attack;
use casemate_test_support::guests::Supervisor;
use casemate_test_support::sandbox::pipe;
use casemate_test_support::target::Target;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

/// The supervisor's side of a vmm process.
struct Vmm {
    child: Child,
    control: OwnedFd,
    console: OwnedFd,
    go: OwnedFd,
}

/// A vmm process that waits to be told to go, then runs `code`; `once_locked` runs in it after the
/// lock.
fn vmm(code: &[u8], once_locked: impl FnOnce()) -> Option<Vmm> {
    let dev_kvm = casemate_test_support::guests::kvm()?.into();
    let plan = casemate_test_support::guests::plan(code, 1);
    let (wait, go) = pipe();
    let (supervisor, input) = Supervisor::of(HostFds { dev_kvm, dev_sev: None }, &plan);
    let (control, console) = supervisor.admit(&plan);
    let layers = profile::vmm_layers(false).keep(&input.host.dev_kvm).keep(&input.control);
    let layers = layers.keep(&input.console).keep(&input.plan).keep(&wait);
    let child = spawn(layers, move |born| {
        rustix::io::read(&wait, &mut [0_u8]).unwrap();
        // The lock forbids to close it afterwards.
        drop(wait);
        vmm::body_with(input, born, once_locked)
    });
    Some(Vmm { child: child.unwrap(), control, console, go })
}

fn locked_vmm_process_dies_at_each_attack() {
    let target = Target::new();
    // Without an attack it lives until its supervisor is gone.
    let Some(mut peaceful) = vmm(&casemate_test_support::guests::echo(), || ()) else { return };
    rustix::io::write(&peaceful.go, &[1]).unwrap();
    peaceful.child.confined().unwrap();
    drop((peaceful.control, peaceful.console));
    assert_eq!(peaceful.child.wait().unwrap(), Exit::Code(vmm::TOLD));
    for (attack, _) in Attack::ALL {
        let attacker = vmm(&casemate_test_support::guests::echo(), || {
            let _ = attack.attempt(target.victim());
        });
        let Some(mut attacker) = attacker else { return };
        rustix::io::write(&attacker.go, &[1]).unwrap();
        assert_eq!(attacker.child.wait().unwrap(), Exit::Filter, "{attack:?}");
    }
}

fn main() -> ExitCode {
    casemate_test_support::sandbox::main(&[(
        "locked_vmm_process_dies_at_each_attack",
        locked_vmm_process_dies_at_each_attack,
    )])
}
