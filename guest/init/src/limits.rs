//! What a workload may take of the guest: a cgroup of its own (Linux
//! Documentation/admin-guide/cgroup-v2.rst) with a bound on memory and on processes.
//!
//! Without it the kernel would end some process when memory is short, of the workload's the one
//! that it likes least, and the rest would go on and leave half a result that looks like a whole
//! one. With it all of them are ended together, and that this was the reason is told.

use casemate_layout::Refusal;
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Where programs look for it: language runtimes take the size of their heaps from there.
const TREE: &str = "/sys/fs/cgroup";
const OURS: &str = "/sys/fs/cgroup/workload";
/// Memory that stays PID 1's and the kernel's: buffers for sealing, and what the kernel takes for
/// nobody in particular.
const RESERVE: u64 = 12 << 20;
/// Processes and threads. Each also costs memory, which small guests bound first.
const MAX_PROCESSES: u64 = 4096;
/// Longest file of `/proc` and of a cgroup that is read here.
const MAX_FILE: u64 = 64 * 1024;

/// The workload's cgroup, for who has its files open: nobody but PID 1 can write to them.
pub struct Limits {
    /// `cgroup.procs`: who writes `0` to it is in the cgroup.
    entry: OwnedFd,
    /// `memory.events`.
    events: File,
}

impl Limits {
    /// Makes the cgroup, with what of the memory is left now.
    ///
    /// # Errors
    /// [`Refusal::Limits`]: a workload without a bound is not started.
    pub fn set() -> core::result::Result<Self, Refusal> {
        Self::made().map_err(|e| {
            eprintln!("casemate-init: the workload's limits: {e}");
            Refusal::Limits
        })
    }

    fn made() -> Result<Self> {
        let closed = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("cgroup2", TREE, "cgroup2", closed, None)?;
        write(TREE, "cgroup.subtree_control", "+memory +pids")?;
        std::fs::create_dir(OURS)?;
        write(OURS, "memory.max", &room(&read(Path::new("/proc/meminfo"))?)?.to_string())?;
        write(OURS, "memory.oom.group", "1")?;
        write(OURS, "pids.max", &MAX_PROCESSES.to_string())?;
        let path = |name: &str| format!("{OURS}/{name}");
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let entry = open(path("cgroup.procs"), flags, Mode::empty())?;
        let events = File::open(path("memory.events"))?;
        // The files belong to root, and writing to them needs no capability. So nobody gets this
        // mount: what is open stays so, and what a workload sees is another one.
        unmount(TREE, UnmountFlags::DETACH)?;
        mount("cgroup2", TREE, "cgroup2", closed | MountFlags::RDONLY, None)?;
        Ok(Self { entry, events })
    }

    /// What the workload's process writes `0` to, before it is the workload's.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn entry(&self) -> Result<OwnedFd> {
        self.entry.try_clone()
    }

    /// Whether the workload was ended because it wanted more memory than there is.
    pub fn ran_out(mut self) -> bool {
        let mut text = String::new();
        let from = self.events.seek(SeekFrom::Start(0));
        let read = from.and_then(|_| self.events.take(MAX_FILE).read_to_string(&mut text));
        read.is_ok() && number(&text, "oom_kill ").is_some_and(|count| count > 0)
    }
}

fn write(folder: &str, name: &str, value: &str) -> Result<()> {
    let failed = |e: Error| Error::new(e.kind(), format!("{folder}/{name}: {e}"));
    std::fs::write(format!("{folder}/{name}"), value).map_err(failed)
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// Bytes for the workload, of what `/proc/meminfo` says is available.
fn room(meminfo: &str) -> Result<u64> {
    let none = || Error::new(ErrorKind::InvalidData, "/proc/meminfo says no MemAvailable");
    let available = number(meminfo, "MemAvailable:").ok_or_else(none)?.saturating_mul(1024);
    Ok(available.saturating_sub(RESERVE.min(available / 2)))
}

/// The number behind a word that begins a line.
fn number(text: &str, word: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(word))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_gets_what_is_available_without_the_reserve_and_at_least_half() {
        let text = |kib: u64| format!("MemTotal: 1 kB\nMemAvailable:   {kib} kB\nBuffers: 2 kB\n");
        assert_eq!(room(&text(100 << 10)).unwrap(), 88 << 20);
        assert_eq!(room(&text(10 << 10)).unwrap(), 5 << 20);
        assert_eq!(room(&text(u64::MAX)).unwrap(), u64::MAX - RESERVE);
        assert!(room("MemTotal: 1 kB\n").is_err());
        assert!(room("MemAvailable: many\n").is_err());
    }

    /// `oom_group_kill` is another line.
    #[test]
    fn the_number_of_a_word_is_not_that_of_a_longer_one() {
        let events = "low 0\nhigh 0\nmax 7\noom 2\noom_group_kill 3\noom_kill 1\n";
        assert_eq!(number(events, "oom_kill "), Some(1));
        assert_eq!(number(events, "oom "), Some(2));
        assert_eq!(number(events, "none "), None);
    }
}
