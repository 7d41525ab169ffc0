//! Protects the supervisor from a process that a guest has taken over: what it says without end
//! costs a bounded memory, and what cannot be true ends the VM. Cannot tell how the processes end:
//! there are none here, see `casemate/tests`.

use super::*;
use crate::exits::Stop;
use casemate_values::Guest;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

const KIND: ProcessKind = ProcessKind::Vmm;

/// A VM without a process, and the other end of its console.
fn vm(test: &str) -> (RunningVm, std::os::fd::OwnedFd) {
    let kind = SocketType::STREAM;
    let pair = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    let name = Name::take(&format!("test-{test}-{}", std::process::id())).unwrap();
    let times = Times { run: None, grace: Duration::from_secs(1) };
    let layers = Layers::for_this_process("supervisor");
    let console = GuestConsole::over(pair.0);
    let place = Place::of(test, 1);
    (RunningVm::new(vec![], console, name, times, VecDeque::new(), layers, &place), pair.1)
}

/// How it ended, and how much happened before.
fn end(mut vm: RunningVm) -> (Option<End>, usize) {
    let (mut end, mut count) = (None, 0);
    while let Some(event) = vm.next_event() {
        match event.what {
            Happened::Ended(how) => end = Some(how),
            _ => count += 1,
        }
    }
    (end, count)
}

#[test]
fn a_step_that_is_told_twice_ends_the_vm() {
    let launched = |pages| FromVmm::Launched { pages, micros: 1 };
    let twice = [
        (FromVmm::Phase(Phase::Born), FromVmm::Phase(Phase::Born)),
        (FromVmm::Phase(Phase::FirstInstruction), FromVmm::Phase(Phase::FirstInstruction)),
        (launched(1), launched(2)),
    ];
    for (first, second) in twice {
        let (mut vm, _console) = vm("twice");
        vm.take(0, KIND, FromVmm::Phase(Phase::Memory));
        vm.take(0, KIND, first);
        assert!(!vm.has_ended());
        vm.take(0, KIND, second);
        assert!(matches!(end(vm), (Some(End::ProcessLied { kind: KIND, .. }), 2)));
    }
}

#[test]
fn what_a_guest_can_cause_to_be_told_is_bounded_whatever_its_process_sends() {
    let (mut vm, _console) = vm("flood");
    let number = Guest::new(7_u64).shown();
    for _ in 0..100_000 {
        vm.take(0, KIND, FromVmm::Mark(1));
        vm.take(0, KIND, FromVmm::Note(Note::UnknownHypercall { number }));
    }
    vm.take(0, KIND, FromVmm::Stopped(Stop::Reset));
    let most = usize::try_from(MARKS + NOTES).unwrap();
    assert_eq!(end(vm), (Some(End::Stopped(Stop::Reset)), most));
}
