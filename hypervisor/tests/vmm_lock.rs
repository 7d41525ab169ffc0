//! The lock of the vmm process and of its supervisor, as they run a guest: what an attacker in them can do, and
//! whether their profiles allow anything that no run uses. Skipped, and said so, without /dev/kvm or not as root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;
mod sandbox_common;

use casemate::sandbox::attack::{Attack, Victim};
use casemate::sandbox::{Child, Exit, Layer, Layers, Observer, Profile, Usage, spawn};
use casemate::vm::engine::HostFds;
use casemate::vm::profile::{SUPERVISOR, VMM};
use casemate::vm::protocol::{FromVmm, MESSAGE_SIZE, ToVmm};
use casemate::vm::vmm::{self, VmmInput};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send};
use sandbox_common::pipe;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Command, ExitCode};

fn sockets(kind: SocketType) -> (OwnedFd, OwnedFd) {
    rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

/// The supervisor's side of a vmm process.
struct Vmm {
    child: Child,
    control: OwnedFd,
    console: OwnedFd,
    go: OwnedFd,
}

/// A vmm process that waits to be told to go, then runs `code`; `once_locked` runs in it after the lock.
fn vmm(code: &[u8], once_locked: impl FnOnce()) -> Option<Vmm> {
    let dev_kvm = common::kvm()?.into();
    let plan = common::plan(code, 1);
    let (control, its_control) = sockets(SocketType::SEQPACKET);
    let (console, its_console) = sockets(SocketType::STREAM);
    let (wait, go) = pipe();
    let layers = Layers::new("vmm").keep(&dev_kvm).keep(&its_control).keep(&its_console);
    let layers = layers.keep(&wait);
    let host = HostFds { dev_kvm, dev_sev: None };
    let input = VmmInput { host, control: its_control, console: its_console, plan };
    let child = spawn(layers, move |born| {
        rustix::io::read(&wait, &mut [0_u8]).unwrap();
        // The lock forbids to close it afterwards.
        drop(wait);
        vmm::body_with(input, born, once_locked)
    });
    Some(Vmm { child: child.unwrap(), control, console, go })
}

/// Reads an input byte from the serial port, prints it, and switches off.
fn echo() -> Vec<u8> {
    use common::{dx, out, power_off};
    // 1: in al, dx; test al, 1; jz 1b
    let wait = vec![0xec, 0xa8, 1, 0x74, 0xfb];
    // in al, dx; out dx, al
    let copy = vec![0xec, 0xee];
    [dx(0x3f8), out(b'>'), dx(0x3fd), wait, dx(0x3f8), copy, power_off()].concat()
}

fn locked_vmm_process_dies_at_each_attack() {
    let name = format!("casemate-victim-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let no_layers = Layer::ALL.into_iter().fold(Layers::new("victim"), Layers::without);
    let victim = spawn(no_layers, |_born| {
        loop {
            std::thread::park();
        }
    });
    let victim = victim.unwrap();
    // Without an attack it lives until its supervisor is gone.
    let Some(mut peaceful) = vmm(&echo(), || ()) else { return };
    rustix::io::write(&peaceful.go, &[1]).unwrap();
    peaceful.child.confined().unwrap();
    drop((peaceful.control, peaceful.console));
    assert_eq!(peaceful.child.wait().unwrap(), Exit::Code(vmm::TOLD));
    for (attack, _) in Attack::ALL {
        let target = Victim { pid: victim.pid(), abstract_socket: name.as_bytes() };
        let attacker = vmm(&echo(), || {
            let _ = attack.attempt(target);
        });
        let Some(mut attacker) = attacker else { return };
        rustix::io::write(&attacker.go, &[1]).unwrap();
        assert_eq!(attacker.child.wait().unwrap(), Exit::Filter, "{attack:?}");
    }
}

/// Every rule of a profile was used, and no call was refused.
fn assert_least(profile: &Profile, usage: &Usage) {
    let unused: Vec<_> = usage
        .unused
        .iter()
        .map(|i| (profile.rules[*i].syscall.name(), profile.rules[*i].why))
        .collect();
    assert!(unused.is_empty(), "profile {:?} allows what nobody used: {unused:?}", profile.name);
    let refused: Vec<_> = usage.refused.iter().map(ToString::to_string).collect();
    // The filter kills: the process would not have lived to make one of these.
    assert!(refused.is_empty(), "profile {:?} refused {refused:?}", profile.name);
}

fn vmm_profile_allows_no_call_that_a_run_does_not_use() {
    let Some(mut vmm) = vmm(&echo(), || ()) else { return };
    let observer = Observer::attach(&vmm.child).unwrap();
    rustix::io::write(&vmm.go, &[1]).unwrap();
    let (control, console) = (vmm.control, vmm.console);
    // The supervisor's part: the power button, one byte of input when the guest has said something.
    let talk = std::thread::spawn(move || {
        send(&control, &ToVmm::PowerButton.encode(), SendFlags::empty()).unwrap();
        let mut byte = [0; 64];
        let (len, _) = recv(&console, &mut byte[..], RecvFlags::empty()).unwrap();
        assert_eq!(byte.get(..len), Some(&b">"[..]));
        send(&console, b"i", SendFlags::empty()).unwrap();
        let mut last = None;
        let mut packet = [0; MESSAGE_SIZE];
        while let Ok((len @ 1.., _)) = recv(&control, &mut packet[..], RecvFlags::empty()) {
            last = FromVmm::decode(&packet[..len]).ok();
        }
        last
    });
    let observed = observer.finish().unwrap();
    assert_least(&VMM, &observed.usage(1, &VMM, None).unwrap());
    assert_eq!(vmm.child.wait().unwrap(), Exit::Code(vmm::TOLD));
    assert!(matches!(talk.join().unwrap(), Some(FromVmm::Stopped(_))));
}

/// A kernel for the real launch path: an ELF file whose segment is `code`.
fn kernel(code: &[u8]) -> std::path::PathBuf {
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    (file[18], file[32], file[54], file[56]) = (62, 64, 56, 1);
    file[24..32].copy_from_slice(&0x100_0000_u64.to_le_bytes());
    file.extend_from_slice(&1_u64.to_le_bytes());
    for word in [4096, 0x100_0000, 0x100_0000, code.len() as u64, 4096, 4096] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.resize(4096, 0);
    file.extend_from_slice(code);
    let path = std::env::temp_dir().join(format!("casemate-kernel-{}", std::process::id()));
    std::fs::write(&path, file).unwrap();
    path
}

/// Observes a whole `casemate run`: what its supervisor did.
fn observed_supervisor(kernel: &std::path::Path, name: &str) -> casemate::sandbox::Observed {
    use std::os::unix::process::CommandExt;
    let (wait, go) = pipe();
    let no_layers = Layer::ALL.into_iter().fold(Layers::new("supervisor"), Layers::without);
    let layers = no_layers.keep(&wait);
    let mut child = spawn(layers, |_born| {
        rustix::io::read(&wait, &mut [0_u8]).unwrap();
        let error = Command::new(env!("CARGO_BIN_EXE_casemate"))
            .args(["run", "--protection", "none", "--memory", "64M", "--name", name, "--kernel"])
            .arg(kernel)
            .exec();
        panic!("{error}");
    })
    .unwrap();
    let observer = Observer::attach(&child).unwrap();
    rustix::io::write(&go, &[1]).unwrap();
    let observed = observer.finish().unwrap();
    child.wait().unwrap();
    observed
}

fn supervisor_profile_refuses_nothing_that_a_run_does() {
    if common::kvm().is_none() {
        return;
    }
    let kernel = kernel(&echo());
    let observed = observed_supervisor(&kernel, &format!("observed-{}", std::process::id()));
    let _ = std::fs::remove_file(kernel);
    let usage = observed.usage(1, &SUPERVISOR, None).unwrap();
    let refused: Vec<_> = usage.refused.iter().map(ToString::to_string).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert!(usage.unused.len() < SUPERVISOR.rules.len(), "nothing was observed");
}

fn main() -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: not as root: processes of other namespaces cannot be traced");
        return ExitCode::SUCCESS;
    }
    sandbox_common::main(&[
        ("locked_vmm_process_dies_at_each_attack", locked_vmm_process_dies_at_each_attack),
        (
            "vmm_profile_allows_no_call_that_a_run_does_not_use",
            vmm_profile_allows_no_call_that_a_run_does_not_use,
        ),
        (
            "supervisor_profile_refuses_nothing_that_a_run_does",
            supervisor_profile_refuses_nothing_that_a_run_does,
        ),
    ])
}
