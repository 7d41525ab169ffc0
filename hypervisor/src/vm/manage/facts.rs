//! What a VM is, for `casemate ps` and `inspect`: what its configuration says, and what became of
//! it. The kernel's command line is not in it, since secrets stand there.

use crate::config::{Cgroup, ConsoleTo, GroupLimits, Net, VmConfig};
use crate::launch::LaunchPlan;
use crate::launch::measure::measure;
use casemate_device_net::{Refusal, Wanted};
use casemate_device_process::{Limits, Rate};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Where a VM is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its first instruction is to come.
    Starting,
    /// Its guest runs.
    Running,
    /// Its guest was asked to switch itself off.
    Stopping,
    /// It has ended; its supervisor waits for a reader of the console.
    Ended,
}

impl State {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
        }
    }
}

/// What a VM is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Where it is in its life.
    pub state: State,
    /// Milliseconds since its start.
    pub uptime_ms: u64,
    /// Its processes that live, the supervisor first.
    pub processes: Vec<ProcessFact>,
    /// What does not change.
    pub vm: VmFacts,
}

/// A process of a VM, as its supervisor knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessFact {
    /// Its kind.
    pub kind: String,
    /// Its number.
    pub pid: u32,
    /// The device that it serves, by its name in the configuration.
    pub device: Option<String>,
    /// Whether it has proved that its lock is in force. The kernel's own word on that is `casemate
    /// sandbox show`.
    pub locked: bool,
    /// The optional layers of its lock that this host could not give it.
    pub without: Vec<String>,
}

/// What a VM was started as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmFacts {
    /// Its name.
    pub name: String,
    /// Memory protection: `none` or `sev-snp`.
    pub protection: String,
    /// Virtual processors.
    pub vcpus: u32,
    /// RAM in MiB.
    pub memory_mib: u64,
    /// Kernel image.
    pub kernel: String,
    /// Initial RAM file system.
    pub initrd: Option<String>,
    /// Where the console goes: `stdio`, `raw`, `pty` or `file:PATH`.
    pub console: String,
    /// Longest run, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// From the power button to the end, in milliseconds.
    pub grace_ms: u64,
    /// The policy that admitted it.
    pub policy: Option<String>,
    /// The SHA-256 of that policy.
    pub policy_hash: Option<String>,
    /// The launch digest of a confidential VM, as it was computed before the launch.
    pub launch_digest: Option<String>,
    /// Disks, in the order of the guest's bus.
    pub disks: Vec<DiskFact>,
    /// Devices that programs of others serve.
    pub vhost_user: Vec<ForeignFact>,
    /// Its socket device.
    pub vsock: Option<VsockFact>,
    /// Network devices.
    #[serde(default)]
    pub nets: Vec<NetFact>,
    /// Whether it has a virtio console beside the serial one.
    #[serde(default)]
    pub virtio_console: bool,
    /// Whether it has a device for random bytes.
    #[serde(default)]
    pub rng: bool,
    /// Its control groups; None where its processes are in that of who started it.
    #[serde(default)]
    pub cgroup: Option<CgroupFact>,
    /// Whether paths and devices are left out, since they are too long for an answer.
    #[serde(default)]
    pub left_out: bool,
}

/// Bytes that may stand in an answer about what does not change: the rest of it is for processes.
const ROOM: usize = 40 * 1024;

/// A disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskFact {
    /// Its name.
    pub name: String,
    /// Its image.
    pub path: String,
    /// Whether it is read only.
    pub read_only: bool,
    /// Whether the host's page cache is passed by.
    pub direct: bool,
    /// What the guest sees as its serial number; empty for none.
    pub serial: String,
    /// Its queues.
    pub queues: u16,
    /// Whether another process was started to stand by.
    pub standby: bool,
    /// Bytes in a second that the guest gets, and at once.
    pub bandwidth: Option<(u64, u64)>,
    /// Requests in a second that it gets, and at once.
    pub iops: Option<(u64, u64)>,
}

impl DiskFact {
    /// Its limits are these now.
    pub(in crate::vm) fn limit(&mut self, limits: Limits) {
        self.bandwidth = limits.bytes.map(numbers);
        self.iops = limits.operations.map(numbers);
    }
}

/// A network device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetFact {
    /// Its name.
    pub name: String,
    /// Its TAP: a name, or the number of the descriptor that was handed over.
    pub tap: String,
    /// The guest's address on the link.
    pub mac: String,
    /// Largest packet that the guest is told to send.
    pub mtu: u16,
    /// Bytes in a second that the guest gets, and at once.
    pub bandwidth: Option<(u64, u64)>,
    /// Frames in a second that it gets, and at once.
    pub packets: Option<(u64, u64)>,
    /// What its process has not let the guest send.
    pub refused: RefusedFact,
}

/// Frames that were not sent, by why. They are told when they have doubled, so at most twice as
/// many are so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedFact {
    /// They say that another card sent them.
    pub source: u64,
    /// They cannot be read.
    pub unread: u64,
    /// `network.egress` does not admit where they go.
    pub egress: u64,
    /// `network.rate` does not admit so many.
    pub rate: u64,
}

impl From<[u64; Refusal::ALL.len()]> for RefusedFact {
    /// Of counts in the order of [`Refusal::ALL`].
    fn from(counts: [u64; Refusal::ALL.len()]) -> Self {
        let mut all = Self::default();
        for (why, count) in Refusal::ALL.into_iter().zip(counts) {
            let slot = match why {
                Refusal::Source => &mut all.source,
                Refusal::Unread => &mut all.unread,
                Refusal::Destination => &mut all.egress,
                Refusal::Rate => &mut all.rate,
            };
            *slot = count;
        }
        all
    }
}

impl NetFact {
    fn of(net: &Net) -> Self {
        let [a, b, c, d, e, f] = net.mac;
        let mut fact = Self {
            name: net.name.clone(),
            tap: match &net.tap {
                Wanted::Existing(name) | Wanted::New { name, .. } => name.clone(),
                Wanted::Descriptor(fd) => format!("fd {fd}"),
            },
            mac: format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
            mtu: net.mtu,
            bandwidth: None,
            packets: None,
            refused: RefusedFact::default(),
        };
        fact.limit(net.limits);
        fact
    }

    /// Its limits are these now.
    pub(in crate::vm) fn limit(&mut self, limits: Limits) {
        self.bandwidth = limits.bytes.map(numbers);
        self.packets = limits.operations.map(numbers);
    }
}

const fn numbers(rate: Rate) -> (u64, u64) {
    (rate.per_second(), rate.burst())
}

/// A device that a program of others serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignFact {
    /// Its name.
    pub name: String,
    /// What it serves: `block`, `net`, `vsock`. Nothing of a VM that an earlier version started.
    #[serde(default)]
    pub kind: String,
    /// Where the program listens.
    pub socket: String,
    /// Its queues.
    pub queues: u16,
}

/// A socket device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VsockFact {
    /// The guest's context id.
    pub cid: u64,
    /// Where programs of the host connect.
    pub path: Option<String>,
    /// Ports of the host that the guest may connect to.
    pub ports: Vec<u32>,
    /// Sockets for single ports of the guest.
    pub forwards: Vec<(u32, String)>,
}

/// The control groups of a VM. What is used of their limits, the kernel says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CgroupFact {
    /// The directory of the VM's group, in which each of its processes has one.
    pub directory: String,
    /// Of all processes together.
    pub limits: LimitsFact,
    /// Of single processes: the name of its group, and its limits.
    pub processes: Vec<(String, LimitsFact)>,
}

/// Limits that the kernel keeps; None: it keeps none there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsFact {
    /// Share of processor time among the groups beside it.
    pub cpu_weight: Option<u64>,
    /// Processor time, 100 for one processor.
    pub cpu_percent: Option<u64>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl From<GroupLimits> for LimitsFact {
    fn from(limits: GroupLimits) -> Self {
        let GroupLimits { cpu_weight, cpu_percent, memory, pids } = limits;
        Self { cpu_weight, cpu_percent, memory_mib: memory.map(|bytes| bytes >> 20), pids }
    }
}

impl CgroupFact {
    fn of(wanted: &Cgroup, directory: &Path) -> Self {
        let process =
            |(name, limits): &(String, GroupLimits)| (name.clone(), LimitsFact::from(*limits));
        Self {
            directory: text(directory),
            limits: wanted.vm.into(),
            processes: wanted.processes.iter().map(process).collect(),
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Milliseconds, in a number that JSON's readers have.
pub(in crate::vm) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl VmFacts {
    /// Of a configuration and the plan that was made of it; `group` is the VM's control group.
    pub(in crate::vm) fn of(config: &VmConfig, plan: &LaunchPlan, group: Option<&Path>) -> Self {
        let unlimited = |disk: &crate::config::Disk| DiskFact {
            name: disk.name.clone(),
            path: text(&disk.path),
            read_only: disk.read_only,
            direct: disk.direct,
            serial: disk.serial.clone(),
            queues: disk.queues,
            standby: disk.standby,
            bandwidth: None,
            iops: None,
        };
        let disk = |disk: &crate::config::Disk| {
            let mut fact = unlimited(disk);
            fact.limit(disk.limits);
            fact
        };
        let foreign = |foreign: &crate::config::Foreign| ForeignFact {
            name: foreign.name.clone(),
            kind: foreign.kind.name().into(),
            socket: text(&foreign.socket),
            queues: foreign.queues,
        };
        let forward = |(port, path): &(u32, std::path::PathBuf)| (*port, text(path));
        let vsock = |vsock: &crate::config::Vsock| VsockFact {
            cid: vsock.cid,
            path: vsock.path.as_deref().map(text),
            ports: vsock.ports.clone(),
            forwards: vsock.forwards.iter().map(forward).collect(),
        };
        let console = match &config.console.to {
            ConsoleTo::Stdio => "stdio".into(),
            ConsoleTo::Raw => "raw".into(),
            ConsoleTo::Pty => "pty".into(),
            ConsoleTo::File(path) => format!("file:{}", text(path)),
        };
        let digest = measure(plan).map(|measured| measured.digest);
        let whole = Self {
            name: config.name.clone(),
            protection: config.protection.to_string(),
            vcpus: plan.vcpus,
            memory_mib: config.memory >> 20,
            kernel: text(&config.kernel),
            initrd: config.initrd.as_deref().map(text),
            console,
            timeout_ms: config.timeout.map(millis),
            grace_ms: millis(config.grace),
            policy: None,
            policy_hash: None,
            launch_digest: digest.map(|digest| casemate_attestation::hex::encode(&digest)),
            disks: config.disks.iter().map(disk).collect(),
            vhost_user: config.foreign.iter().map(foreign).collect(),
            vsock: config.vsock.as_ref().map(vsock),
            nets: config.nets.iter().map(NetFact::of).collect(),
            virtio_console: config.virtio_console,
            rng: config.rng,
            cgroup: config
                .cgroup
                .as_ref()
                .zip(group)
                .map(|(wanted, at)| CgroupFact::of(wanted, at)),
            left_out: false,
        };
        if serde_json::to_string(&whole).is_ok_and(|text| text.len() <= ROOM) {
            whole
        } else {
            whole.in_short()
        }
    }

    /// The same without what its user can make as long as they like. A locked supervisor has a heap
    /// that does not grow, so an answer has a bound before anybody asks.
    fn in_short(self) -> Self {
        Self {
            kernel: String::new(),
            initrd: None,
            console: String::new(),
            disks: Vec::new(),
            vhost_user: Vec::new(),
            vsock: None,
            cgroup: None,
            nets: Vec::new(),
            left_out: true,
            ..self
        }
    }
}
