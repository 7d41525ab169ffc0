//! The limits of the control group that a VM's processes are in (cgroup v2).
//!
//! It is that of whoever starts this program (`systemd-run --scope -p MemoryMax=…`), unless the
//! configuration has groups made for the VM. The kernel keeps the limits; they are read for the
//! policy, which can demand that there are such. Source: Linux
//! Documentation/admin-guide/cgroup-v2.rst.

use rustix::fs::{Mode, OFlags, fstat, fstatfs, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// `CGROUP2_SUPER_MAGIC`, `linux/magic.h`.
const CGROUP2: u32 = 0x6367_7270;
/// Groups above each other that are looked at: the kernel's own bound is far lower by default for
/// what anybody delegates (`cgroup.max.depth`).
const DEEPEST: usize = 128;
/// Bytes of a file of a group that are read.
const LONGEST: u64 = 64 * 1024;

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

    /// Of each the lower.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
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

/// The text of a file of the group `directory`.
///
/// # Errors
/// The kernel's; ILSEQ of what is no text.
pub fn read(directory: impl AsFd, file: &str) -> Result<String, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(openat(directory, file, flags, Mode::empty())?);
    let mut text = String::new();
    let read = file.take(LONGEST).read_to_string(&mut text);
    read.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::ILSEQ))?;
    Ok(text)
}

/// Whether this is a directory of cgroup v2.
#[must_use]
pub fn is_group(directory: impl AsFd) -> bool {
    let kind = fstatfs(directory).map(|found| found.f_type);
    kind.is_ok_and(|kind| u32::try_from(kind) == Ok(CGROUP2))
}

/// The limits of the group that is open as `directory`, and of those above it; None where they
/// make no sense, or cannot be read.
#[must_use]
pub fn limits_at(directory: BorrowedFd<'_>) -> Option<CgroupLimits> {
    let mut limits = CgroupLimits::NONE;
    let mut group: OwnedFd = directory.try_clone_to_owned().ok()?;
    for _ in 0..DEEPEST {
        // A group without a controller has no such file: it limits nothing there.
        let text = |file: &str| match read(&group, file) {
            Ok(text) => Some(Some(text)),
            Err(Errno::NOENT) => Some(None),
            Err(_) => None,
        };
        let (cpu, memory, pids) = (text("cpu.max")?, text("memory.max")?, text("pids.max")?);
        let here = CgroupLimits::read(cpu.as_deref(), memory.as_deref(), pids.as_deref())?;
        limits = limits.least(here);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = openat(&group, "..", flags, Mode::empty()).ok()?;
        let place = |fd: &OwnedFd| fstat(fd).map(|found| (found.st_dev, found.st_ino)).ok();
        // Above the highest that this program sees is another file system, or itself.
        if !is_group(&above) || place(&above) == place(&group) {
            return Some(limits);
        }
        group = above;
    }
    None
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
