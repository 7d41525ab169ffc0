//! Protects an operator's log: what a process says comes in its span, in our words, escaped, and
//! within a bound. Cannot tell what a program makes of events: `casemate/tests/diagnostics.rs`.

use super::*;
use crate::exits::{EXITS, Stop};
use crate::vm::recorder::tally::MOST_RECORDS;
use casemate_policy::PageRule;
use casemate_test_support::captured::Captured;
use casemate_values::Guest;
use std::time::Duration;

const PROCESS: &str = "vm{named=demo}:process{kind=vmm pid=77}";

fn telling() -> Telling {
    let place = Place::of("demo", 2);
    Telling::new(&place, [(ProcessKind::Vmm, 77)].into_iter())
}

/// The events of one message, without those of the start.
fn heard(message: &FromVmm) -> Vec<String> {
    let told = Captured::of(|| assert!(telling().heard(0, message)));
    told.get(2..).unwrap().to_vec()
}

#[test]
fn every_message_is_one_event_in_the_span_of_who_sent_it() {
    let guest = |number: u64| Guest::new(number).shown();
    let cases = [
        (FromVmm::Phase(Phase::Memory), "DEBUG vm", "", "guest memory has its contents"),
        (FromVmm::Phase(Phase::FirstInstruction), "INFO vm", "", "the guest starts"),
        (
            FromVmm::Launched { pages: 9, micros: 1000 },
            "INFO vm",
            "",
            "pages are launched pages=9 micros=1000",
        ),
        (FromVmm::Mark(200), "DEBUG vm", "", "the guest marks a step step=mark 200"),
        (
            FromVmm::Note(Note::PageStateRefused { gpa: guest(0x1000), pages: guest(3) }),
            "INFO vm",
            "",
            "a page-state change was refused gpa=0x1000 pages=3",
        ),
        (
            FromVmm::Note(Note::UnknownHypercall { number: guest(u64::MAX) }),
            "INFO vm",
            "",
            "a hypercall was refused number=18446744073709551615",
        ),
        (
            FromVmm::Denied(Denied { rule: PageRule::ALL[0].into(), times: 4, pages: 5 }),
            "WARN policy",
            "",
            "the policy denies the guest something rule=runtime.page_state_changes times=4 pages=5",
        ),
        (
            FromVmm::Vcpu { index: 1, step: VcpuStep::FirstExit },
            "DEBUG vcpu",
            ":vcpu{index=1}",
            "the vCPU runs",
        ),
        (
            FromVmm::PageStates(PageStateTotals { to_private: 4, to_shared: 5, refused: 6 }),
            "DEBUG vm",
            "",
            "page states were changed to_private=4 to_shared=5 refused=6",
        ),
        (
            FromVmm::Stopped(Stop::Reset),
            "DEBUG vm",
            "",
            "it says that the VM has stopped why=the guest asked for a reset, which ends the VM",
        ),
    ];
    for (message, level, vcpu, text) in cases {
        assert_eq!(heard(&message), [format!("{level} {PROCESS}{vcpu} {text}")]);
    }
}

#[test]
fn counts_of_every_reason_have_its_name() {
    let counts = std::array::from_fn(|index| 100 + index as u64);
    let told = heard(&FromVmm::Exits { vcpu: 0, totals: ExitTotals(counts) });
    let [told] = told.as_slice() else { panic!("{told:?}") };
    assert!(told.starts_with(&format!("DEBUG vcpu {PROCESS}:vcpu{{index=0}} exits of")), "{told}");
    for (name, count) in EXITS.iter().zip(counts) {
        assert!(told.contains(&format!(" {name}={count}")), "{name}: {told}");
    }
}

#[test]
fn a_vcpu_that_there_is_not_says_nothing() {
    let told = Captured::of(|| {
        let mut telling = telling();
        for index in [2, 64, u32::MAX] {
            assert!(!telling.heard(0, &FromVmm::Vcpu { index, step: VcpuStep::FirstExit }));
            let totals = ExitTotals([0; EXITS.len()]);
            assert!(!telling.heard(0, &FromVmm::Exits { vcpu: index, totals }));
        }
    });
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn a_process_that_says_too_much_is_told_within_a_bound_and_the_rest_is_counted() {
    let told = Captured::of(|| {
        let mut telling = telling();
        for _ in 0..100_000 {
            telling.heard(0, &FromVmm::Mark(1));
        }
        telling.gone(0, Some(Exit::Code(0)));
    });
    let bound = usize::try_from(TOLD).unwrap();
    assert_eq!(told.len(), 2 + bound + 3);
    assert_eq!(
        told.get(2 + bound..).unwrap(),
        [
            format!("WARN vm {PROCESS} it says too much: the rest is only counted"),
            format!("WARN vm {PROCESS} messages were left out untold={}", 100_000 - TOLD),
            format!("INFO vm {PROCESS} the process has ended how=exited with status 0"),
        ]
    );
}

#[test]
fn a_process_that_does_what_its_program_says_is_told_whole() {
    let steps = 5 + 1 + 1 + 1;
    let of_the_guest = super::super::NOTES + super::super::MARKS;
    let of_rules = u32::try_from(MOST_RECORDS * PageRule::ALL.len()).unwrap();
    let of_vcpus = 3 * crate::config::MAX_VCPUS;
    assert!(TOLD >= steps + of_the_guest + of_rules + of_vcpus);
}

#[test]
fn text_of_a_process_is_escaped_on_one_line() {
    let hostile = "no\n2026 ERROR vm: forged\u{202e}\u{1b}[2J\u{9b}31m";
    for message in [FromVmm::Failed(hostile.into()), FromVmm::Failed("x".repeat(100_000))] {
        for told in heard(&message) {
            assert!(told.chars().all(casemate_foreign_text::is_plain), "{told}");
            assert!(told.len() < 1000, "{}", told.len());
        }
    }
    let told = Captured::of(|| {
        let telling = telling();
        let lied = End::ProcessLied { kind: ProcessKind::Vmm, what: hostile.into() };
        telling.happened(&Happened::Ended(lied));
        telling.happened(&Happened::Ended(End::LaunchFailed(hostile.into())));
    });
    assert_eq!(told.len(), 4);
    for told in told {
        assert!(told.chars().all(casemate_foreign_text::is_plain), "{told}");
    }
}

#[test]
fn how_a_vm_ended_has_a_word_and_a_level_by_who_has_to_mend_it() {
    let ends = [
        (End::Stopped(Stop::PowerOff { status: Some(0) }), "INFO", "stopped"),
        (End::Stopped(Stop::Shutdown), "WARN", "stopped"),
        (End::PoweredOffAsAsked, "INFO", "powered-off-as-asked"),
        (End::Killed, "INFO", "killed"),
        (End::TimedOut(Duration::from_secs(9)), "WARN", "timed-out seconds=9"),
        (End::GraceOver(Duration::from_secs(9)), "WARN", "grace-over seconds=9"),
        (End::LaunchFailed("why".into()), "ERROR", "launch-failed why=why"),
        (
            End::ProcessDied { kind: ProcessKind::Vmm, how: Some(Exit::Filter) },
            "ERROR",
            "process-died kind=vmm how=killed by its seccomp filter (SIGSYS)",
        ),
    ];
    for (end, level, word) in ends {
        let told = Captured::of(|| telling().happened(&Happened::Ended(end)));
        let start = format!("{level} vm vm{{named=demo}} the VM has ended end={word}");
        assert!(told.last().unwrap().starts_with(&start), "{told:?}");
    }
}

#[test]
fn of_two_processes_of_one_kind_each_is_told_of_under_its_own_number() {
    let told = Captured::of(|| {
        let place = Place::of("demo", 1);
        let disks = [(ProcessKind::Block, 70), (ProcessKind::Block, 71)];
        let telling = Telling::new(&place, disks.into_iter());
        telling.confined(1, &Report::default());
        telling.confined(0, &Report::default());
    });
    let numbers: Vec<bool> =
        told.iter().rev().take(2).map(|event| event.contains("pid=70")).collect();
    assert_eq!(numbers, [true, false], "{told:?}");
}
