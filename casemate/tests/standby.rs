//! A disk that loses its process while a guest uses it, on /dev/kvm, as the program runs it.
//! Skipped, and said so, where /dev/kvm cannot be opened or not as root.
//!
//! Protects the guest: a disk whose process is killed or hangs goes on where it was, without an
//! error, a lost doorbell or a lost interrupt; and protects everybody else: no process is replaced
//! that ended by its own doing, or a second time, and none goes on beside one that may live. Cannot
//! tell what a kernel's driver makes of it: `tests/e2e/tests/standby.rs` does.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod disk_vm;

use casemate_hypervisor::config::OnDeviceDeath;
use casemate_hypervisor::exits::Stop;
use casemate_hypervisor::vm::{End, Loss, ProcessKind};
use casemate_sandbox::{Exit, inspect};
use casemate_test_support::guests::kvm;
use casemate_test_support::puppet::{Wrong, go_wrong};
use casemate_test_support::script::Script;
use casemate_test_support::virtio::{BAR, Driver, REQUEST};
use disk_vm::{Expected, FLUSH, Folder, GOOD, READ, Vm, WRITE, pid, processes, signal};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::time::Duration;

const STATUS: u64 = BAR + 0x14;

fn powered_off(end: &End, said: &str) -> bool {
    let lines = ["its standby goes on", "killed from outside (signal 9)"];
    *end == End::Stopped(Stop::PowerOff { status: None })
        && lines.iter().all(|line| said.contains(line))
}

/// The guest has its disk, and says so at the image's beginning.
fn runs() -> Script {
    let script = Script::default().open().reset().drive(1 << 9);
    script.bytes(REQUEST[1], b"I run").request(0, WRITE, 0, 512)
}

/// A name that no other test has.
fn unique(name: &str) -> (Folder, String) {
    (Folder::new(name), format!("{name}-{}", std::process::id()))
}

fn a_disk_that_is_killed_under_load_goes_on_without_an_error() {
    if kvm().is_none() {
        return;
    }
    let (folder, name) = unique("standby-load");
    // Each request waits for its end and that its status is 0: a lost one would hang the guest, an
    // error would, too.
    let mut script = runs();
    for number in 1..1200_u16 {
        let sector = u64::from(number % 7) + 1;
        script = match number % 3 {
            0 => script.request(number, READ, sector, 512),
            1 => {
                script.bytes(REQUEST[1], &number.to_le_bytes()).request(number, WRITE, sector, 512)
            }
            _ => script.request(number, FLUSH, 0, 0),
        };
    }
    let mut supervisor = Vm::new(&folder, &name, &script).start(powered_off);
    let all = processes(&name, 4);
    folder.wait_for(b"I run");
    signal(pid(&all, ProcessKind::Block), Signal::KILL);
    // Whether it was in time, its supervisor knows: without a takeover the test fails.
    assert_eq!(supervisor.wait().unwrap(), Exit::Code(GOOD));
    // The last write to each sector.
    for sector in 1..8_u16 {
        let last = (1..1200_u16).rev().find(|n| n % 7 + 1 == sector && n % 3 == 1).unwrap();
        let at = usize::from(sector) * 512;
        assert_eq!(folder.image()[at..at + 2], last.to_le_bytes(), "sector {sector}");
    }
}

/// A doorbell that is rung while the process is stopped, and an interrupt that its successor raises
/// while its vector is masked: neither is lost.
fn a_doorbell_and_a_masked_interrupt_survive_a_takeover() {
    if kvm().is_none() {
        return;
    }
    let (folder, name) = unique("standby-mask");
    let script = runs().mask(true).vector(70);
    let script = (1..1200).fold(script, |script, number| script.request(number, READ, 2, 512));
    let script = script.bytes(REQUEST[1], b"third").request(1200, WRITE, 1, 512);
    let script = script.mask(false).interrupted(70);
    let script = script.reset().drive(1 << 9).request(0, READ, 1, 512).print(REQUEST[1], 5);
    let mut supervisor = Vm::new(&folder, &name, &script).start(powered_off);
    let all = processes(&name, 4);
    folder.wait_for(b"I run");
    let disk = pid(&all, ProcessKind::Block);
    signal(disk, Signal::STOP);
    std::thread::sleep(Duration::from_millis(100));
    signal(disk, Signal::KILL);
    assert_eq!(supervisor.wait().unwrap(), Exit::Code(GOOD));
    let console = std::fs::read_to_string(folder.0.join("console")).unwrap();
    assert_eq!(console, "third");
}

/// Protects a guest from a process that hangs: it is killed, and its standby goes on.
fn a_disk_that_is_stopped_is_killed_and_taken_over() {
    if kvm().is_none() {
        return;
    }
    let (folder, name) = unique("standby-stopped");
    let script = (1..1200).fold(runs(), |script, number| script.request(number, READ, 2, 512));
    let hung = |end: &End, said: &str| {
        *end == End::Stopped(Stop::PowerOff { status: None })
            && said.contains("its process hung and was killed: it did not answer")
            && said.contains("its standby goes on")
    };
    let mut supervisor = Vm::new(&folder, &name, &script).start(hung);
    let all = processes(&name, 4);
    folder.wait_for(b"I run");
    signal(pid(&all, ProcessKind::Block), Signal::STOP);
    assert_eq!(supervisor.wait().unwrap(), Exit::Code(GOOD));
}

/// A guest that writes, and then waits for ever.
fn waits() -> Script {
    runs().wait_u8(REQUEST[2], 0x77)
}

fn a_process_that_ended_by_its_own_doing_is_not_replaced() {
    if kvm().is_none() {
        return;
    }
    let expected: [(Wrong, Expected); 2] = [
        (Wrong::Call, |end, _| ended(end, &Loss::Died(Some(Exit::Filter)))),
        (Wrong::Jump, |end, _| ended(end, &Loss::Died(Some(Exit::Signal(libc::SIGSEGV))))),
    ];
    for (wrong, expected) in expected {
        let (folder, name) = unique(&format!("standby-{wrong:?}"));
        let script = waits();
        let mut supervisor = Vm::new(&folder, &name, &script).start(expected);
        let all = processes(&name, 4);
        folder.wait_for(b"I run");
        go_wrong(pid(&all, ProcessKind::Block), wrong);
        assert_eq!(supervisor.wait().unwrap(), Exit::Code(GOOD), "{wrong:?}");
    }
}

fn ended(end: &End, why: &Loss) -> bool {
    *end == End::DeviceLost { device: "disk0".into(), why: why.clone() }
}

fn a_second_death_ends_the_vm_and_nothing_is_left() {
    if kvm().is_none() {
        return;
    }
    let (folder, name) = unique("standby-twice");
    let script = waits();
    let twice = |end: &End, said: &str| {
        said.matches("its standby goes on").count() == 1
            && ended(end, &Loss::Died(Some(Exit::Signal(libc::SIGKILL))))
    };
    let mut supervisor = Vm::new(&folder, &name, &script).start(twice);
    let all = processes(&name, 4);
    folder.wait_for(b"I run");
    signal(pid(&all, ProcessKind::Block), Signal::KILL);
    // The dead one is not named any more, and the other is a standby no more.
    let now = processes(&name, 3);
    let kinds: Vec<_> = now.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [ProcessKind::Supervisor, ProcessKind::Vmm, ProcessKind::Block]);
    let second = pid(&now, ProcessKind::Block);
    assert_eq!(second, pid(&all, ProcessKind::BlockStandby));
    signal(second, Signal::KILL);
    assert_eq!(supervisor.wait().unwrap(), Exit::Code(GOOD));
    for (kind, pid) in all.iter().skip(1) {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{kind}");
    }
}

/// Protects a guest from running on without knowing that nobody stands by any more.
fn the_death_of_a_standby_is_told_and_the_disk_goes_on() {
    if kvm().is_none() {
        return;
    }
    let (folder, name) = unique("standby-itself");
    let script = waits();
    let alone = |end: &End, said: &str| {
        said.contains("that was the standby") && !said.contains("its standby goes on") && {
            ended(end, &Loss::Died(Some(Exit::Signal(libc::SIGKILL))))
        }
    };
    let mut supervisor = Vm::new(&folder, &name, &script).start(alone);
    let all = processes(&name, 4);
    folder.wait_for(b"I run");
    signal(pid(&all, ProcessKind::BlockStandby), Signal::KILL);
    let now = processes(&name, 3);
    signal(pid(&now, ProcessKind::Block), Signal::KILL);
    assert_eq!(supervisor.wait().unwrap(), Exit::Code(GOOD));
}

fn a_guest_that_is_kept_is_told_that_its_disk_needs_a_reset() {
    if kvm().is_none() {
        return;
    }
    let (folder, name) = unique("standby-kept");
    // Everything and NEEDS_RESET; then a reset ends, and a driver that tries once more gets a
    // device that needs another.
    let script = runs().wait_u8(STATUS, 0x4f).reset();
    let script = script.drive(1 << 9).wait_u8(STATUS, 0x4f).reset();
    let kept = |end: &End, said: &str| {
        *end == End::Stopped(Stop::PowerOff { status: None })
            && said.contains("the guest goes on without this device")
    };
    let mut vm = Vm::new(&folder, &name, &script).without_standby();
    vm.devices.disk[0].on_device_death = Some(OnDeviceDeath::Keep);
    let mut supervisor = vm.start(kept);
    let all = processes(&name, 3);
    folder.wait_for(b"I run");
    signal(pid(&all, ProcessKind::Block), Signal::KILL);
    assert_eq!(supervisor.wait().unwrap(), Exit::Code(GOOD));
}

/// Of each descriptor of the image that a process has, in their order: whether the lock is on it.
fn images(pid: u32, descriptors: &BTreeMap<u32, String>) -> Vec<bool> {
    let images = descriptors.iter().filter(|(_, what)| what.ends_with("disk.img"));
    let about = images.map(|(fd, _)| std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")));
    about.map(|about| about.unwrap().contains("OFDLCK")).collect()
}

/// Protects the host from a standby that is less locked than what it stands by for, and the image
/// from a second VM while either of them lives.
fn a_standby_is_locked_as_the_disk_is_and_both_hold_the_images_lock() {
    if kvm().is_none() {
        return;
    }
    let (folder, name) = unique("standby-locked");
    let script = waits();
    let killed = |end: &End, _: &str| ended(end, &Loss::Died(Some(Exit::Signal(libc::SIGKILL))));
    let mut supervisor = Vm::new(&folder, &name, &script).start(killed);
    let all = processes(&name, 4);
    folder.wait_for(b"I run");
    let (disk, standby) = (pid(&all, ProcessKind::Block), pid(&all, ProcessKind::BlockStandby));
    let locked = |pid| {
        let told = inspect(pid).unwrap();
        assert_eq!((told.seccomp_mode, told.seccomp_filters), (2, 2), "{told}");
        assert!(told.threads_agree && told.no_new_privs, "{told}");
        assert!(told.capabilities.values().all(|set| *set == 0), "{told}");
        let (descriptors, mut limits) = (told.descriptors.unwrap(), told.limits.unwrap());
        let images = images(pid, &descriptors);
        let files: usize = limits.remove("Max open files").unwrap().parse().unwrap();
        ((told.root, limits, told.uid), [files, descriptors.len()], images)
    };
    let ((has, numbers, disks), (standby_has, more, standbys)) = (locked(disk), locked(standby));
    assert_eq!(has, standby_has);
    assert_eq!(numbers.map(|number| number + 1), more);
    // The one that it uses is an open file of its own, which hears itself of writes that are lost;
    // the one with the lock is behind it.
    assert_eq!((disks, standbys), (vec![true], vec![false, true]));
    // A row for each process, and none is weaker than its profile.
    let casemate = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_casemate")).args(words).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, shown) = casemate(&["sandbox", "show", &name]);
    let rows: Vec<_> = shown.lines().filter_map(|line| line.strip_prefix("== ")).collect();
    assert_eq!((status, rows), (Some(0), vec!["supervisor", "vmm", "block", "block-standby"]));
    let (status, checked) = casemate(&["sandbox", "check", &name]);
    let good = checked.lines().filter(|line| line.ends_with("as locked as its profile says"));
    assert_eq!((status, good.count()), (Some(0), 4), "{checked}");
    let options = casemate_device_block::Options::default();
    let open = || casemate_device_block::Image::open(&folder.0.join("disk.img"), &options);
    assert!(open().is_err_and(|e| e.to_string().contains("in use by another VM")));
    signal(disk, Signal::KILL);
    let now = processes(&name, 3);
    assert!(open().is_err_and(|e| e.to_string().contains("in use by another VM")));
    signal(pid(&now, ProcessKind::Block), Signal::KILL);
    assert_eq!(supervisor.wait().unwrap(), Exit::Code(GOOD));
    open().unwrap();
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        a_disk_that_is_killed_under_load_goes_on_without_an_error,
        a_doorbell_and_a_masked_interrupt_survive_a_takeover,
        a_disk_that_is_stopped_is_killed_and_taken_over,
        a_process_that_ended_by_its_own_doing_is_not_replaced,
        a_second_death_ends_the_vm_and_nothing_is_left,
        the_death_of_a_standby_is_told_and_the_disk_goes_on,
        a_guest_that_is_kept_is_told_that_its_disk_needs_a_reset,
        a_standby_is_locked_as_the_disk_is_and_both_hold_the_images_lock,
    ])
}
