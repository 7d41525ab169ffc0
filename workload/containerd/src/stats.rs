//! What a container uses, in the form that containerd expects on this machine.
//!
//! The numbers are the guest's: control groups of the host hold the guest as a whole. Their form
//! follows the host, because containerd reads the one that its own version of control groups has.

use crate::wire::any;
use containerd_shim_protos::cgroups::metrics as v1;
use containerd_shim_protos::cgroups_v2::metrics as v2;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use std::path::Path;

/// What a guest says that a container uses.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Memory, in bytes.
    pub memory: u64,
    /// Processor time, in nanoseconds.
    pub cpu: u64,
    /// How many processes it has.
    pub processes: u32,
}

/// Whether control groups of this machine are all of version 2: only then has their root this file.
pub fn unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The message for it.
pub fn metrics(usage: Usage, unified: bool) -> MessageField<Any> {
    let Usage { memory, cpu, processes } = usage;
    if unified {
        let mut all = v2::Metrics::new();
        let mut of = v2::MemoryStat::new();
        of.usage = memory;
        all.memory = MessageField::some(of);
        let mut of = v2::CPUStat::new();
        of.usage_usec = cpu / 1000;
        all.cpu = MessageField::some(of);
        let mut of = v2::PidsStat::new();
        of.current = processes.into();
        all.pids = MessageField::some(of);
        return any("io.containerd.cgroups.v2.Metrics", &all);
    }
    let mut all = v1::Metrics::new();
    let mut entry = v1::MemoryEntry::new();
    entry.usage = memory;
    let mut of = v1::MemoryStat::new();
    of.usage = MessageField::some(entry);
    all.memory = MessageField::some(of);
    let mut time = v1::CPUUsage::new();
    time.total = cpu;
    let mut of = v1::CPUStat::new();
    of.usage = MessageField::some(time);
    all.cpu = MessageField::some(of);
    let mut of = v1::PidsStat::new();
    of.current = processes.into();
    all.pids = MessageField::some(of);
    any("io.containerd.cgroups.v1.Metrics", &all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::protobuf::Message;

    #[test]
    fn numbers_stand_where_each_version_reads_them() {
        let usage = Usage { memory: 4096, cpu: 7_000_000, processes: 3 };
        let one = metrics(usage, false);
        assert_eq!(one.type_url, "io.containerd.cgroups.v1.Metrics");
        let one = v1::Metrics::parse_from_bytes(&one.value).unwrap();
        assert_eq!((one.memory.usage.usage, one.cpu.usage.total), (4096, 7_000_000));
        assert_eq!(one.pids.current, 3);
        let two = metrics(usage, true);
        assert_eq!(two.type_url, "io.containerd.cgroups.v2.Metrics");
        let two = v2::Metrics::parse_from_bytes(&two.value).unwrap();
        assert_eq!((two.memory.usage, two.cpu.usage_usec, two.pids.current), (4096, 7000, 3));
    }
}
