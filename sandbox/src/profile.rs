//! A profile: which system calls, with which arguments, a kind of process may make, as data.
//!
//! A profile is written beside the code that makes the calls and gives a reason for each. Arguments
//! are pinned wherever BPF can see them: descriptors through slots that are filled in when the
//! filter is made, ioctl requests and flags by value. Pointers cannot be pinned (and what they
//! point to can change).

use super::syscalls::{Syscall, sys};
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// What one kind of process may do.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// The kind of process and phase, such as `vmm` or `block, set-up`.
    pub name: &'static str,
    /// The calls; everything else is forbidden.
    pub rules: &'static [Rule],
}

/// A call that is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The system call that it is about.
    pub syscall: Syscall,
    /// What its arguments must be, all of them; an argument without a pin is free.
    pub pins: &'static [Pin],
    /// What the process makes the call for.
    pub why: &'static str,
}

impl Rule {
    /// A rule about `syscall`, with the reason for it.
    #[must_use]
    pub const fn new(syscall: Syscall, pins: &'static [Pin], why: &'static str) -> Self {
        Self { syscall, pins, why }
    }

    /// The rules of several lists as one: what processes share is written once, and each has its
    /// own beside it. `N` is how many they are together; another number does not compile, since
    /// this is for constants.
    #[must_use]
    #[allow(clippy::panic, clippy::indexing_slicing, reason = "when a profile is compiled")]
    pub const fn joined<const N: usize>(lists: &[&[Self]]) -> [Self; N] {
        let mut all = [Self::new(sys("exit_group"), &[], ""); N];
        let (mut list, mut filled) = (0, 0);
        while list < lists.len() {
            let mut rule = 0;
            while rule < lists[list].len() {
                all[filled] = lists[list][rule];
                (rule, filled) = (rule + 1, filled + 1);
            }
            list += 1;
        }
        assert!(filled == N, "the lists have fewer rules than that");
        all
    }
}

/// What one argument must be. The number is the argument's, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// A descriptor: any of those in the slot. An empty slot forbids the call.
    Fd(u8, FdSlot),
    /// A descriptor that came after the filter: the slot's lowest number, or one above it. Only for
    /// calls that do nothing to a number that is no descriptor's, as every number above is free.
    FdFrom(u8, FdSlot),
    /// A 32-bit value (the kernel ignores the upper half of an `int`).
    Int(u8, u32),
    /// One of these 32-bit values, such as ioctl requests.
    IntIn(u8, &'static [u32]),
    /// A 64-bit value, the whole register.
    Long(u8, u64),
    /// The bits of a mask have these values: `Bits(arg, mask, value)`.
    Bits(u8, u64, u64),
    /// The process's own number as the process itself sees it.
    OwnPid(u8),
}

/// A name for the descriptors of one use, such as `"vcpu"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FdSlot(pub &'static str);

/// Which descriptors are in which slot.
#[derive(Debug, Clone, Default)]
pub struct FdTable(Vec<(FdSlot, Vec<RawFd>)>);

impl FdTable {
    /// A table without slots.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a descriptor to a slot.
    #[must_use]
    pub fn with(self, slot: FdSlot, fd: &impl AsFd) -> Self {
        self.with_raw(slot, [fd.as_fd().as_raw_fd()])
    }

    /// Adds any number of descriptors to a slot; none makes it an empty slot.
    #[must_use]
    pub fn with_raw(mut self, slot: FdSlot, fds: impl IntoIterator<Item = RawFd>) -> Self {
        match self.0.iter_mut().find(|(known, _)| *known == slot) {
            Some((_, list)) => list.extend(fds),
            None => self.0.push((slot, fds.into_iter().collect())),
        }
        self
    }

    /// Every descriptor that is in some slot.
    pub(super) fn all(&self) -> impl Iterator<Item = RawFd> {
        self.0.iter().flat_map(|(_, list)| list.iter().copied())
    }

    /// The descriptors in a slot.
    #[must_use]
    pub fn get(&self, slot: FdSlot) -> Option<&[RawFd]> {
        self.0.iter().find(|(known, _)| *known == slot).map(|(_, list)| list.as_slice())
    }
}

/// What happens to a call that the profile does not allow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Action {
    /// The whole process dies (SIGSYS).
    #[default]
    Kill,
    /// The call is made, and the kernel's audit log records it. Only for tests.
    Log,
    /// The call fails with this errno. Only for tests.
    Errno(u16),
}

impl Profile {
    /// The distinct system calls.
    #[must_use]
    pub fn syscalls(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.rules.iter().map(|rule| rule.syscall.name()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
