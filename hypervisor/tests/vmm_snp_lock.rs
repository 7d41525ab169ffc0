//! The lock of a confidential VM's vmm process: while it boots a kernel that uses a disk, which a
//! program of others serves, it uses every rule of its profile and makes no other call. Skipped,
//! and said so, where KVM offers no SEV-SNP VMs; `tests/e2e` runs it in the virtual SNP host, with
//! the guest's kernel and initrd.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_hypervisor::config::{RawConfig, RawSnp};
use casemate_hypervisor::kvm::offers_snp;
use casemate_hypervisor::launch::{LaunchPlan, linux};
use casemate_hypervisor::vm::engine::HostFds;
use casemate_hypervisor::vm::profile::{VMM_SNP, vmm_layers};
use casemate_hypervisor::vm::protocol::{FromVmm, MESSAGE_SIZE, ToVmm};
use casemate_hypervisor::vm::vmm;
use casemate_sandbox::{Exit, Observer, spawn};
use casemate_test_support::disk;
use casemate_test_support::guests::Supervisor;
use casemate_test_support::sandbox::assert_least;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

/// A kernel whose PID 1 reads and writes the disk, and switches off.
fn plan() -> LaunchPlan {
    let raw = RawConfig {
        kernel: Some("/k/vmlinuz".into()),
        memory: Some("256M".into()),
        protection: Some("sev-snp".into()),
        cmdline: Some("console=ttyS0 reboot=acpi panic=-1 quiet".into()),
        // The position in the MODEL; EPYC's is 51.
        snp: Some(RawSnp { c_bit: Some(39), ..RawSnp::default() }),
        ..RawConfig::default()
    };
    let kernel = std::fs::read("/k/vmlinuz").unwrap();
    let initrd = Some(std::fs::read("/d/initrd").unwrap());
    let files = linux::Files { kernel, initrd };
    linux::plan(&raw.validate().unwrap(), files).unwrap()
}

/// The supervisor's part: presses the power button, reads the console, waits for the end.
fn serve(control: &OwnedFd, console: OwnedFd) -> (String, Option<FromVmm>) {
    let reader = std::thread::spawn(move || {
        let (mut output, mut chunk) = (Vec::new(), vec![0; 4096]);
        while let Ok((len @ 1.., _)) = recv(&console, &mut chunk[..], RecvFlags::empty()) {
            output.extend_from_slice(&chunk[..len]);
        }
        String::from_utf8_lossy(&output).into_owned()
    });
    send(control, &ToVmm::PowerButton.encode(), SendFlags::empty()).unwrap();
    let (mut last, mut packet) = (None, [0; MESSAGE_SIZE]);
    while let Ok((len @ 1.., _)) = recv(control, &mut packet[..], RecvFlags::empty()) {
        last = FromVmm::decode(&packet[..len]).ok();
    }
    (reader.join().unwrap(), last)
}

fn confidential_profile_allows_what_is_used_and_nothing_else() {
    let Some(dev_kvm) = casemate_test_support::guests::kvm().map(OwnedFd::from) else { return };
    if !offers_snp(&dev_kvm).unwrap() {
        println!("SKIPPED: KVM offers no SEV-SNP VMs here");
        return;
    }
    let dev_sev = OwnedFd::from(File::options().read(true).write(true).open("/dev/sev").unwrap());
    let (wait, go) = casemate_test_support::sandbox::pipe();
    let layers = vmm_layers(true).keep(&dev_kvm).keep(&dev_sev);
    let (host, plan) = (HostFds { dev_kvm, dev_sev: Some(dev_sev) }, plan());
    let (supervisor, mut input) = Supervisor::of(host, &plan);
    let (control, console) = supervisor.admit(&plan);
    let (socket, its_socket) = disk::socket();
    let layers = layers.keep(&socket.socket);
    input.devices.push(socket);
    let layers = layers.keep(&input.control).keep(&input.console).keep(&input.plan);
    let mut child = spawn(layers.keep(&wait), move |born| {
        let _ = rustix::io::read(&wait, &mut [0_u8]);
        drop(wait);
        vmm::body(input, born)
    })
    .unwrap();
    disk::serve(its_socket);
    let observer = Observer::attach(&child).unwrap();
    let server = std::thread::spawn(move || serve(&control, console));
    drop(go);
    let observed = observer.finish().unwrap();
    let (output, last) = server.join().unwrap();
    assert!(matches!(last, Some(FromVmm::Stopped(_))), "{last:?}\n{output}");
    assert_eq!(child.wait().unwrap(), Exit::Code(vmm::TOLD));
    assert!(output.contains("guest: the disk keeps what is written"), "{output}");
    assert_least(&observed, &VMM_SNP);
    println!("every rule was used: {last:?}");
}

fn main() -> ExitCode {
    casemate_test_support::sandbox::main(&[(
        "confidential_profile_allows_what_is_used_and_nothing_else",
        confidential_profile_allows_what_is_used_and_nothing_else,
    )])
}
