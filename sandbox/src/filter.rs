//! The seccomp filter: what the kernel runs at every system call, compiled from a [`Profile`].
//!
//! A rule becomes rows of comparisons; a call is allowed when every comparison of one row holds.
//! The same rows answer [`Rule::allows`], by which observed calls are held against a profile, and a
//! test runs the compiled program in an interpreter to hold both equal. What the kernel has
//! afterwards, `filter_seen.rs` reads back.

use super::SandboxError;
use super::profile::{Action, FdTable, Pin, Profile, Rule};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::os::fd::RawFd;

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
        // Rules of one call are alternatives, and one without pins is met by any arguments: beside
        // it the pins of the others say nothing, though a reader believes them. So that is refused
        // and not compiled to the wider of the two.
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
        // Another architecture's call ends the process, whatever `action` says: its numbers mean
        // other calls. Those of x32 are numbers that no rule has (bit 30 is set).
        let arch = TargetArch::x86_64;
        SeccompFilter::new(calls, action.mismatch(), SeccompAction::Allow, arch)
            .and_then(BpfProgram::try_from)
            .map_err(compile)
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
