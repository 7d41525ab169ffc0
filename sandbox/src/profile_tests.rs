//! The filter that a profile compiles to decides as the profile itself does: the program is run by
//! an interpreter.

use super::{Action, FdSlot, FdTable, Pin, Profile, Rule};
use crate::sys;
use proptest::prelude::*;
use seccompiler::sock_filter;

const ONE: FdSlot = FdSlot("one");
const TWO: FdSlot = FdSlot("two");
const EMPTY: FdSlot = FdSlot("empty");

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
    ],
};

fn table() -> FdTable {
    FdTable::new().with_raw(ONE, [3]).with_raw(TWO, [4, 5]).with_raw(EMPTY, [])
}

/// `struct seccomp_data` of a call on x86-64.
fn data(number: i32, args: &[u64; 6]) -> Vec<u8> {
    const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
    let head = [number.to_ne_bytes(), AUDIT_ARCH_X86_64.to_ne_bytes(), [0; 4], [0; 4]].concat();
    head.into_iter().chain(args.iter().flat_map(|arg| arg.to_ne_bytes())).collect()
}

/// Classic BPF, as far as filters use it (`linux/bpf_common.h`).
fn interpret(program: &[sock_filter], data: &[u8]) -> u32 {
    let (mut at, mut acc) = (0, 0);
    loop {
        let i = &program[at];
        at += 1;
        let jump = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
        match i.code {
            0x20 => {
                let offset = i.k as usize;
                acc = u32::from_ne_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            0x54 => acc &= i.k,
            0x05 => at += i.k as usize,
            0x15 => at += jump(acc == i.k),
            0x25 => at += jump(acc > i.k),
            0x35 => at += jump(acc >= i.k),
            0x06 => return i.k,
            code => panic!("instruction {code:#x}"),
        }
    }
}

/// Values near those that the profile names, and with more in the upper half.
fn value() -> impl Strategy<Value = u64> {
    (0_u64..12, prop::sample::select(vec![0, 1, 1 << 31])).prop_map(|(low, high)| high << 32 | low)
}

proptest! {
    #[test]
    fn filter_decides_as_the_profile_does(
        number in prop::sample::select(vec![0_i64, 1, 2, 9, 16, 202, 231, 0x4000_0000, -1]),
        args in prop::array::uniform6(value()),
    ) {
        let fds = table();
        let allowed = PROFILE.rules.iter().any(|rule| {
            rule.allows(number, &args, Some(&fds)).unwrap()
        });
        let number = i32::try_from(number).unwrap();
        for (action, refusal) in [
            (Action::Kill, libc::SECCOMP_RET_KILL_PROCESS),
            (Action::Log, libc::SECCOMP_RET_LOG),
            (Action::Errno(38), libc::SECCOMP_RET_ERRNO | 38),
        ] {
            let program = PROFILE.program(&fds, action).unwrap();
            let expected = if allowed { libc::SECCOMP_RET_ALLOW } else { refusal };
            prop_assert_eq!(interpret(&program, &data(number, &args)), expected);
        }
    }
}

#[test]
fn call_of_another_architecture_is_fatal() {
    let program = PROFILE.program(&table(), Action::Log).unwrap();
    // i386: its call 3 is read.
    let mut data = data(3, &[3, 0, 0, 0, 0, 0]);
    data[4..8].copy_from_slice(&0x4000_0003_u32.to_ne_bytes());
    assert_eq!(interpret(&program, &data), libc::SECCOMP_RET_KILL_PROCESS);
}
