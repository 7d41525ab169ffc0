//! The vmm process under its real lock: it runs a guest, uses every call that its profile allows
//! and no other, and what is in force is what was asked for. Attackers under the program's own
//! profiles die.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking"
)]

use casemate_device_process::DeviceKind;
use casemate_hypervisor::exits::Stop;
use casemate_hypervisor::launch::LaunchPlan;
use casemate_hypervisor::vm::ProcessKind;
use casemate_hypervisor::vm::engine::HostFds;
use casemate_hypervisor::vm::profile;
use casemate_hypervisor::vm::protocol::{FromVmm, MESSAGE_SIZE, ToVmm};
use casemate_hypervisor::vm::vmm;
use casemate_sandbox::{
    Action, Child, Exit, FdTable, Layers, Observer, Pin, Profile, inspect, spawn,
};
use casemate_test_support::attack::{Attack, Victim};
use casemate_test_support::disk;
use casemate_test_support::guests::{DATA, Supervisor, dx, out, plan, power_off};
use casemate_test_support::sandbox::{assert_least, confined, pipe};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{RecvAncillaryBuffer, SendAncillaryBuffer};
use rustix::net::{recv, recvmsg, send, sendmsg, socketpair};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

/// A vmm process that waits until its `go` end is closed.
struct Vmm {
    child: Child,
    go: OwnedFd,
    control: OwnedFd,
    console: OwnedFd,
}

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

/// Reads from its disk, writes a byte, waits for a byte of input, marks a step, powers off.
fn guest() -> LaunchPlan {
    // 1: in al, dx; test al, 1; jz 1b
    let wait_for_input = vec![0xec, 0xa8, 0x01, 0x74, 0xfb];
    let end = [dx(0x3f8), out(b'h'), dx(0x3fd), wait_for_input, dx(0x603), out(9), power_off()];
    disk::reader(&end.concat(), 1)
}

fn vmm(plan: &LaunchPlan) -> Option<Vmm> {
    let dev_kvm = casemate_test_support::guests::kvm()?.into();
    let (wait, go) = pipe();
    let (supervisor, mut input) = Supervisor::of(HostFds { dev_kvm, dev_sev: None }, plan);
    let (socket, its_socket) = disk::socket();
    let layers = profile::vmm_layers(false).keep(&input.host.dev_kvm).keep(&input.control);
    let layers = layers.keep(&input.console).keep(&input.plan).keep(&socket.socket);
    input.devices.push(socket);
    let (control, console) = supervisor.admit(plan);
    let child = spawn(layers.keep(&wait), move |born| {
        let _ = rustix::io::read(&wait, &mut [0_u8]);
        drop(wait);
        vmm::body(input, born)
    })
    .unwrap();
    disk::serve(its_socket);
    Some(Vmm { child, go, control, console })
}

/// Serves the process until it ends: input for the guest, then its last words. `locked` is called
/// when it has told that it is locked.
fn serve(control: &OwnedFd, console: &OwnedFd, mut locked: impl FnMut()) -> Option<Stop> {
    let mut packet = [0; MESSAGE_SIZE];
    let mut stop = None;
    while let Ok((len @ 1.., _)) = recv(control, &mut packet[..], RecvFlags::empty()) {
        match FromVmm::decode(&packet[..len]).unwrap() {
            FromVmm::Phase(phase) if format!("{phase:?}") == "FirstInstruction" => {
                locked();
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

fn vmm_profile_allows_what_is_used_and_nothing_else() {
    let Some(Vmm { mut child, go, control, console }) = vmm(&guest()) else { return };
    let observer = Observer::attach(&child).unwrap();
    let server = std::thread::spawn(move || serve(&control, &console, || ()));
    drop(go);
    let observed = observer.finish().unwrap();
    assert_eq!(server.join().unwrap(), Some(Stop::PowerOff { status: None }));
    assert_least(&observed, &profile::VMM);
    assert_eq!(child.wait().unwrap(), Exit::Code(vmm::TOLD));
    assert!(profile::VMM.syscalls().len() <= 14);
}

fn running_vmm_is_locked_as_the_kernel_tells() {
    let Some(Vmm { mut child, go, control, console }) = vmm(&guest()) else { return };
    drop(go);
    let pid = child.pid();
    let stop = serve(&control, &console, || {
        let in_force = inspect(pid).unwrap();
        // The kernel may add threads of its own, which run KVM's housekeeping.
        assert!(in_force.threads >= 2, "{in_force}");
        assert_eq!((in_force.seccomp_mode, in_force.seccomp_filters), (2, 1), "{in_force}");
        assert!(in_force.threads_agree && in_force.no_new_privs, "{in_force}");
        assert!(in_force.capabilities.values().all(|set| *set == 0), "{in_force}");
        assert_eq!(in_force.root.as_deref(), Some(&[][..]), "{in_force}");
        let limits = in_force.limits.as_ref().unwrap();
        let limit = |name: &str| limits[name].as_str();
        assert_eq!(
            ["5", "0", "0"],
            ["open files", "file size", "core file size"].map(|what| limit(&format!("Max {what}")))
        );
        assert_eq!(in_force.filters.as_ref().unwrap()[0].actions(), ["allow", "kill process"]);
        // What the profile names, and the VM, whose interrupt lines go with it; not /dev/kvm, not
        // the memory's file.
        let open = in_force.descriptors.as_ref().unwrap().values();
        let mut open: Vec<&str> = open.map(|what| what.split([':', '[']).next().unwrap()).collect();
        open.sort_unstable();
        open.dedup();
        let allowed = ["/dev/null", "/null", "anon_inode", "socket"];
        assert!(open.iter().all(|what| allowed.contains(what)), "{in_force}");
    });
    assert_eq!(stop, Some(Stop::PowerOff { status: None }));
    assert_eq!(child.wait().unwrap(), Exit::Code(vmm::TOLD));
}

/// Bytes of console output of which all buffers on their way together do not hold half.
const FLOOD: u32 = 2_000_000;

/// Protects the guest's output. Cannot tell how long a guest can be held back without harm.
fn a_console_that_is_read_slowly_holds_the_guest_back_and_loses_nothing() {
    // mov rsi, DATA; mov ecx, FLOOD; cld; rep outsb
    let write = [&[0x48, 0xbe][..], &DATA.to_le_bytes(), &[0xb9], &FLOOD.to_le_bytes()].concat();
    let flood = vec![0xfc, 0xf3, 0x6e];
    let code = [dx(0x3f8), write, flood, dx(0x603), out(9), power_off()].concat();
    let Some(Vmm { mut child, go, control, console }) = vmm(&plan(&code, 1)) else { return };
    drop(go);
    let (mut bytes, mut marked_after, mut stop, mut chunk) = (0_u64, None, None, [0; 1000]);
    let mut packet = [0; MESSAGE_SIZE];
    loop {
        while let Ok((len @ 1.., _)) = recv(&control, &mut packet[..], RecvFlags::DONTWAIT) {
            match FromVmm::decode(&packet[..len]).unwrap() {
                FromVmm::Mark(9) => marked_after = Some(bytes),
                FromVmm::Stopped(reason) => stop = Some(reason),
                FromVmm::Failed(why) => panic!("{why}"),
                _ => {}
            }
        }
        match recv(&console, &mut chunk[..], RecvFlags::empty()) {
            Ok((len @ 1.., _)) => bytes += len as u64,
            _ => break,
        }
    }
    // The console's end can be seen before the last messages: they come until the process is gone.
    while let Ok((len @ 1.., _)) = recv(&control, &mut packet[..], RecvFlags::empty()) {
        match FromVmm::decode(&packet[..len]).unwrap() {
            FromVmm::Mark(9) => marked_after = Some(bytes),
            FromVmm::Stopped(reason) => stop = Some(reason),
            _ => {}
        }
    }
    assert_eq!(stop, Some(Stop::PowerOff { status: None }));
    assert_eq!(child.wait().unwrap(), Exit::Code(vmm::TOLD));
    assert_eq!(bytes, u64::from(FLOOD));
    // The guest went on only when all but what the buffers on the way hold had been read.
    assert!(marked_after.is_some_and(|read| read > u64::from(FLOOD) / 2), "{marked_after:?}");
}

/// Every slot that a profile names, filled with these descriptors and one more.
fn all_slots(profile: &Profile, also: &[RawFd]) -> FdTable {
    let pins = profile.rules.iter().flat_map(|rule| rule.pins);
    let slots = pins.filter_map(|pin| match pin {
        Pin::Fd(_, slot) | Pin::FdFrom(_, slot) => Some(*slot),
        _ => None,
    });
    slots.fold(FdTable::new(), |fds, slot| fds.with_raw(slot, also.iter().copied().chain([1])))
}

/// Every profile that a process is ever locked by: those of the kinds of a VM, and of each device
/// what it may do before its front end has sent all, and for the VMM of others.
fn profiles() -> impl Iterator<Item = &'static Profile> {
    let devices = DeviceKind::ALL.into_iter().map(DeviceKind::description);
    let devices = devices.flat_map(|device| [device.set_up, device.foreign]);
    ProcessKind::ALL.into_iter().map(ProcessKind::profile).chain(devices)
}

fn each_attack_is_fatal_under_the_profile_of_every_kind() {
    let victim = Victim { pid: std::process::id(), abstract_socket: b"casemate-test" };
    for profile in profiles() {
        let kind = profile.name;
        let fds = all_slots(profile, &[]);
        // Until its front end has sent all, a device maps what threads and guest memory need.
        let maps = profile.rules.iter().any(|rule| rule.syscall.name() == "clone3");
        for (attack, _) in Attack::ALL {
            if maps && matches!(attack, Attack::Map) {
                continue;
            }
            let mut child = confined(Layers::new("attacker"), |setup| {
                let _locked = setup.lock(profile, &fds, Action::Kill).unwrap();
                i32::from(attack.attempt(victim).is_err())
            });
            child.confined().unwrap();
            assert_eq!(child.wait().unwrap(), Exit::Filter, "{kind} {attack:?}");
        }
    }
}

/// Whether a call succeeds does not matter, only whether it is allowed.
fn ignore<T>(_: rustix::io::Result<T>) {}

/// Protects the kernel behind calls that a profile allows: the operations that nobody here needs
/// are not among them. Each attempt works in a process without a filter; an errno tells that it
/// reached the kernel.
fn operations_that_no_one_needs_are_fatal_under_the_profile_of_every_kind() {
    use rustix::thread::futex;
    let word = std::sync::atomic::AtomicU32::new(0);
    let (ours, theirs) = pair(SocketType::STREAM);
    let oob = SendFlags::from_bits_retain(1) | SendFlags::NOSIGNAL;
    let lock_pi = || ignore(futex::lock_pi(&word, futex::Flags::PRIVATE, None));
    let unlock_pi = || ignore(futex::unlock_pi(&word, futex::Flags::PRIVATE));
    let shared = || ignore(futex::wake(&word, futex::Flags::empty(), 1));
    let private = || ignore(futex::wake(&word, futex::Flags::PRIVATE, 1));
    let has_futex = |profile: &Profile| profile.syscalls().contains(&"futex");
    let mut tried = 0;
    for profile in profiles() {
        // Which of the two ways a kind sends and receives by.
        let messages = !profile.syscalls().contains(&"sendto");
        let say = |flags| {
            let mut nothing = SendAncillaryBuffer::default();
            match messages {
                true => ignore(sendmsg(&ours, &[IoSlice::new(b"x")], &mut nothing, flags)),
                false => ignore(send(&ours, b"x", flags)),
            }
        };
        let hear = |flags| {
            let (mut byte, mut nothing) = ([0_u8], RecvAncillaryBuffer::default());
            match messages {
                true => {
                    let mut bytes = [IoSliceMut::new(&mut byte)];
                    ignore(recvmsg(&theirs, &mut bytes, &mut nothing, flags));
                }
                false => ignore(recv(&theirs, &mut byte, flags)),
            }
        };
        let out_of_band = || say(oob);
        let peek = || hear(RecvFlags::PEEK | RecvFlags::DONTWAIT);
        let plain = || say(SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        let attempts: [(&str, &dyn Fn(), Exit); 7] = [
            ("futex: lock with priority inheritance", &lock_pi, Exit::Filter),
            ("futex: unlock with priority inheritance", &unlock_pi, Exit::Filter),
            ("futex: shared", &shared, Exit::Filter),
            ("futex: private wake", &private, Exit::Code(0)),
            ("send out of band", &out_of_band, Exit::Filter),
            ("peek", &peek, Exit::Filter),
            ("send", &plain, Exit::Code(0)),
        ];
        for (name, attempt, expected) in attempts {
            if name.starts_with("futex") && !has_futex(profile) {
                continue;
            }
            let sockets = [ours.as_raw_fd(), theirs.as_raw_fd()];
            let fds = all_slots(profile, &sockets);
            let layers = Layers::new("operations").keep(&ours).keep(&theirs);
            let mut child = confined(layers, |setup| {
                let _locked = setup.lock(profile, &fds, Action::Kill).unwrap();
                attempt();
                casemate_sandbox::exit(0)
            });
            child.confined().unwrap();
            assert_eq!(child.wait().unwrap(), expected, "{} {name}", profile.name);
            tried += 1;
        }
    }
    assert!(tried > 14, "{tried}");
}

/// Where the least profile of each kind is shown. A new kind does not compile until it is named
/// here.
fn every_kind_of_process_has_a_test_that_its_profile_is_the_least() {
    for kind in ProcessKind::ALL {
        let (test, source) = match kind {
            ProcessKind::Supervisor => (
                "supervisor_profile_allows_what_is_used_and_nothing_else",
                include_str!("../../casemate/tests/supervisor_lock.rs"),
            ),
            ProcessKind::Vmm => {
                ("vmm_profile_allows_what_is_used_and_nothing_else", include_str!("sandbox_vmm.rs"))
            }
            ProcessKind::VmmConfidential => (
                "confidential_profile_allows_what_is_used_and_nothing_else",
                include_str!("vmm_snp_lock.rs"),
            ),
            // One program under one profile, whichever of the two it is.
            ProcessKind::Block | ProcessKind::BlockStandby => (
                "block_profile_allows_what_is_used_and_nothing_else",
                include_str!("../../casemate/tests/device_process.rs"),
            ),
            ProcessKind::Console => (
                "console_profile_allows_what_is_used_and_nothing_else",
                include_str!("../../casemate/tests/lone_process/console.rs"),
            ),
            ProcessKind::Rng => (
                "rng_profile_allows_what_is_used_and_nothing_else",
                include_str!("../../casemate/tests/lone_process/rng.rs"),
            ),
            ProcessKind::Vsock => (
                "vsock_profile_allows_what_is_used_and_nothing_else",
                include_str!("../../casemate/tests/vsock_process/device.rs"),
            ),
            ProcessKind::Net => (
                "net_profile_allows_what_is_used_and_nothing_else",
                include_str!("../../casemate/tests/net_process/device.rs"),
            ),
            ProcessKind::Connector => (
                "connector_uses_every_rule_of_its_profile_and_makes_no_other_call",
                include_str!("../../casemate/tests/vsock_process/connector.rs"),
            ),
            ProcessKind::Janitor => (
                "a_janitor_removes_what_is_still_its_vms_and_makes_no_other_call",
                include_str!("../../casemate/tests/vsock_process/janitor.rs"),
            ),
            ProcessKind::GroupJanitor => (
                "a_group_janitor_removes_what_is_its_vms_and_makes_no_other_call",
                include_str!("../../casemate/tests/group_janitor.rs"),
            ),
            ProcessKind::Recorder => (
                "image_of_the_recorder_uses_every_rule_of_its_profile_and_makes_no_other_call",
                include_str!("../../casemate/tests/recorder_image.rs"),
            ),
        };
        assert!(source.contains(&format!("fn {test}() {{")), "{kind}: {test}");
    }
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        vmm_profile_allows_what_is_used_and_nothing_else,
        running_vmm_is_locked_as_the_kernel_tells,
        operations_that_no_one_needs_are_fatal_under_the_profile_of_every_kind,
        a_console_that_is_read_slowly_holds_the_guest_back_and_loses_nothing,
        each_attack_is_fatal_under_the_profile_of_every_kind,
        every_kind_of_process_has_a_test_that_its_profile_is_the_least,
    ])
}
