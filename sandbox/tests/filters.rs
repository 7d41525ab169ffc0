//! Filters: what profiles allow and forbid, what is read back from the kernel, which rules a
//! process used.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_sandbox::{
    Action, Exit, FdSlot, FdTable, Layers, NARROW, Observer, Pin, Profile, Rule, SandboxError,
    Setup, freeze_heap, inspect, sys,
};
use casemate_test_support::memory::{Mapping, MemoryFile};
use casemate_test_support::sandbox::{confined, drain, pipe};
use rustix::io::{read, write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};

const WAIT: FdSlot = FdSlot("wait");
const TELL: FdSlot = FdSlot("tell");

const WAITING: Profile = Profile {
    name: "waiting",
    rules: &[
        Rule::new(sys("read"), &[Pin::Fd(0, WAIT)], "waits for the test"),
        Rule::new(sys("exit_group"), &[], "ends"),
    ],
};

/// Locks with `profile`, then runs `act` with the end of a pipe to read and of one to write.
fn locked(profile: Profile, act: impl FnOnce(&OwnedFd, &OwnedFd)) -> Exit {
    let ((wait, go), (told, tell)) = (pipe(), pipe());
    write(&go, &[1; 8]).unwrap();
    let mut child = confined(Layers::new("test").keep(&wait).keep(&tell), |setup| {
        let fds = FdTable::new().with(WAIT, &wait).with(TELL, &tell);
        let _locked = setup.lock(&profile, &fds, Action::Kill).unwrap();
        act(&wait, &tell);
        0
    });
    child.confined().unwrap();
    let exit = child.wait().unwrap();
    drop((told, go));
    exit
}

/// Whether the call succeeds does not matter, only whether it is allowed.
fn ignore<T>(_: rustix::io::Result<T>) {}

fn pinned_descriptor_is_allowed_and_another_is_not() {
    assert_eq!(locked(WAITING, |wait, _| ignore(read(wait, &mut [0_u8]))), Exit::Code(0));
    assert_eq!(locked(WAITING, |_, tell| ignore(read(tell, &mut [0_u8]))), Exit::Filter);
}

fn pinned_values_and_bits_are_compared() {
    const PROFILE: Profile = Profile {
        name: "values",
        rules: &[
            Rule::new(sys("read"), &[Pin::Fd(0, WAIT), Pin::Long(2, 2)], "two bytes"),
            Rule::new(sys("write"), &[Pin::Fd(0, TELL), Pin::Bits(2, 0xc, 0x4)], "4 to 7 bytes"),
            Rule::new(sys("ioctl"), &[Pin::IntIn(1, &[0x541b, 0x5401])], "FIONREAD, TCGETS"),
            Rule::new(sys("exit_group"), &[], "ends"),
        ],
    };
    assert_eq!(locked(PROFILE, |wait, _| ignore(read(wait, &mut [0_u8; 2]))), Exit::Code(0));
    assert_eq!(locked(PROFILE, |wait, _| ignore(read(wait, &mut [0_u8; 3]))), Exit::Filter);
    assert_eq!(locked(PROFILE, |_, tell| ignore(write(tell, &[0; 5]))), Exit::Code(0));
    assert_eq!(locked(PROFILE, |_, tell| ignore(write(tell, &[0; 8]))), Exit::Filter);
    let available = |wait: &OwnedFd| rustix::io::ioctl_fionread(wait).unwrap();
    assert_eq!(locked(PROFILE, |wait, _| assert_eq!(available(wait), 8)), Exit::Code(0));
    assert_eq!(locked(PROFILE, |wait, _| ignore(rustix::io::ioctl_fioclex(wait))), Exit::Filter);
}

fn filter_binds_threads_that_were_made_before() {
    let (wait, go) = pipe();
    let layers = Layers::new("test").keep(&wait).keep(&go);
    let mut child = confined(layers, |setup| {
        std::thread::spawn(move || {
            let _ = read(&wait, &mut [0_u8]);
            // Not allowed: the pipe's descriptor is in no slot for it.
            let _ = rustix::process::getppid();
            let _ = rustix::fs::access("/", rustix::fs::Access::EXISTS);
        });
        const PROFILE: Profile = Profile {
            name: "threads",
            rules: &[
                Rule::new(sys("write"), &[], "wakes the thread"),
                Rule::new(sys("read"), &[], "waits"),
                Rule::new(sys("futex"), &[], "parks"),
            ],
        };
        let _locked = setup.lock(&PROFILE, &FdTable::new(), Action::Kill).unwrap();
        write(&go, &[1]).unwrap();
        loop {
            std::thread::park();
        }
    });
    child.confined().unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Filter);
}

fn narrowed_process_keeps_only_what_both_profiles_allow() {
    const SET_UP: Profile = Profile {
        name: "set-up",
        rules: &[
            NARROW,
            Rule::new(sys("getppid"), &[], "set-up only"),
            Rule::new(sys("exit_group"), &[], "ends"),
        ],
    };
    let run = |narrow: bool| {
        let mut child = confined(Layers::new("test"), |setup| {
            let fds = FdTable::new();
            let locked = setup.lock(&SET_UP, &fds, Action::Kill).unwrap();
            let _ = rustix::process::getppid();
            if narrow {
                let _locked = locked
                    .narrow(&casemate_test_support::sandbox::MINIMAL, &fds, Action::Kill)
                    .unwrap();
                let _ = rustix::process::getppid();
            }
            0
        });
        child.confined().unwrap();
        child.wait().unwrap()
    };
    assert_eq!(run(false), Exit::Code(0));
    assert_eq!(run(true), Exit::Filter);
}

fn wrong_profiles_are_refused() {
    const VOID: Profile = Profile {
        name: "void",
        rules: &[
            Rule::new(sys("read"), &[Pin::Int(0, 1)], "pinned"),
            Rule::new(sys("read"), &[], "free, which makes the pin void"),
        ],
    };
    const SILENT: Profile = Profile { name: "silent", rules: &[Rule::new(sys("read"), &[], "")] };
    for (profile, fds) in
        [(VOID, FdTable::new()), (SILENT, FdTable::new()), (WAITING, FdTable::new())]
    {
        let error = profile.program(&fds, Action::Kill).unwrap_err();
        assert!(matches!(error, SandboxError::Profile { .. }), "{error}");
    }
}

fn frozen_heap_grows_by_no_system_call() {
    const PROFILE: Profile = Profile {
        name: "heap",
        rules: &[
            Rule::new(sys("exit_group"), &[], "ends"),
            Rule::new(sys("futex"), &[], "joins threads"),
            Rule::new(sys("sched_yield"), &[], "spins"),
        ],
    };
    let run = |bytes: usize| {
        let mut child = confined(Layers::new("test"), |setup| {
            freeze_heap(8 << 20).unwrap();
            let _locked = setup.lock(&PROFILE, &FdTable::new(), Action::Kill).unwrap();
            for _ in 0..100 {
                let mut blocks: Vec<Vec<u8>> = Vec::new();
                for _ in 0..10 {
                    blocks.push(std::hint::black_box(vec![1; bytes / 10]));
                }
            }
            0
        });
        child.confined().unwrap();
        child.wait().unwrap()
    };
    assert_eq!(run(7 << 20), Exit::Code(0));
    assert_eq!(run(64 << 20), Exit::Filter);
}

fn what_is_in_force_is_read_back_from_the_kernel() {
    let (wait, go) = pipe();
    let (told, tell) = pipe();
    let fds = FdTable::new().with(WAIT, &wait).with(TELL, &tell);
    let mut child = confined(Layers::new("test").keep(&wait).keep(&tell), |setup| {
        let _locked = setup.lock(&WAITING, &fds, Action::Kill).unwrap();
        let _ = read(&wait, &mut [0_u8]);
        0
    });
    child.confined().unwrap();
    let mut in_force = inspect(child.pid()).unwrap();
    while in_force.seccomp_filters == 0 {
        std::thread::yield_now();
        in_force = inspect(child.pid()).unwrap();
    }
    assert_eq!((in_force.seccomp_mode, in_force.seccomp_filters), (2, 1));
    assert!(in_force.threads_agree && in_force.no_new_privs);
    assert!(in_force.capabilities.len() == 5, "{in_force}");
    assert!(in_force.capabilities.values().all(|set| *set == 0), "{in_force}");
    let namespaces = in_force.namespaces.clone().unwrap();
    assert!(namespaces.iter().all(|(name, own)| *own == (*name != "net")), "{namespaces:?}");
    assert_eq!(in_force.root.as_deref(), Some(&[][..]));
    assert_eq!(in_force.descriptors.as_ref().unwrap().len(), 5);
    assert_eq!(in_force.limits.as_ref().unwrap()["Max core file size"], "0");
    let filters = in_force.filters.as_ref().unwrap();
    assert!(filters[0].is(&WAITING.program(&fds, Action::Kill).unwrap()));
    assert!(!filters[0].is(&WAITING.program(&fds, Action::Log).unwrap()));
    assert_eq!(filters[0].actions(), ["allow", "kill process"]);
    // It goes on afterwards.
    drop(go);
    assert_eq!(child.wait().unwrap(), Exit::Code(0));
    drop((tell, told));
}

fn unused_rule_is_found_out() {
    const PROFILE: Profile = Profile {
        name: "generous",
        rules: &[
            Rule::new(sys("read"), &[Pin::Fd(0, WAIT)], "used"),
            Rule::new(sys("read"), &[Pin::Fd(0, TELL)], "not used"),
            Rule::new(sys("getppid"), &[], "used by a thread"),
            Rule::new(sys("socket"), &[], "not used"),
            Rule::new(sys("futex"), &[], "used"),
            Rule::new(sys("exit_group"), &[], "used"),
        ],
    };
    let ((wait, go), (told, tell)) = (pipe(), pipe());
    let fds = FdTable::new().with(WAIT, &wait).with(TELL, &tell);
    let layers = Layers::new("test").keep(&wait).keep(&tell);
    let mut child = confined(layers, |setup: Setup| {
        let _ = read(&wait, &mut [0_u8]);
        let barrier = Arc::new(Barrier::new(2));
        let theirs = barrier.clone();
        std::thread::spawn(move || {
            theirs.wait();
            theirs.wait();
            let _ = rustix::process::getppid();
            theirs.wait();
            loop {
                std::thread::park();
            }
        });
        // Once the thread has started: its own set-up makes other calls.
        barrier.wait();
        if setup.lock(&PROFILE, &fds, Action::Kill).is_err() {
            return 1;
        }
        barrier.wait();
        barrier.wait();
        let _ = read(&wait, &mut [0_u8]);
        0
    });
    child.confined().unwrap();
    let observer = Observer::attach(&child).unwrap();
    write(&go, &[1]).unwrap();
    write(&go, &[1]).unwrap();
    let observed = observer.finish().unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(0));
    let usage = observed.usage(1, &PROFILE, Some(&fds)).unwrap();
    assert_eq!(
        usage.unused,
        [1, 3],
        "{:?}",
        observed.calls(1).map(ToString::to_string).collect::<Vec<_>>()
    );
    assert!(usage.refused.is_empty(), "{usage:?}");
    // Without the descriptors, the two pins cannot be told apart.
    assert_eq!(observed.usage(1, &PROFILE, None).unwrap().unused, [3]);
    drop(tell);
    assert_eq!(drain(told), "");
}

fn fatal_call_is_observed_and_its_end_reported_to_the_parent() {
    let (wait, go) = pipe();
    let mut child = confined(Layers::new("test").keep(&wait), |setup| {
        let _ = read(&wait, &mut [0_u8]);
        let fds = FdTable::new().with(WAIT, &wait);
        let _locked = setup.lock(&WAITING, &fds, Action::Kill).unwrap();
        let _ = rustix::process::getppid();
        0
    });
    child.confined().unwrap();
    let observer = Observer::attach(&child).unwrap();
    write(&go, &[1]).unwrap();
    let usage = observer.finish().unwrap().usage(1, &WAITING, None).unwrap();
    let refused: Vec<_> = usage.refused.iter().map(|call| call.number).collect();
    assert_eq!(refused, [libc::SYS_getppid]);
    assert_eq!(child.wait().unwrap(), Exit::Filter);
}

/// Protects who watches a process from one that faults: it is PID 1 of its namespace, which no
/// signal of a tracer's ends. Cannot tell of a fault in a thread beside others.
fn a_process_that_faults_under_observation_ends_by_its_fault() {
    let (wait, go) = pipe();
    let file = MemoryFile::new(1);
    let mapping = Mapping::of(&file.0, 1);
    let mut child = confined(Layers::new("test").keep(&wait), |_| {
        // The first read may have begun before anybody watched, and end without being seen.
        let _ = read(&wait, &mut [0_u8]);
        let _ = read(&wait, &mut [0_u8]);
        mapping.load(0).into()
    });
    child.confined().unwrap();
    // Behind the end of a file that has become shorter is no page: SIGBUS (mmap(2)).
    rustix::fs::ftruncate(&file.0, 0).unwrap();
    let observer = Observer::attach(&child).unwrap();
    write(&go, &[1, 1]).unwrap();
    let observed = observer.finish().unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Signal(libc::SIGBUS));
    assert!(observed.calls(0).any(|call| call.number == libc::SYS_read));
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        pinned_descriptor_is_allowed_and_another_is_not,
        pinned_values_and_bits_are_compared,
        filter_binds_threads_that_were_made_before,
        narrowed_process_keeps_only_what_both_profiles_allow,
        wrong_profiles_are_refused,
        frozen_heap_grows_by_no_system_call,
        what_is_in_force_is_read_back_from_the_kernel,
        unused_rule_is_found_out,
        fatal_call_is_observed_and_its_end_reported_to_the_parent,
        a_process_that_faults_under_observation_ends_by_its_fault,
    ])
}
