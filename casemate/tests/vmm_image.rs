//! The vmm process as the program starts it: from an image of its own. What it has of its parent,
//! what it may do, and that an attacker's reach is what its profile says. Skipped, and said so,
//! without /dev/kvm or not as root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_hypervisor::exits::Stop;
use casemate_hypervisor::launch::LaunchPlan;
use casemate_hypervisor::vm::engine::HostFds;
use casemate_hypervisor::vm::handover;
use casemate_hypervisor::vm::profile::{VMM, vmm_layers};
use casemate_hypervisor::vm::protocol::{FromVmm, MESSAGE_SIZE, Phase, ToVmm};
use casemate_hypervisor::vm::vmm::{FAILED, TOLD};
use casemate_sandbox::{Child, Exit, Image, Layer, Observer, inspect};
use casemate_test_support::disk;
use casemate_test_support::guests::{Supervisor, dx, kvm, out, power_off};
use casemate_test_support::sandbox::{assert_least, memory_has};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::fs::{metadata, read, read_dir, read_link, read_to_string};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

static IMAGE: &[u8] = include_bytes!(env!("CASEMATE_VMM_IMAGE"));

/// A vmm process, and its supervisor's ends.
struct Vmm {
    child: Child,
    control: OwnedFd,
    console: OwnedFd,
}

/// Reads from its disk, stops it, writes a byte, waits for a byte of input, marks a step, powers
/// off.
fn guest(vcpus: u32) -> LaunchPlan {
    // 1: in al, dx; test al, 1; jz 1b
    let wait_for_input = vec![0xec, 0xa8, 0x01, 0x74, 0xfb];
    let end = [dx(0x3f8), out(b'h'), dx(0x3fd), wait_for_input, dx(0x603), out(9), power_off()];
    disk::reader(&end.concat(), vcpus)
}

/// A vmm process for the VM of `plan`, which it does not have yet.
fn waiting(plan: &LaunchPlan, before: impl FnOnce(&Child)) -> Option<(Child, Supervisor)> {
    let host = HostFds { dev_kvm: kvm()?.into(), dev_sev: None };
    let (supervisor, mut input) = Supervisor::of(host, plan);
    let (socket, its_socket) = disk::socket();
    input.devices.push(socket);
    let image = Image::new("casemate-vmm", IMAGE).unwrap();
    let child = handover::spawn(&image, vmm_layers(false), &input, before).unwrap();
    disk::serve(its_socket);
    Some((child, supervisor))
}

fn vmm(before: impl FnOnce(&Child)) -> Option<Vmm> {
    let plan = guest(1);
    let (child, supervisor) = waiting(&plan, before)?;
    let (control, console) = supervisor.admit(&plan);
    Some(Vmm { child, control, console })
}

/// Serves the process until it ends; `running` is called when its guest runs.
fn serve(control: &OwnedFd, console: &OwnedFd, mut running: impl FnMut()) -> Option<Stop> {
    let (mut packet, mut stop) = ([0; MESSAGE_SIZE], None);
    while let Ok((len @ 1.., _)) = recv(control, &mut packet[..], RecvFlags::empty()) {
        match FromVmm::decode(&packet[..len]).unwrap() {
            FromVmm::Phase(Phase::FirstInstruction) => {
                running();
                send(control, &ToVmm::PowerButton.encode(), SendFlags::NOSIGNAL).unwrap();
                send(console, b"x", SendFlags::NOSIGNAL).unwrap();
            }
            FromVmm::Stopped(reason) => stop = Some(reason),
            FromVmm::Failed(why) => panic!("{why}"),
            _ => {}
        }
    }
    stop
}

fn finish(mut vmm: Vmm, running: impl FnMut()) {
    let stop = serve(&vmm.control, &vmm.console, running);
    assert_eq!(stop, Some(Stop::PowerOff { status: None }));
    assert_eq!(vmm.child.wait().unwrap(), Exit::Code(TOLD));
}

/// Protects the user's secrets, and the addresses of their program, from who takes over a vmm
/// process. Cannot tell of what the kernel keeps.
fn vmm_process_has_nothing_of_its_supervisor_but_what_it_was_given() {
    // Made here, so that it is in no program.
    let secret: Vec<u8> = (1..48_u8).map(|i| i.wrapping_mul(91) | 1).collect();
    let kept = secret.clone();
    let Some(vmm) = vmm(|_| ()) else { return };
    let pid = vmm.child.pid();
    finish(vmm, || {
        assert!(memory_has(std::process::id(), &kept), "else this could not tell");
        assert!(!memory_has(pid, &secret));
        assert_eq!(read(format!("/proc/{pid}/environ")).unwrap(), b"");
        let program = read_link(format!("/proc/{pid}/exe")).unwrap();
        assert!(program.to_string_lossy().contains("memfd:casemate-vmm"), "{program:?}");
        let first = |process: &str| {
            let maps = read_to_string(format!("/proc/{process}/maps")).unwrap();
            maps.split('-').next().unwrap().to_owned()
        };
        assert_ne!(first("self"), first(&pid.to_string()));
    });
}

/// Protects the host from a vmm process: what is in force for the image is what is in force for the
/// profile's tests.
fn vmm_process_from_its_image_is_locked_as_the_kernel_tells() {
    let Some(mut vmm) = vmm(|_| ()) else { return };
    let report = vmm.child.confined().unwrap().clone();
    for layer in Layer::ALL {
        assert_eq!(report.is_applied(layer), !layer.only_where_asked(), "{layer}\n{report}");
    }
    let pid = vmm.child.pid();
    finish(vmm, || {
        let told = inspect(pid).unwrap();
        assert_eq!((told.seccomp_mode, told.seccomp_filters, told.uid), (2, 1, 65534), "{told}");
        assert!(told.threads_agree && told.no_new_privs, "{told}");
        assert!(told.capabilities.values().all(|set| *set == 0), "{told}");
        assert_eq!(told.root.as_deref(), Some(&[][..]), "{told}");
        // What the profile names, and the VM, whose interrupt lines go with it.
        let open = told.descriptors.as_ref().unwrap();
        let names = ["null", "anon_inode:", "socket:"];
        let known = |what: &String| names.iter().any(|name| what.contains(name));
        assert!(open.values().all(known), "{told}");
    });
}

fn image_of_the_vmm_process_uses_every_rule_of_its_profile_and_makes_no_other_call() {
    let mut observer = None;
    let watched = vmm(|child| observer = Some(Observer::attach(child).unwrap()));
    let Some(Vmm { mut child, control, console }) = watched else { return };
    let server = std::thread::spawn(move || serve(&control, &console, || ()));
    let observed = observer.unwrap().finish().unwrap();
    assert_eq!(server.join().unwrap(), Some(Stop::PowerOff { status: None }));
    assert_least(&observed, &VMM);
    assert_eq!(child.wait().unwrap(), Exit::Code(TOLD));
}

/// Protects the start: a supervisor that is gone takes the process with it, whenever it goes.
fn vmm_process_ends_with_its_supervisor() {
    let Some(Vmm { mut child, control, console }) = vmm(|_| ()) else { return };
    drop((control, console));
    let exit = child.wait().unwrap();
    assert_eq!(exit, Exit::Code(TOLD));
}

/// Descriptors of a process that lead to a memory file of this name: its size and what is in use.
fn memory_files(pid: u32, name: &str) -> Vec<(u64, u64)> {
    let all = read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let named = all.filter(|fd| {
        read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains(&format!("memfd:{name}")))
    });
    let told = named.map(|fd| metadata(fd.path()).unwrap());
    told.map(|file| (file.len(), file.blocks())).collect()
}

/// The next message of a vmm process.
fn message(control: &OwnedFd) -> Option<FromVmm> {
    let mut packet = [0; MESSAGE_SIZE];
    match recv(control, &mut packet[..], RecvFlags::empty()) {
        Ok((len @ 1.., _)) => Some(FromVmm::decode(&packet[..len]).unwrap()),
        _ => None,
    }
}

/// Protects what the policy says: until it has admitted the VM, the process that set the VM up has
/// no byte of a guest, and it is confined but for its filter. Then a denial, which drops its ends,
/// ends it. Cannot tell of SEV-SNP; `hypervisor/tests/snp_launch_calls.rs` does.
fn vmm_process_that_waits_is_confined_holds_no_byte_of_a_guest_and_ends_when_denied() {
    let plan = guest(2);
    let Some((mut child, supervisor)) = waiting(&plan, |_| ()) else { return };
    let report = child.confined().unwrap().clone();
    for layer in Layer::ALL {
        assert_eq!(report.is_applied(layer), !layer.only_where_asked(), "{layer}\n{report}");
    }
    assert_eq!(message(&supervisor.control), Some(FromVmm::Phase(Phase::Born)));
    assert_eq!(message(&supervisor.control), Some(FromVmm::Phase(Phase::Vcpus)));
    let pid = child.pid();
    let told = inspect(pid).unwrap();
    assert!(told.no_new_privs && told.uid == 65534 && told.threads == 1, "{told}");
    assert!(told.capabilities.values().all(|set| *set == 0), "{told}");
    assert_eq!(told.root.as_deref(), Some(&[][..]), "{told}");
    // The VM is there, with memory of the right size of which no page was touched; the plan's file
    // is empty.
    let open = told.descriptors.as_ref().unwrap();
    let vcpus = open.values().filter(|what| what.contains("kvm-vcpu")).count();
    assert_eq!(vcpus, 2, "{told}");
    assert_eq!(memory_files(pid, "guest-ram"), [(plan.ram.size(), 0)]);
    assert_eq!(memory_files(pid, "plan"), [(0, 0)]);
    drop(supervisor);
    assert_eq!(child.wait().unwrap(), Exit::Code(TOLD));
}

/// Protects the guest from a mix-up, and the policy's answer: what it was asked about is what is
/// loaded.
fn plan_for_another_vm_than_was_set_up_is_refused() {
    let Some((mut child, supervisor)) = waiting(&guest(1), |_| ()) else { return };
    let (control, _console) = supervisor.admit(&guest(2));
    let told = std::iter::from_fn(|| message(&control)).last();
    assert!(matches!(&told, Some(FromVmm::Failed(why)) if why.contains("another VM")), "{told:?}");
    assert_eq!(child.wait().unwrap(), Exit::Code(FAILED));
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        vmm_process_has_nothing_of_its_supervisor_but_what_it_was_given,
        vmm_process_from_its_image_is_locked_as_the_kernel_tells,
        image_of_the_vmm_process_uses_every_rule_of_its_profile_and_makes_no_other_call,
        vmm_process_ends_with_its_supervisor,
        vmm_process_that_waits_is_confined_holds_no_byte_of_a_guest_and_ends_when_denied,
        plan_for_another_vm_than_was_set_up_is_refused,
    ])
}
