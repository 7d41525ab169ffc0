//! The memory fence: a process behind one reaches the pages of a memory file that somebody else
//! has touched, and makes the host hold no other. Each row is what a process may do to a hole,
//! without a fence (else these tests could not tell) and with one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_sandbox::{
    Action, Exit, FdSlot, FdTable, Layer, Layers, Pin, Profile, Rule, Setup, UFFDIO_REGISTER,
    inspect, sys,
};
use casemate_test_support::memory::{Mapping, MemoryFile};
use casemate_test_support::sandbox::{as_ordinary_user, confined, pipe};
use rustix::io::Errno;
use std::fs::File;
use std::process::ExitCode;

const PAGES: usize = 4096;
/// A page that "the guest", the test, has touched.
const SHARED: usize = 5;
const HOLE: usize = 6;

/// A memory file with one page that is there.
fn memory() -> (MemoryFile, Mapping) {
    let file = MemoryFile::new(PAGES);
    let guest = Mapping::of(&file.0, PAGES);
    guest.store(SHARED, 42);
    assert_eq!(file.held(), 1);
    (file, guest)
}

fn fenced_layers() -> Layers {
    Layers::new("device").with(Layer::MemoryFence)
}

/// Runs `inside` in a process that maps the memory, behind a fence where its layers say so, and
/// gives how it ended and how many pages there are then.
fn device(
    layers: Layers,
    memory: &MemoryFile,
    inside: impl FnOnce(Setup, &Mapping) -> i32,
) -> (Exit, usize) {
    let zeros = File::open("/dev/zero").unwrap();
    let layers = layers.keep(&memory.0).keep(&zeros).keep(&std::io::stderr());
    let mut child = confined(layers, |setup| {
        let mapping = Mapping::of(&memory.0, PAGES);
        let fence = setup.fence().unwrap();
        fence.cover(mapping.start, mapping.size()).unwrap();
        inside(setup, &mapping)
    });
    child.confined().unwrap();
    let exit = child.wait().unwrap();
    (exit, memory.held())
}

fn bus() -> Exit {
    Exit::Signal(libc::SIGBUS)
}

fn a_hole_that_is_touched_is_sigbus_behind_a_fence_and_a_page_of_the_host_without() {
    type Touch = fn(&Mapping) -> u8;
    let touches: [(&str, Touch); 2] = [
        ("load", |mapping| mapping.load(HOLE)),
        ("store", |mapping| {
            mapping.store(HOLE, 1);
            0
        }),
    ];
    for (name, touch) in touches {
        let (file, _guest) = memory();
        let plain = device(Layers::new("device"), &file, |_, mapping| touch(mapping).into());
        assert_eq!(plain, (Exit::Code(0), 2), "{name}");
        let (file, _guest) = memory();
        let fenced = device(fenced_layers(), &file, |_, mapping| touch(mapping).into());
        assert_eq!(fenced, (bus(), 1), "{name}");
    }
}

/// Also protects a device from its guest: what the kernel does for it to a page that is gone is an
/// error that it can answer, not its end.
fn a_system_call_on_a_hole_is_an_error_behind_a_fence_and_a_page_of_the_host_without() {
    let calls = |mapping: &Mapping| {
        let (zeros, (_read, write)) = (File::open("/dev/zero").unwrap(), pipe());
        (mapping.pread_into(HOLE, &zeros), mapping.writev_from(HOLE + 1, &write))
    };
    let all = Layers::new("device").without(Layer::EmptyRoot).without(Layer::Landlock);
    let all = all.without(Layer::LandlockScopes);
    let (file, _guest) = memory();
    let plain =
        device(all.clone(), &file, |_, mapping| i32::from(calls(mapping) != (Ok(4096), Ok(4096))));
    assert_eq!(plain, (Exit::Code(0), 3));
    let (file, _guest) = memory();
    let fenced = device(all.with(Layer::MemoryFence), &file, |_, mapping| {
        i32::from(calls(mapping) != (Err(Errno::FAULT), Err(Errno::FAULT)))
    });
    assert_eq!(fenced, (Exit::Code(0), 1));
}

fn pages_that_the_guest_has_touched_work_behind_a_fence() {
    let (file, guest) = memory();
    let all = fenced_layers().without(Layer::EmptyRoot).without(Layer::Landlock);
    let (exit, held) = device(all.without(Layer::LandlockScopes), &file, |_, mapping| {
        let (zeros, (_read, write)) = (File::open("/dev/zero").unwrap(), pipe());
        assert_eq!(mapping.load(SHARED), 42);
        assert_eq!(mapping.writev_from(SHARED, &write), Ok(4096));
        assert_eq!(mapping.pread_into(SHARED, &zeros), Ok(4096));
        mapping.store(SHARED, 43);
        0
    });
    assert_eq!((exit, held, guest.load(SHARED)), (Exit::Code(0), 1, 43));
}

fn a_page_that_the_guest_takes_back_is_fenced_again() {
    let (file, _guest) = memory();
    let outcome = device(fenced_layers(), &file, |_, mapping| {
        // Mapped into the process's page table first: punching takes it out there, too.
        assert_eq!(mapping.load(SHARED), 42);
        file.punch(SHARED, 1);
        mapping.load(SHARED).into()
    });
    assert_eq!(outcome, (bus(), 0));
}

fn who_touches_every_page_gets_one_and_makes_the_host_hold_no_other() {
    let (file, _guest) = memory();
    let (exit, held) = device(fenced_layers(), &file, |_, mapping| {
        i32::from(mapping.store_to_every_page() != PAGES - 1)
    });
    assert_eq!((exit, held), (Exit::Code(0), 1));
    let (exit, held) = device(Layers::new("device"), &file, |_, mapping| {
        i32::from(mapping.store_to_every_page() != 0)
    });
    assert_eq!((exit, held), (Exit::Code(0), PAGES), "else this could not tell");
}

fn an_ordinary_user_has_a_fence_too() {
    let exit = as_ordinary_user(|| {
        let (file, _guest) = memory();
        let fenced = device(fenced_layers(), &file, |_, mapping| mapping.load(HOLE).into());
        assert_eq!(fenced, (bus(), 1));
        0
    });
    assert_eq!(exit, Exit::Code(0));
}

/// Protects against a fence that quietly rests on another layer.
fn a_fence_holds_whichever_other_layer_is_left_out() {
    for layer in Layer::ALL.into_iter().filter(|layer| *layer != Layer::MemoryFence) {
        let (file, _guest) = memory();
        let layers = fenced_layers().without(layer);
        // What stands on it goes with it.
        let stands = |other| std::iter::successors(Some(other), |l: &Layer| l.stands_on());
        let gone = Layer::ALL.into_iter().filter(|other| stands(*other).any(|l| l == layer));
        let layers = gone.fold(layers, Layers::without);
        let outcome = device(layers, &file, |_, mapping| mapping.load(HOLE).into());
        assert_eq!(outcome, (bus(), 1), "without {layer}");
    }
}

const WAIT: FdSlot = FdSlot("wait");
const FENCE: FdSlot = FdSlot("fence");
const COVERS: Profile = Profile {
    name: "covers memory",
    rules: &[
        Rule::new(
            sys("ioctl"),
            &[Pin::Fd(0, FENCE), Pin::Int(1, UFFDIO_REGISTER)],
            "fences memory that comes",
        ),
        Rule::new(sys("mmap"), &[], "maps it"),
        Rule::new(sys("read"), &[Pin::Fd(0, WAIT)], "waits for the test"),
        Rule::new(sys("exit_group"), &[], "ends"),
    ],
};

/// Protects what `sandbox show` says of a device, and the order in which one comes to its memory:
/// the fence is made before the first filter, and covers what is mapped under it.
fn a_fence_that_covers_memory_under_a_filter_is_told_by_the_kernel() {
    const SIZE: u64 = PAGES as u64 * 4096;
    for (covered, expected) in [(true, (SIZE, 0)), (false, (0, SIZE))] {
        let file = MemoryFile::new(PAGES);
        let (wait, go) = pipe();
        let layers = fenced_layers().keep(&file.0).keep(&wait);
        let mut child = confined(layers, |setup| {
            let fence = setup.fence().unwrap();
            let fds = FdTable::new().with(WAIT, &wait).with_raw(FENCE, fence.descriptor());
            setup.lock(&COVERS, &fds, Action::Kill).unwrap();
            let mapping = Mapping::of(&file.0, PAGES);
            if covered {
                fence.cover(mapping.start, mapping.size()).unwrap();
            }
            let _ = rustix::io::read(&wait, &mut [0_u8]);
            casemate_sandbox::exit(0)
        });
        child.confined().unwrap();
        let seen = loop {
            let seen = inspect(child.pid()).unwrap().fence.unwrap();
            if seen.fenced + seen.unfenced > 0 && (seen.fenced > 0 || !covered) {
                break seen;
            }
            std::thread::yield_now();
        };
        let sizes = (seen.fenced, seen.unfenced);
        assert_eq!((sizes, seen.sigbus, seen.is_whole()), (expected, true, covered), "{seen}");
        drop(go);
        assert_eq!(child.wait().unwrap(), Exit::Code(0));
    }
}

fn memory_that_cannot_be_fenced_is_an_error() {
    let (file, _guest) = memory();
    let (exit, _) = device(fenced_layers(), &file, |setup, mapping| {
        let other = setup.fence().unwrap();
        // Another's already, not a multiple of the page size, no mapping.
        assert!(other.cover(mapping.start, mapping.size()).is_err());
        assert!(other.cover(mapping.start + 1, 4096).is_err());
        assert!(other.cover(0x1000, 4096).is_err());
        0
    });
    assert_eq!(exit, Exit::Code(0));
}

/// Stands for a host that forbids userfaultfd, as containers do.
fn a_fence_that_cannot_be_had_is_an_error_unless_it_is_optional_and_then_it_is_said() {
    let forbidden = |layers: Layers, check: fn(&mut casemate_sandbox::Child)| {
        let none = Layer::ALL.into_iter().fold(Layers::new("host"), Layers::without);
        let mut host = casemate_sandbox::spawn(none, |_born| {
            rustix::thread::set_no_new_privs(true).unwrap();
            forbid(libc::SYS_userfaultfd);
            let mut child = confined(layers, |setup| {
                i32::from(setup.fence().is_ok_and(|fence| fence.is_in_force()))
            });
            check(&mut child);
            0
        })
        .unwrap();
        assert_eq!(host.wait().unwrap(), Exit::Code(0));
    };
    forbidden(fenced_layers(), |child| {
        let error = child.confined().unwrap_err().to_string();
        assert!(error.contains("memory-fence") && error.contains("userfaultfd"), "{error}");
    });
    forbidden(fenced_layers().may_lack(Layer::MemoryFence), |child| {
        let report = child.confined().unwrap();
        let missing: Vec<_> = report.missing().map(|(layer, _)| layer).collect();
        assert_eq!(missing, [Layer::MemoryFence], "{report}");
        assert_eq!(child.wait().unwrap(), Exit::Code(0));
    });
}

/// Makes a system call fail with EPERM from here on.
fn forbid(number: i64) {
    use seccompiler::{SeccompAction, SeccompFilter, TargetArch};
    use std::collections::BTreeMap;
    let rules = BTreeMap::from([(number, Vec::new())]);
    let (allow, deny) = (SeccompAction::Allow, SeccompAction::Errno(libc::EPERM.cast_unsigned()));
    let filter = SeccompFilter::new(rules, allow, deny, TargetArch::x86_64).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        a_hole_that_is_touched_is_sigbus_behind_a_fence_and_a_page_of_the_host_without,
        a_system_call_on_a_hole_is_an_error_behind_a_fence_and_a_page_of_the_host_without,
        pages_that_the_guest_has_touched_work_behind_a_fence,
        a_page_that_the_guest_takes_back_is_fenced_again,
        who_touches_every_page_gets_one_and_makes_the_host_hold_no_other,
        an_ordinary_user_has_a_fence_too,
        a_fence_holds_whichever_other_layer_is_left_out,
        a_fence_that_covers_memory_under_a_filter_is_told_by_the_kernel,
        memory_that_cannot_be_fenced_is_an_error,
        a_fence_that_cannot_be_had_is_an_error_unless_it_is_optional_and_then_it_is_said,
    ])
}
