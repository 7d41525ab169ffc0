//! The filter that a profile compiles to decides as the profile itself does: the program is run by
//! an interpreter.

use crate::{Action, FdSlot, FdTable, Pin, Profile, Rule, sys};
use casemate_test_support::bpf::{I386, X86_64, answer};
use proptest::prelude::*;

const ONE: FdSlot = FdSlot("one");
const TWO: FdSlot = FdSlot("two");
const EMPTY: FdSlot = FdSlot("empty");
const LATER: FdSlot = FdSlot("later");

const PROFILE: Profile = Profile {
    name: "test",
    rules: &[
        Rule::new(sys("read"), &[Pin::Fd(0, ONE)], "why"),
        Rule::new(sys("write"), &[Pin::Fd(0, TWO), Pin::Long(2, 8)], "why"),
        Rule::new(sys("write"), &[Pin::Fd(0, EMPTY)], "why"),
        Rule::new(sys("ioctl"), &[Pin::Fd(0, TWO), Pin::IntIn(1, &[7, 8])], "why"),
        Rule::new(sys("ioctl"), &[Pin::Fd(0, ONE), Pin::Int(1, 9)], "why"),
        Rule::new(sys("mmap"), &[Pin::Bits(2, 4, 0)], "why"),
        Rule::new(sys("futex"), &[], "why"),
        Rule::new(sys("close"), &[Pin::FdFrom(0, LATER)], "why"),
        Rule::new(sys("munmap"), &[Pin::FdFrom(1, EMPTY)], "why"),
    ],
};

fn table() -> FdTable {
    FdTable::new()
        .with_raw(ONE, [3])
        .with_raw(TWO, [4, 5])
        .with_raw(EMPTY, [])
        .with_raw(LATER, [9, 7])
}

/// Values near those that the profile names, and with more in the upper half.
fn value() -> impl Strategy<Value = u64> {
    (0_u64..12, prop::sample::select(vec![0, 1, 1 << 31])).prop_map(|(low, high)| high << 32 | low)
}

proptest! {
    #[test]
    fn filter_decides_as_the_profile_does(
        number in prop::sample::select(vec![0_i64, 1, 2, 3, 9, 11, 16, 202, 231, 0x4000_0000, -1]),
        args in prop::array::uniform6(value()),
    ) {
        let fds = table();
        let allowed = PROFILE.rules.iter().any(|rule| {
            rule.allows(number, &args, Some(&fds)).unwrap()
        });
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        for (action, refusal) in [
            (Action::Kill, libc::SECCOMP_RET_KILL_PROCESS),
            (Action::Log, libc::SECCOMP_RET_LOG),
            (Action::Errno(38), libc::SECCOMP_RET_ERRNO | 38),
        ] {
            let program = PROFILE.program(&fds, action).unwrap();
            let expected = if allowed { libc::SECCOMP_RET_ALLOW } else { refusal };
            prop_assert_eq!(answer(&program, X86_64, number, &args), expected);
        }
    }
}

/// Protects what a process holds before its filter from calls that are for what comes later.
#[test]
fn descriptors_from_a_number_on_are_those_and_no_lower_ones() {
    let allows = |fd: u64| {
        let args = [fd, 0, 0, 0, 0, 0];
        PROFILE.rules.iter().any(|rule| rule.allows(3, &args, Some(&table())).unwrap())
    };
    let allowed: Vec<u64> = (0..12).filter(|fd| allows(*fd)).collect();
    assert_eq!(allowed, [7, 8, 9, 10, 11]);
    // The kernel does not look at the upper half.
    assert!(!allows(1 << 32 | 6) && allows(1 << 32 | 7));
}

#[test]
fn call_of_another_architecture_is_fatal() {
    let program = PROFILE.program(&table(), Action::Log).unwrap();
    // Its call 3 is read.
    let found = answer(&program, I386, 3, &[3, 0, 0, 0, 0, 0]);
    assert_eq!(found, libc::SECCOMP_RET_KILL_PROCESS);
}
