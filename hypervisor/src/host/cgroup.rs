//! The limits of the control group that this program, and so every process of its VM, is in (cgroup
//! v2).
//!
//! Casemate makes no control group: whoever starts it does (`systemd-run --scope -p MemoryMax=…`),
//! and the kernel enforces the limits. They are read for the policy, which can demand that there
//! are such. Source: Linux Documentation/admin-guide/cgroup-v2.rst.

use super::confinement::cgroup2_mount;
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
    /// Processes and threads.
    pub pids: u64,
}

/// The limits in force; none where control groups cannot be read.
#[must_use]
pub fn limits() -> Option<CgroupLimits> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    limits_in(Path::new(cgroup2_mount(&mounts)?), &own)
}

/// The limits of the group that `own`, the text of `/proc/self/cgroup`, names below `root`.
pub(super) fn limits_in(root: &Path, own: &str) -> Option<CgroupLimits> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut group = root.join(path);
    if !group.is_dir() {
        return None;
    }
    let mut limits =
        CgroupLimits { cpu_percent: UNLIMITED, memory_mib: UNLIMITED, pids: UNLIMITED };
    loop {
        // A group without a controller has no such file: it limits nothing there.
        let least = |now: &mut u64, file: &str, read: fn(&str) -> Option<u64>| {
            let text = std::fs::read_to_string(group.join(file));
            let limit = text.map_or(Some(UNLIMITED), |text| read(text.trim()))?;
            *now = limit.min(*now);
            Some(())
        };
        least(&mut limits.cpu_percent, "cpu.max", percent)?;
        least(&mut limits.memory_mib, "memory.max", mib)?;
        least(&mut limits.pids, "pids.max", number)?;
        if group == root || !group.pop() {
            return Some(limits);
        }
    }
}

fn number(text: &str) -> Option<u64> {
    if text == "max" { Some(UNLIMITED) } else { text.parse().ok() }
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
