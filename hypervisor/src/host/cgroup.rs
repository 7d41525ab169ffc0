//! The limits of the control group that this program, and so every process of its VM, is in (cgroup
//! v2).
//!
//! Casemate makes no control group: whoever starts it does (`systemd-run --scope -p MemoryMax=…`),
//! and the kernel enforces the limits. They are read for the policy, which can demand that there
//! are such. Source: Linux Documentation/admin-guide/cgroup-v2.rst.

use std::path::Path;

/// What is not limited: the greatest number of a policy.
pub const UNLIMITED: u64 = i64::MAX.cast_unsigned();

/// Limits that hold for a VM: the least of its group's and of those above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CgroupLimits {
    /// Processor time, 100 for one processor.
    pub cpu_percent: u64,
    /// Memory in MiB, rounded up.
    pub memory_mib: u64,
    /// Most processes and threads together.
    pub pids: u64,
}

impl CgroupLimits {
    /// What holds where nothing is limited.
    const NONE: Self = Self { cpu_percent: UNLIMITED, memory_mib: UNLIMITED, pids: UNLIMITED };

    /// What one group's files `cpu.max`, `memory.max` and `pids.max` say; None for a file that is
    /// there and says something else than the kernel's documentation has.
    #[must_use]
    pub fn read(cpu: Option<&str>, memory: Option<&str>, pids: Option<&str>) -> Option<Self> {
        let of = |text: Option<&str>, read: fn(&str) -> Option<u64>| {
            text.map_or(Some(UNLIMITED), |text| read(text.trim()))
        };
        Some(Self {
            cpu_percent: of(cpu, percent)?,
            memory_mib: of(memory, mib)?,
            pids: of(pids, number)?,
        })
    }

    fn least(self, other: Self) -> Self {
        Self {
            cpu_percent: self.cpu_percent.min(other.cpu_percent),
            memory_mib: self.memory_mib.min(other.memory_mib),
            pids: self.pids.min(other.pids),
        }
    }
}

/// The limits in force; none where control groups cannot be read.
#[must_use]
pub fn limits() -> Option<CgroupLimits> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    limits_in(Path::new(&mount_point(&mounts)?), &own)
}

/// The limits of the group that `own`, the text of `/proc/self/cgroup`, names below `root`.
pub(super) fn limits_in(root: &Path, own: &str) -> Option<CgroupLimits> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut group = root.join(path);
    if !group.is_dir() {
        return None;
    }
    let mut limits = CgroupLimits::NONE;
    loop {
        // A group without a controller has no such file: it limits nothing there.
        let text = |file: &str| std::fs::read_to_string(group.join(file)).ok();
        let (cpu, memory, pids) = (text("cpu.max"), text("memory.max"), text("pids.max"));
        let here = CgroupLimits::read(cpu.as_deref(), memory.as_deref(), pids.as_deref())?;
        limits = limits.least(here);
        if group == root || !group.pop() {
            return Some(limits);
        }
    }
}

/// Where cgroup v2 is mounted, from the text of `/proc/self/mountinfo`: the fifth field of its
/// line. The kernel writes blanks, tabs, newlines and backslashes of a path as a backslash and
/// three octal digits (fs/proc_namespace.c, `mangle`), and nothing else so.
#[must_use]
pub fn mount_point(mountinfo: &str) -> Option<String> {
    let line = mountinfo.lines().find(|line| {
        line.split_once(" - ").is_some_and(|(_, rest)| rest.starts_with("cgroup2 "))
    })?;
    let mut rest = line.split(' ').nth(4)?;
    let mut path = String::new();
    while let Some((before, after)) = rest.split_once('\\') {
        let (digits, after) = after.split_at_checked(3)?;
        path.push_str(before);
        path.push(match digits {
            "040" => ' ',
            "011" => '\t',
            "012" => '\n',
            "134" => '\\',
            _ => return None,
        });
        rest = after;
    }
    path.push_str(rest);
    Some(path)
}

fn number(text: &str) -> Option<u64> {
    if text == "max" { Some(UNLIMITED) } else { text.parse().ok().filter(|n| *n <= UNLIMITED) }
}

fn mib(text: &str) -> Option<u64> {
    let bytes = number(text)?;
    Some(if bytes == UNLIMITED { bytes } else { bytes.div_ceil(1 << 20) })
}

/// `cpu.max` is the time of a period that may be used, and the period.
fn percent(text: &str) -> Option<u64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period) = (number(quota)?, number(period)?);
    if quota == UNLIMITED {
        return Some(UNLIMITED);
    }
    Some(quota.checked_mul(100)?.div_ceil(period.max(1)))
}
