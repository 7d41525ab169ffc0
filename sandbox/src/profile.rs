//! A profile: which system calls, with which arguments, a kind of process may make, as data.
//!
//! A profile is written beside the code that makes the calls and gives a reason for each. Arguments
//! are pinned wherever BPF can see them: descriptors through slots that are filled in when the
//! filter is made, ioctl requests and flags by value. Pointers cannot be pinned (and what they
//! point to can change).

use super::SandboxError;
use super::syscalls::Syscall;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
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
    /// The call.
    pub syscall: Syscall,
    /// What its arguments must be, all of them; an argument without a pin is free.
    pub pins: &'static [Pin],
    /// What for.
    pub why: &'static str,
}

impl Rule {
    /// A rule.
    #[must_use]
    pub const fn new(syscall: Syscall, pins: &'static [Pin], why: &'static str) -> Self {
        Self { syscall, pins, why }
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
    /// A 64-bit value.
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

impl Action {
    const fn mismatch(self) -> SeccompAction {
        match self {
            Self::Kill => SeccompAction::KillProcess,
            Self::Log => SeccompAction::Log,
            Self::Errno(errno) => SeccompAction::Errno(errno as u32),
        }
    }
}

/// The comparisons a call must pass, any one row of them: `(argument, length, operator, value)`.
type Row = Vec<Condition>;

/// One comparison of one argument.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    arg: u8,
    len: SeccompCmpArgLen,
    op: SeccompCmpOp,
    value: u64,
}

impl Condition {
    fn int(arg: u8, value: u32) -> Self {
        let (len, op) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
        Self { arg, len, op, value: value.into() }
    }

    /// Whether the arguments of a call pass, exactly as the filter decides it.
    fn passes(&self, args: &[u64; 6]) -> bool {
        let Some(arg) = args.get(usize::from(self.arg)) else { return false };
        match (&self.op, &self.len) {
            (SeccompCmpOp::Ge, _) => arg & 0xffff_ffff >= self.value,
            (SeccompCmpOp::MaskedEq(mask), _) => arg & mask == self.value & mask,
            (_, SeccompCmpArgLen::Dword) => arg & 0xffff_ffff == self.value,
            _ => *arg == self.value,
        }
    }
}

impl Pin {
    /// The comparisons that satisfy the pin, any one of them.
    fn alternatives(self, fds: Option<&FdTable>) -> Result<Vec<Condition>, String> {
        let dword = |arg, value| Condition::int(arg, value);
        let Some(fds) = fds else { return self.without_process() };
        let filled = |slot| fds.get(slot).ok_or_else(|| format!("slot {:?} is not filled", slot.0));
        Ok(match self {
            Self::Fd(arg, slot) => {
                filled(slot)?.iter().map(|fd| dword(arg, fd.cast_unsigned())).collect()
            }
            Self::FdFrom(arg, slot) => {
                let lowest = filled(slot)?.iter().min();
                let from = |fd: &RawFd| {
                    let (len, op) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Ge);
                    Condition { arg, len, op, value: fd.cast_unsigned().into() }
                };
                lowest.map(from).into_iter().collect()
            }
            Self::Int(arg, value) => vec![dword(arg, value)],
            Self::IntIn(arg, values) => values.iter().map(|value| dword(arg, *value)).collect(),
            Self::Long(arg, value) => {
                let (len, op) = (SeccompCmpArgLen::Qword, SeccompCmpOp::Eq);
                vec![Condition { arg, len, op, value }]
            }
            Self::Bits(arg, mask, value) => {
                let (len, op) = (SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask));
                vec![Condition { arg, len, op, value }]
            }
            Self::OwnPid(arg) => vec![dword(arg, std::process::id())],
        })
    }

    /// As [`Pin::alternatives`], for a process whose descriptors and number are not known: those
    /// pins are met.
    fn without_process(self) -> Result<Vec<Condition>, String> {
        match self {
            Self::Fd(arg, _) | Self::FdFrom(arg, _) | Self::OwnPid(arg) => {
                Self::Bits(arg, 0, 0).alternatives(Some(&FdTable::new()))
            }
            other => other.alternatives(Some(&FdTable::new())),
        }
    }
}

impl Rule {
    /// The rows of comparisons that allow the call, any one of them.
    fn rows(&self, fds: Option<&FdTable>) -> Result<Vec<Row>, String> {
        let mut rows: Vec<Row> = vec![Vec::new()];
        for pin in self.pins {
            let alternatives = pin.alternatives(fds)?;
            rows = rows
                .iter()
                .flat_map(|row| {
                    alternatives
                        .iter()
                        .map(|condition| [&row[..], std::slice::from_ref(condition)].concat())
                })
                .collect();
        }
        Ok(rows)
    }

    /// Whether this rule allows a call with these arguments.
    ///
    /// # Errors
    /// A slot that is not filled.
    pub(super) fn allows(
        &self,
        nr: i64,
        args: &[u64; 6],
        fds: Option<&FdTable>,
    ) -> Result<bool, String> {
        let passes = |row: &Row| row.iter().all(|condition| condition.passes(args));
        Ok(nr == self.syscall.number() && self.rows(fds)?.iter().any(passes))
    }
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

    /// The filter for a process that holds these descriptors. It must be made in the process that
    /// it is for.
    ///
    /// # Errors
    /// [`SandboxError::Profile`] when a slot is not filled, a rule has no reason, or a rule without
    /// pins would make the pins of another void; [`SandboxError::Compile`].
    pub fn program(&self, fds: &FdTable, action: Action) -> Result<BpfProgram, SandboxError> {
        let compile = |source| SandboxError::Compile { profile: self.name, source };
        let wrong = |rule: &Rule, what: String| SandboxError::Profile {
            profile: self.name,
            syscall: rule.syscall.name(),
            what,
        };
        let mut calls: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
        let mut free = Vec::new();
        for rule in self.rules {
            let number = rule.syscall.number();
            if rule.why.is_empty() {
                return Err(wrong(rule, "it gives no reason".into()));
            }
            if calls.contains_key(&number) && (rule.pins.is_empty() || free.contains(&number)) {
                return Err(wrong(
                    rule,
                    "one rule is without pins, so the other's are void".into(),
                ));
            }
            if rule.pins.is_empty() {
                free.push(number);
                calls.insert(number, Vec::new());
                continue;
            }
            for row in rule.rows(Some(fds)).map_err(|what| wrong(rule, what))? {
                let conditions = row
                    .into_iter()
                    .map(|c| SeccompCondition::new(c.arg, c.len, c.op, c.value))
                    .collect::<Result<_, _>>()
                    .map_err(compile)?;
                let allowed = SeccompRule::new(conditions).map_err(compile)?;
                calls.entry(number).or_default().push(allowed);
            }
        }
        let arch = TargetArch::x86_64;
        SeccompFilter::new(calls, action.mismatch(), SeccompAction::Allow, arch)
            .and_then(BpfProgram::try_from)
            .map_err(compile)
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
