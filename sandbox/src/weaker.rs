//! Whether a process is as locked as its profile says: what was read back from the kernel, against
//! what was asked for.

use super::filter_seen::Filter;
use super::inspect::InForce;
use super::profile::Profile;
use seccompiler::sock_filter;

/// `AUDIT_ARCH_X86_64`, and another one that the kernel serves on the same machine.
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
/// Call numbers that are asked about: the kernel's highest is below 500; x32's have bit 30.
const NUMBERS: u32 = 1024;
const X32: u32 = 0x4000_0000;

/// What a process has to have beside its profile.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// The calls that it may make.
    pub profile: &'a Profile,
    /// Capabilities that it may have, a bit each.
    pub capabilities: u64,
    /// Whether it is in namespaces of its own, under an empty root, as an unprivileged user.
    pub apart: bool,
    /// Whether all guest memory that it maps is behind a fence.
    pub fenced: bool,
    /// Whether no file grows by it beyond a limit.
    pub bounded_files: bool,
}

impl InForce {
    /// In what the process is weaker than it is to be: a sentence each; empty where it is in
    /// nothing. What cannot be read counts as missing.
    ///
    /// Calls are compared by their numbers: to which descriptors and requests a filter pins them is
    /// not seen from outside. Landlock, which no other process can see, is not looked at either.
    #[must_use]
    pub fn weaker_than(&self, demand: Demand<'_>) -> Vec<String> {
        let mut weak = self.calls(demand.profile);
        let mut must = |holds: bool, what: &str| {
            if !holds {
                weak.push(what.to_owned());
            }
        };
        must(self.seccomp_mode == 2 && self.seccomp_filters > 0, "it has no system-call filter");
        must(self.threads_agree, "its threads do not have the same lock");
        must(self.no_new_privs, "it can gain privilege by running a program");
        for (set, bits) in &self.capabilities {
            // Who may not empty it is bound by it to nothing under `no_new_privs`.
            let has_more = *bits & !demand.capabilities != 0 && *set != "bounding";
            must(!has_more, &format!("it has capabilities ({set})"));
        }
        let limit = |name: &str| self.limits.as_ref().and_then(|all| all.get(name));
        must(limit("Max core file size").is_some_and(|size| size == "0"), "it can leave a core");
        if demand.bounded_files {
            must(limit("Max file size").is_some(), "a file that it has can grow without limit");
        }
        if demand.apart {
            must(self.uid != 0, "it is root");
            must(self.root.as_ref().is_some_and(Vec::is_empty), "its root directory is not empty");
            for name in ["user", "mnt", "pid", "ipc", "uts", "cgroup"] {
                let own = self.namespaces.as_ref().and_then(|all| all.get(name));
                must(own == Some(&true), &format!("it is in the {name} namespace of others"));
            }
        }
        if demand.fenced {
            let whole = self.fence.is_some_and(|fence| fence.is_whole());
            must(whole, "guest memory is not behind a fence as a whole");
        }
        weak
    }

    /// What is wrong with its filters.
    fn calls(&self, profile: &Profile) -> Vec<String> {
        let Some(filters) = &self.filters else {
            return vec!["its filters cannot be read (needs root)".into()];
        };
        let passes = |arch, number| filters.iter().all(|filter| filter.may_allow(arch, number));
        let mut weak = Vec::new();
        let profile_has = |number: u32| {
            profile.rules.iter().any(|rule| rule.syscall.number() == i64::from(number))
        };
        let more = (0..NUMBERS).filter(|number| passes(X86_64, *number) && !profile_has(*number));
        let more: Vec<String> = more.map(|number| number.to_string()).collect();
        if !more.is_empty() {
            let numbers = more.join(", ");
            weak.push(format!("it may make system calls that its profile lacks: {numbers}"));
        }
        if (0..NUMBERS).any(|number| passes(I386, number) || passes(X86_64, number | X32)) {
            weak.push("it may make system calls of another architecture".into());
        }
        weak
    }
}

impl Filter {
    /// Whether it lets a call of this number through for some arguments. An instruction that no
    /// filter of ours has counts as one that does.
    pub(super) fn may_allow(&self, arch: u32, number: u32) -> bool {
        let program = self.instructions();
        // Jumps lead forward only, so one pass in order meets each place after all that lead there.
        // A place that is reached with two values is reached with one that is not known.
        let mut reached: Vec<Option<Value>> = vec![None; program.len()];
        if let Some(first) = reached.first_mut() {
            *first = Some(Value::Unknown);
        }
        for at in 0..program.len() {
            let (Some(instruction), Some(Some(value))) =
                (program.get(at), reached.get(at).copied())
            else {
                continue;
            };
            match step(instruction, value, arch, number) {
                Step::Ends { allows: true } => return true,
                Step::Ends { allows: false } => {}
                Step::Goes { to, with } => {
                    for over in to.into_iter().flatten() {
                        let next = at.saturating_add(1).saturating_add(over);
                        let Some(slot) = reached.get_mut(next) else { return true };
                        *slot = Some(slot.map_or(with, |other| other.or(with)));
                    }
                }
            }
        }
        false
    }
}

/// What is in the accumulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Known(u32),
    Unknown,
}

impl Value {
    fn or(self, other: Self) -> Self {
        if self == other { self } else { Self::Unknown }
    }
}

/// Where an instruction leads.
enum Step {
    Ends { allows: bool },
    Goes { to: [Option<usize>; 2], with: Value },
}

fn step(i: &sock_filter, value: Value, arch: u32, number: u32) -> Step {
    let next = |with| Step::Goes { to: [Some(0), None], with };
    let jump = |taken: fn(u32, u32) -> bool| {
        let (yes, no) = (Some(usize::from(i.jt)), Some(usize::from(i.jf)));
        let to = match value {
            Value::Known(known) if taken(known, i.k) => [yes, None],
            Value::Known(_) => [no, None],
            Value::Unknown => [yes, no],
        };
        Step::Goes { to, with: value }
    };
    match i.code {
        // BPF_LD | BPF_W | BPF_ABS of `struct seccomp_data`: number, architecture, arguments.
        0x20 => next(match i.k {
            0 => Value::Known(number),
            4 => Value::Known(arch),
            _ => Value::Unknown,
        }),
        // BPF_ALU | BPF_AND | BPF_K
        0x54 => next(match value {
            Value::Known(known) => Value::Known(known & i.k),
            Value::Unknown => Value::Unknown,
        }),
        // BPF_JMP with BPF_JA, BPF_JEQ, BPF_JGT, BPF_JGE
        0x05 => {
            let over = usize::try_from(i.k).unwrap_or(usize::MAX);
            Step::Goes { to: [Some(over), None], with: value }
        }
        0x15 => jump(|a, k| a == k),
        0x25 => jump(|a, k| a > k),
        0x35 => jump(|a, k| a >= k),
        // BPF_RET | BPF_K: killed is the one answer that lets nothing through.
        0x06 => Step::Ends { allows: i.k & 0xffff_0000 != libc::SECCOMP_RET_KILL_PROCESS },
        _ => Step::Ends { allows: true },
    }
}

#[cfg(test)]
mod tests {
    use super::{Demand, Filter, I386, InForce, X86_64};
    use crate::{Action, FdSlot, FdTable, Pin, Profile, Rule, sys};
    use seccompiler::sock_filter;
    use std::collections::BTreeMap;

    const SLOT: FdSlot = FdSlot("one");
    const SMALL: Profile = Profile {
        name: "small",
        rules: &[
            Rule::new(sys("read"), &[Pin::Fd(0, SLOT)], "test"),
            Rule::new(sys("write"), &[Pin::Fd(0, SLOT), Pin::Int(2, 8)], "test"),
            Rule::new(sys("exit_group"), &[], "test"),
        ],
    };

    const WIDER: Profile = Profile {
        name: "wider",
        rules: &[Rule::new(sys("read"), &[], "test"), Rule::new(sys("openat"), &[], "test")],
    };

    fn filter(profile: &Profile) -> Filter {
        let fds = FdTable::new().with_raw(SLOT, [3, 7]);
        Filter::new(profile.program(&fds, Action::Kill).unwrap())
    }

    fn locked() -> InForce {
        let names = ["user", "mnt", "pid", "ipc", "uts", "cgroup"];
        InForce {
            pid: 7,
            threads: 1,
            seccomp_mode: 2,
            seccomp_filters: 1,
            threads_agree: true,
            filters: Some(vec![filter(&SMALL)]),
            no_new_privs: true,
            capabilities: BTreeMap::from([("effective", 0), ("bounding", 1)]),
            uid: 65534,
            namespaces: Some(names.map(|name| (name, true)).into()),
            descriptors: None,
            cgroup: Some("/".into()),
            fence: Some(crate::FenceSeen { fenced: 4096, unfenced: 0, sigbus: true }),
            root: Some(Vec::new()),
            limits: Some(BTreeMap::from([
                ("Max core file size".into(), "0".into()),
                ("Max file size".into(), "4096".into()),
            ])),
        }
    }

    type Weaken = fn(&mut InForce);

    const ALL: Demand<'_> =
        Demand { profile: &SMALL, capabilities: 0, apart: true, fenced: true, bounded_files: true };

    #[test]
    fn a_filter_lets_through_the_calls_of_its_profile_and_no_other() {
        let filter = filter(&SMALL);
        let through: Vec<u32> = (0..600).filter(|n| filter.may_allow(X86_64, *n)).collect();
        assert_eq!(through, [0, 1, 231]);
        assert!((0..600).all(|number| !filter.may_allow(I386, number)));
        // What is not understood is not called tight.
        let odd = Filter::new(vec![sock_filter { code: 0x07, jt: 0, jf: 0, k: 0 }]);
        assert!(odd.may_allow(X86_64, 39));
    }

    /// Protects who asks whether a VM is locked: each thing that is weaker than asked for is said.
    #[test]
    fn whatever_is_weaker_than_the_profile_is_said() {
        assert_eq!(locked().weaker_than(ALL), [""; 0]);
        let weaken: [(&str, Weaken); 13] = [
            ("no system-call filter", |p| p.seccomp_mode = 0),
            ("cannot be read", |p| p.filters = None),
            ("threads", |p| p.threads_agree = false),
            ("gain privilege", |p| p.no_new_privs = false),
            ("capabilities (effective)", |p| *p.capabilities.get_mut("effective").unwrap() = 1),
            ("core", |p| p.limits = None),
            ("can grow", |p| drop(p.limits.as_mut().unwrap().remove("Max file size"))),
            ("it is root", |p| p.uid = 0),
            ("root directory", |p| p.root = Some(vec!["etc".into()])),
            ("pid namespace", |p| *p.namespaces.as_mut().unwrap().get_mut("pid").unwrap() = false),
            ("fence", |p| p.fence.as_mut().unwrap().unfenced = 4096),
            ("fence", |p| p.fence = None),
            ("user namespace", |p| p.namespaces = None),
        ];
        for (said, weaken) in weaken {
            let mut process = locked();
            weaken(&mut process);
            let weak = process.weaker_than(ALL);
            assert!(weak.iter().any(|what| what.contains(said)), "{said}: {weak:?}");
        }
        let mut process = locked();
        process.filters = Some(vec![filter(&WIDER)]);
        let weak = process.weaker_than(ALL);
        assert_eq!(weak, ["it may make system calls that its profile lacks: 257"]);
        // A narrower one behind it is what counts.
        process.filters.as_mut().unwrap().push(filter(&SMALL));
        assert_eq!(process.weaker_than(ALL), [""; 0]);
    }
}
