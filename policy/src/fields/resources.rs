//! `[resources]`: how much of the host a guest may take.

use super::{ANY, Enforcer, Field, Key, Kind, NOTHING, field};

const BY: &str = Enforcer::Start.text();
const CGROUP: &str = Enforcer::ControlGroup.text();
const SHARE: &str = "The guest, or a device process taken over by it, starves its neighbours.";

pub(super) const RESOURCES: &[Field] = &[
    field(
        "resources.vcpus",
        Key::ResourcesVcpus,
        Kind::Interval,
        [NOTHING, "Number of virtual processors.", BY, SHARE],
    ),
    field(
        "resources.memory_mib",
        Key::ResourcesMemory,
        Kind::Interval,
        [NOTHING, "Guest memory in MiB.", BY, SHARE],
    ),
    field(
        "resources.disk_mib",
        Key::ResourcesDisk,
        Kind::CeilingEach,
        [
            NOTHING,
            "Greatest size of each disk in MiB.",
            BY,
            "The guest fills the file system that the other guests' disks are on.",
        ],
    ),
    field(
        "resources.disk_total_mib",
        Key::ResourcesDiskTotal,
        Kind::Ceiling,
        [
            NOTHING,
            "Greatest size of all disks together in MiB.",
            BY,
            "The guest fills the file system that the other guests' disks are on.",
        ],
    ),
    field(
        "resources.queues",
        Key::ResourcesQueues,
        Kind::Ceiling,
        [
            NOTHING,
            "Greatest number of virtqueues of all devices together.",
            BY,
            "Each queue costs event descriptors and memory of the host.",
        ],
    ),
    field(
        "resources.huge_pages",
        Key::ResourcesHugePages,
        Kind::Flag,
        [
            "\"forbidden\"",
            "Whether the guest takes huge pages.",
            BY,
            "A scarce pool of the host is drained.",
        ],
    ),
    field(
        "resources.pinned",
        Key::ResourcesPinned,
        Kind::Flag,
        [
            "\"forbidden\"",
            "Whether virtual processors are pinned to host processors.",
            BY,
            "A guest is placed beside its victim on purpose.",
        ],
    ),
    field(
        "resources.cpu_percent",
        Key::ResourcesCpuPercent,
        Kind::Ceiling,
        [
            NOTHING,
            "Processor time of the VM's control group, 100 for one processor.",
            CGROUP,
            SHARE,
        ],
    ),
    field(
        "resources.cgroup_memory_mib",
        Key::ResourcesCgroupMemory,
        Kind::Ceiling,
        [
            NOTHING,
            "Memory of the VM's control group in MiB, its own processes included.",
            CGROUP,
            SHARE,
        ],
    ),
    field(
        "resources.pids",
        Key::ResourcesPids,
        Kind::Ceiling,
        [NOTHING, "Processes and threads of the VM.", CGROUP, SHARE],
    ),
    field(
        "resources.open_files",
        Key::ResourcesOpenFiles,
        Kind::Ceiling,
        [
            ANY,
            "Open files of each process of the VM.",
            Enforcer::OpenFiles.text(),
            "None for a process that is locked: it opens nothing.",
        ],
    ),
];
