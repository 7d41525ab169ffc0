//! What is in force for a process, read back from the kernel.
//!
//! /proc answers for processes of the same user that are dumpable; a locked process is not, so most
//! answers need root. What cannot be read is said to be unknown. Landlock and MDWE cannot be read
//! from outside at all.

use super::SandboxError;
use super::fence_seen::FenceSeen;
use super::filter_seen::{Filter, filters};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{read_dir, read_link, read_to_string};

/// What is in force for a process. `None`: it could not be read.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct InForce {
    /// Its number here, in this process's namespace.
    pub pid: u32,
    /// How many threads it has.
    pub threads: u32,
    /// seccomp: 0 none, 2 filter.
    pub seccomp_mode: u32,
    /// How many filters every call passes.
    pub seccomp_filters: u32,
    /// Whether all threads have the same number of filters and of capabilities.
    pub threads_agree: bool,
    /// The filters themselves, newest first; needs root.
    pub filters: Option<Vec<Filter>>,
    /// No privilege by exec.
    pub no_new_privs: bool,
    /// Capabilities: effective, permitted, inheritable, bounding, ambient.
    pub capabilities: BTreeMap<&'static str, u64>,
    /// Real user id, in our user namespace.
    pub uid: u32,
    /// The control group that it is in (cgroup v2), as this process sees it.
    pub cgroup: Option<String>,
    /// Namespaces, and whether each is other than ours.
    pub namespaces: Option<BTreeMap<&'static str, bool>>,
    /// Open descriptors and what they are.
    pub descriptors: Option<BTreeMap<u32, String>>,
    /// What of shared memory is behind a fence.
    pub fence: Option<FenceSeen>,
    /// What its root directory contains.
    pub root: Option<Vec<String>>,
    /// Resource limits that are not unlimited: name, soft limit.
    pub limits: Option<BTreeMap<String, String>>,
}

const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "ipc", "uts", "cgroup", "net"];
const CAPABILITIES: [(&str, &str); 5] = [
    ("effective", "CapEff"),
    ("permitted", "CapPrm"),
    ("inheritable", "CapInh"),
    ("bounding", "CapBnd"),
    ("ambient", "CapAmb"),
];

/// The value of a field of /proc/PID/status.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()
}

fn number(status: &str, name: &str) -> u32 {
    field(status, name).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Reads back what is in force for process `pid`.
///
/// # Errors
/// [`SandboxError::System`] when there is no such process.
pub fn inspect(pid: u32) -> Result<InForce, SandboxError> {
    let status = read_to_string(format!("/proc/{pid}/status"))
        .map_err(|e| SandboxError::system("read /proc/PID/status", e))?;
    let capability = |key| field(&status, key).and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let capabilities =
        CAPABILITIES.into_iter().filter_map(|(name, key)| Some((name, capability(key)?))).collect();
    let seccomp_filters = number(&status, "Seccomp_filters");
    let descriptors = descriptors(pid);
    Ok(InForce {
        pid,
        threads: number(&status, "Threads"),
        seccomp_mode: number(&status, "Seccomp"),
        seccomp_filters,
        threads_agree: threads_agree(pid, &status),
        filters: filters(pid, seccomp_filters),
        no_new_privs: number(&status, "NoNewPrivs") == 1,
        capabilities,
        uid: number(&status, "Uid"),
        cgroup: cgroup(pid),
        namespaces: namespaces(pid),
        fence: descriptors.as_ref().and_then(|all| FenceSeen::of(pid, all)),
        descriptors,
        root: root(pid),
        limits: limits(pid),
    })
}

/// The path of its group: the line of /proc/PID/cgroup of the hierarchy that has number 0.
fn cgroup(pid: u32) -> Option<String> {
    let text = read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

fn threads_agree(pid: u32, status: &str) -> bool {
    let Ok(tasks) = read_dir(format!("/proc/{pid}/task")) else { return false };
    let fields = ["Seccomp", "Seccomp_filters", "NoNewPrivs", "CapEff", "CapPrm", "CapBnd"];
    tasks.filter_map(Result::ok).all(|task| {
        let other = read_to_string(task.path().join("status")).unwrap_or_default();
        fields.iter().all(|name| field(status, name) == field(&other, name))
    })
}

fn namespaces(pid: u32) -> Option<BTreeMap<&'static str, bool>> {
    NAMESPACES
        .into_iter()
        .map(|name| {
            let theirs = read_link(format!("/proc/{pid}/ns/{name}")).ok()?;
            let ours = read_link(format!("/proc/self/ns/{name}")).ok()?;
            Some((name, theirs != ours))
        })
        .collect()
}

fn descriptors(pid: u32) -> Option<BTreeMap<u32, String>> {
    let entries = read_dir(format!("/proc/{pid}/fd")).ok()?;
    let describe = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let fd = entry.file_name().to_str()?.parse().ok()?;
        Some((fd, read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
    };
    Some(entries.filter_map(describe).collect())
}

fn root(pid: u32) -> Option<Vec<String>> {
    let entries = read_dir(format!("/proc/{pid}/root")).ok()?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into()));
    Some(names.collect())
}

fn limits(pid: u32) -> Option<BTreeMap<String, String>> {
    let text = read_to_string(format!("/proc/{pid}/limits")).ok()?;
    // Columns are wide: the name is in the first 26, the soft limit in the next 21.
    let limit = |line: &str| {
        let (name, rest) = line.split_at_checked(26)?;
        let soft = rest.split_whitespace().next()?;
        (soft != "unlimited").then(|| (name.trim().to_owned(), soft.to_owned()))
    };
    Some(text.lines().skip(1).filter_map(limit).collect())
}

impl fmt::Display for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNKNOWN: &str = "unknown (needs root)";
        writeln!(f, "process            {}, {} threads, uid {}", self.pid, self.threads, self.uid)?;
        let mode = match self.seccomp_mode {
            0 => "NONE".to_owned(),
            _ => format!("{} filters", self.seccomp_filters),
        };
        let agree = if self.threads_agree { "all threads" } else { "THREADS DIFFER" };
        writeln!(f, "seccomp            {mode}, {agree}")?;
        match &self.filters {
            Some(filters) => {
                filters.iter().try_for_each(|x| writeln!(f, "  filter           {x}"))?;
            }
            None => writeln!(f, "  filter           {UNKNOWN}")?,
        }
        writeln!(f, "no_new_privs       {}", if self.no_new_privs { "yes" } else { "NO" })?;
        for (set, value) in &self.capabilities {
            let text = if *value == 0 { "none".into() } else { format!("{value:#x}") };
            writeln!(f, "capabilities       {set}: {text}")?;
        }
        writeln!(f, "control group      {}", self.cgroup.as_deref().unwrap_or("unknown"))?;
        match &self.namespaces {
            Some(all) => {
                let own = all.iter().filter(|(_, own)| **own).map(|(name, _)| *name);
                let own: Vec<_> = own.collect();
                let shared: Vec<_> =
                    all.iter().filter(|(_, own)| !**own).map(|(name, _)| *name).collect();
                writeln!(f, "namespaces         own: {}; ours: {}", list(&own), list(&shared))?;
            }
            None => writeln!(f, "namespaces         {UNKNOWN}")?,
        }
        match &self.root {
            Some(names) if names.is_empty() => writeln!(f, "root directory     empty")?,
            Some(names) => writeln!(f, "root directory     {} entries", names.len())?,
            None => writeln!(f, "root directory     {UNKNOWN}")?,
        }
        match &self.fence {
            Some(fence) => writeln!(f, "memory fence       {fence}")?,
            None => writeln!(f, "memory fence       {UNKNOWN}")?,
        }
        match &self.descriptors {
            Some(fds) => {
                fds.iter()
                    .try_for_each(|(fd, what)| writeln!(f, "descriptor         {fd}: {what}"))?;
            }
            None => writeln!(f, "descriptors        {UNKNOWN}")?,
        }
        match &self.limits {
            Some(limits) => limits
                .iter()
                .try_for_each(|(name, value)| writeln!(f, "limit              {name}: {value}")),
            None => writeln!(f, "limits             {UNKNOWN}"),
        }
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
