//! What the limits of a VM had to do with its end, in words.
//!
//! The kernel kills by SIGKILL where memory has run out, as anybody does who may; what it counts in
//! `memory.events` of the group tells the two apart, and whose memory it was. The janitor of the
//! groups reads that before it removes them.

use crate::config::GroupLimits;
use casemate_device_process::LimitsMet;
use std::fmt;

/// The limits of the groups of a VM, in the order of [`LimitsMet`]: the VM's first.
#[derive(Debug, Clone)]
pub(in crate::vm) struct Limited {
    vm: GroupLimits,
    processes: Vec<(String, GroupLimits)>,
}

/// Whose memory had run out when the kernel killed a process for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RanOut {
    /// That of the process itself, MiB.
    Process(u64),
    /// That of the VM, MiB.
    Vm(u64),
    /// That of a group above, or of the host.
    Above,
}

impl fmt::Display for RanOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(mib) => {
                write!(f, "it has used all of its `cgroup.process.memory`, {mib}M")
            }
            Self::Vm(mib) => write!(f, "the VM has used all of its `cgroup.memory`, {mib}M"),
            Self::Above => f.write_str(
                "memory ran out, of the host or of a control group above the VM's (`dmesg` says so)",
            ),
        }
    }
}

impl Limited {
    pub(super) const fn new(vm: GroupLimits) -> Self {
        Self { vm, processes: Vec::new() }
    }

    pub(super) fn add(&mut self, name: String, limits: GroupLimits) {
        self.processes.push((name, limits));
    }

    /// The place of a process's group.
    pub(super) fn place_of(&self, leaf: &str) -> Option<u8> {
        let place = self.processes.iter().position(|(name, _)| name == leaf)?;
        u8::try_from(place).ok()?.checked_add(1)
    }

    /// Whose memory had run out, if the kernel has killed the process in `place` for that.
    pub(in crate::vm) fn ran_out(&self, place: u8, met: LimitsMet) -> Option<RanOut> {
        if !has(met.killed, place) {
            return None;
        }
        let own = place.checked_sub(1).and_then(|own| self.processes.get(usize::from(own)));
        let own = own.and_then(|(_, limits)| limits.memory).filter(|_| has(met.memory, place));
        let vm = self.vm.memory.filter(|_| has(met.memory, 0));
        Some(match (own, vm) {
            (Some(bytes), _) => RanOut::Process(bytes >> 20),
            (None, Some(bytes)) => RanOut::Vm(bytes >> 20),
            (None, None) => RanOut::Above,
        })
    }

    /// That a process or thread was refused, behind what came of it.
    pub(in crate::vm) fn refused(&self, met: LimitsMet) -> Option<String> {
        if met.pids == 0 {
            return None;
        }
        let mut processes = self.processes.iter().zip(1_u8..);
        let own = processes.find_map(|((name, limits), place)| {
            limits.pids.filter(|_| has(met.pids, place)).map(|pids| (name, pids))
        });
        Some(match (own, self.vm.pids) {
            (Some((name, pids)), _) => {
                format!("`cgroup.process.pids` of {name}, {pids}, was too few")
            }
            (None, Some(pids)) => format!("`cgroup.pids`, {pids}, was too few"),
            (None, None) => "the limit of a control group above the VM's was too few".into(),
        })
    }
}

fn has(word: u64, place: u8) -> bool {
    word.checked_shr(place.into()).is_some_and(|word| word & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::{Limited, RanOut};
    use crate::config::GroupLimits;
    use casemate_device_process::LimitsMet;

    /// Protects whoever has to find out what to give more of: the kernel's kill is told from
    /// anybody's, and the limit that was met is named.
    #[test]
    fn a_kill_for_memory_names_whose_memory_it_was() {
        let memory = |mib: u64| GroupLimits { memory: Some(mib << 20), ..GroupLimits::default() };
        let mut limited = Limited::new(memory(96));
        limited.add("vmm".into(), GroupLimits::default());
        limited.add("block-root".into(), memory(8));
        assert_eq!(limited.place_of("block-root"), Some(2));
        assert_eq!(limited.place_of("rng"), None);
        let met = |killed: u64, memory: u64| LimitsMet { killed, memory, pids: 0 };
        assert_eq!(limited.ran_out(1, met(0b100, 0b1)), None);
        assert_eq!(limited.ran_out(1, met(0b010, 0b1)), Some(RanOut::Vm(96)));
        assert_eq!(limited.ran_out(2, met(0b100, 0b101)), Some(RanOut::Process(8)));
        assert_eq!(limited.ran_out(1, met(0b010, 0)), Some(RanOut::Above));
        // No limit of its own was written, so it was another's that it met.
        assert_eq!(limited.ran_out(1, met(0b010, 0b010)), Some(RanOut::Above));
        assert_eq!(limited.ran_out(200, met(u64::MAX, u64::MAX)), None);
    }

    #[test]
    fn a_refused_process_names_the_limit_that_was_too_few() {
        let pids = |pids: u64| GroupLimits { pids: Some(pids), ..GroupLimits::default() };
        let mut limited = Limited::new(pids(20));
        limited.add("vmm".into(), pids(2));
        let met = |pids: u64| LimitsMet { pids, ..LimitsMet::default() };
        assert_eq!(limited.refused(met(0)), None);
        let own = limited.refused(met(0b11)).unwrap();
        assert!(own.contains("`cgroup.process.pids` of vmm, 2"), "{own}");
        let whole = limited.refused(met(0b01)).unwrap();
        assert!(whole.contains("`cgroup.pids`, 20"), "{whole}");
    }
}
