//! Protects the lock from its own compiler: the filter of every kind of process allows exactly what
//! its profile declares. Each profile is compiled as in a process, the program is run by an
//! interpreter over every system call number, of x86-64, of its x32 numbers and of i386, and over
//! the corners of every argument that a rule pins; what is declared is worked out here, by an
//! evaluation of its own. Cannot tell whether a profile declares too much (the tests of least
//! privilege do), nor what the kernel does with a call that is allowed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a test; registers are what is compared"
)]

use casemate_device_backend::profile as frame;
use casemate_device_block::profile as block;
use casemate_device_process::{DeviceKind, MAX_QUEUES};
use casemate_hypervisor::config::MAX_VCPUS;
use casemate_hypervisor::vm::kind::ProcessKind;
use casemate_hypervisor::vm::profile;
use casemate_hypervisor::vm::virtio::MAX_DEVICES;
use casemate_sandbox::{Action, FdSlot, FdTable, Pin, Profile};
use casemate_test_support::bpf::{I386, X32, X86_64, answer};
use std::collections::{BTreeMap, BTreeSet};

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
/// Above the last number of any architecture that the kernel has.
const NUMBERS: u32 = 1024;

/// Two descriptors for each slot that a profile names, no two the same.
fn descriptors(profile: &Profile) -> BTreeMap<FdSlot, [i32; 2]> {
    let pins = profile.rules.iter().flat_map(|rule| rule.pins);
    let slots: BTreeSet<FdSlot> = pins.filter_map(|pin| slot(*pin)).collect();
    slots.into_iter().zip((0..).map(|i| [3 + 7 * i, 5 + 7 * i])).collect()
}

fn slot(pin: Pin) -> Option<FdSlot> {
    match pin {
        Pin::Fd(_, slot) | Pin::FdFrom(_, slot) => Some(slot),
        Pin::Int(..) | Pin::IntIn(..) | Pin::Long(..) | Pin::Bits(..) | Pin::OwnPid(_) => None,
    }
}

fn lowest(fds: &[i32; 2]) -> u32 {
    *fds.iter().min().unwrap() as u32
}

/// Every profile: that of each kind of process, those that a device has before, and for others, and
/// those of a key broker.
fn profiles() -> Vec<&'static Profile> {
    let kinds = ProcessKind::ALL.into_iter().map(ProcessKind::profile);
    let devices = DeviceKind::ALL.into_iter().map(DeviceKind::description);
    let devices = devices.flat_map(|device| [device.set_up, device.foreign]);
    // Not of a VM, and locked by the same compiler.
    use casemate_front::profile::FRONT;
    use casemate_keeper::profile::{KEEPER, SUPERVISOR};
    let brokers = [&FRONT, &KEEPER, &SUPERVISOR];
    kinds.chain(devices).chain(brokers).collect()
}

/// Protects the largest VM: its filter names every descriptor, and the kernel takes no program of
/// more than 4096 instructions (BPF_MAXINSNS).
#[test]
fn the_filter_of_the_largest_vm_is_one_that_the_kernel_takes() {
    let (devices, queues) = (MAX_DEVICES as i32, i32::from(MAX_QUEUES));
    let counts = [
        (profile::VCPUS, MAX_VCPUS as i32),
        // A doorbell and an interrupt line a queue, a line for the configuration.
        (profile::SIGNALS, 6 + devices * (2 * queues + 1)),
        (profile::EVENTS, 4 + devices),
        (profile::DEVICES, devices),
        (profile::FOREIGN, devices),
        (profile::SOCKETS, 2),
        (profile::ROUTING, 1),
        (profile::VM, 1),
        (profile::MEMORY, 4),
    ];
    let mut fds = FdTable::new();
    for (slot, count) in counts {
        fds = fds.with_raw(slot, 100..100 + count);
    }
    let program = profile::VMM_SNP.program(&fds, Action::Kill).unwrap();
    assert!((1000..=4096).contains(&program.len()), "{}", program.len());
    let session = [(frame::EVENTS, 4 * queues), (frame::SOCKET, 1), (block::IMAGE, 1)];
    let mut fds = FdTable::new().with_raw(frame::CONTROL, [9]).with_raw(frame::FENCE, [8]);
    for (slot, count) in session {
        fds = fds.with_raw(slot, 100..100 + count);
    }
    let program = block::STEADY.program(&fds, Action::Kill).unwrap();
    assert!((100..=4096).contains(&program.len()), "{}", program.len());
}

/// The argument that a pin is about, and values of it that the pin admits.
fn admitted(pin: Pin, fds: &BTreeMap<FdSlot, [i32; 2]>) -> (usize, Vec<u64>) {
    let (arg, values) = match pin {
        Pin::Fd(arg, slot) => (arg, fds[&slot].iter().map(|fd| *fd as u64).collect()),
        Pin::FdFrom(arg, slot) => (arg, vec![lowest(&fds[&slot]).into(), i32::MAX as u64]),
        Pin::Int(arg, value) => (arg, vec![value.into()]),
        Pin::IntIn(arg, values) => (arg, values.iter().map(|value| u64::from(*value)).collect()),
        Pin::Long(arg, value) | Pin::Bits(arg, _, value) => (arg, vec![value]),
        Pin::OwnPid(arg) => (arg, vec![std::process::id().into()]),
    };
    (usize::from(arg), values)
}

/// Whether an argument meets a pin, by the words of [`Pin`]'s documentation.
fn meets(pin: Pin, args: &[u64; 6], fds: &BTreeMap<FdSlot, [i32; 2]>) -> bool {
    let low = |arg: u8| args[usize::from(arg)] as u32;
    match pin {
        Pin::Fd(arg, slot) => fds[&slot].iter().any(|fd| *fd as u32 == low(arg)),
        Pin::FdFrom(arg, slot) => low(arg) >= lowest(&fds[&slot]),
        Pin::Int(arg, value) => low(arg) == value,
        Pin::IntIn(arg, values) => values.contains(&low(arg)),
        Pin::Long(arg, value) => args[usize::from(arg)] == value,
        Pin::Bits(arg, mask, value) => args[usize::from(arg)] & mask == value & mask,
        Pin::OwnPid(arg) => low(arg) == std::process::id(),
    }
}

/// A value's neighbours, of every kind that a comparison could confuse with it: one more, one less,
/// each bit changed, the same in the lower half only, its sign extended.
fn corners(value: u64) -> Vec<u64> {
    let mut all = vec![value, value.wrapping_add(1), value.wrapping_sub(1), !value, 0, 1, u64::MAX];
    all.extend((0..64).map(|bit| value ^ 1 << bit));
    all.push(value as u32 as i32 as i64 as u64);
    all.extend([1 << 31, 1 << 32, 1 << 63, u64::from(u32::MAX), i64::MAX as u64]);
    all
}

/// Argument lists for one rule: those that it admits, and each of them with one pinned argument
/// moved to each corner; the arguments without a pin are zeros, then ones.
fn lists(pins: &[Pin], fds: &BTreeMap<FdSlot, [i32; 2]>) -> Vec<[u64; 6]> {
    let mut bases = vec![[0; 6], [u64::MAX; 6]];
    for pin in pins {
        let (arg, values) = admitted(*pin, fds);
        let with = |base: &[u64; 6], value: u64| {
            let mut list = *base;
            // A mask leaves the other bits as they are.
            list[arg] = match *pin {
                Pin::Bits(_, mask, _) => list[arg] & !mask | value & mask,
                _ => value,
            };
            list
        };
        bases = bases.iter().flat_map(|base| values.iter().map(move |v| with(base, *v))).collect();
    }
    let mut all = bases.clone();
    for pin in pins {
        let (arg, values) = admitted(*pin, fds);
        for (base, value) in bases.iter().flat_map(|b| values.iter().map(move |v| (b, *v))) {
            all.extend(corners(value).into_iter().map(|corner| {
                let mut list = *base;
                list[arg] = corner;
                list
            }));
        }
    }
    all
}

#[test]
fn the_filter_of_every_kind_of_process_allows_what_its_profile_declares_and_nothing_else() {
    let mut asked = 0_u64;
    for profile in profiles() {
        let kind = profile.name;
        let fds = descriptors(profile);
        let table = fds
            .iter()
            .fold(FdTable::new(), |table, (slot, fds)| table.with_raw(*slot, fds.iter().copied()));
        let program = profile.program(&table, Action::Kill).unwrap();
        for number in 0..NUMBERS {
            let rules: Vec<_> = profile
                .rules
                .iter()
                .filter(|rule| rule.syscall.number() == i64::from(number))
                .collect();
            let declared = |args: &[u64; 6]| {
                rules.iter().any(|rule| rule.pins.iter().all(|pin| meets(*pin, args, &fds)))
            };
            let mut all = lists(&[], &fds);
            all.extend(rules.iter().flat_map(|rule| lists(rule.pins, &fds)));
            for args in all {
                let expected = if declared(&args) { ALLOW } else { KILL_PROCESS };
                let found = answer(&program, X86_64, number, &args);
                assert_eq!(found, expected, "{kind}: call {number} with {args:x?}");
                for (arch, number) in [(X86_64, number | X32), (I386, number)] {
                    let found = answer(&program, arch, number, &args);
                    assert_eq!(found, KILL_PROCESS, "{kind}: call {number} of {arch:#x}");
                }
                asked += 3;
            }
        }
        for number in [u32::MAX, 1 << 31, X32 - 1, NUMBERS << 8] {
            assert_eq!(answer(&program, X86_64, number, &[0; 6]), KILL_PROCESS, "{kind}: {number}");
        }
        // An architecture that nobody has heard of, and none.
        for arch in [0, u32::MAX, X86_64 ^ 0x8000_0000] {
            assert_eq!(answer(&program, arch, 231, &[0; 6]), KILL_PROCESS, "{kind}: {arch:#x}");
        }
    }
    println!("{asked} calls asked");
}

/// Without a descriptor in it, a slot forbids the call: where nothing is there to be used, nothing
/// that comes later may be.
#[test]
fn a_call_whose_slot_is_empty_is_not_allowed_with_any_descriptor() {
    for profile in profiles() {
        let kind = profile.name;
        let empty = descriptors(profile)
            .keys()
            .fold(FdTable::new(), |table, slot| table.with_raw(*slot, []));
        let program = profile.program(&empty, Action::Kill).unwrap();
        let by_slot = profile.rules.iter().filter(|r| r.pins.iter().any(|p| slot(*p).is_some()));
        for rule in by_slot {
            let others = profile.rules.iter().any(|other| {
                other.syscall == rule.syscall && other.pins.iter().all(|p| slot(*p).is_none())
            });
            if others {
                continue;
            }
            let number = u32::try_from(rule.syscall.number()).unwrap();
            for fd in (0..64).chain([u64::MAX, 1 << 31, 1 << 32]) {
                let found = answer(&program, X86_64, number, &[fd; 6]);
                assert_eq!(found, KILL_PROCESS, "{kind}: {} of {fd}", rule.syscall);
            }
        }
    }
}
