//! Limits that the kernel keeps, by control groups (cgroup v2): `[cgroup]`, and its flags.
//!
//! The keys have the names of the policy's fields where there are such (`resources.cpu_percent`,
//! `resources.pids`), and their units.

use super::size::with_unit;
use super::{ConfigError, Disk, VmConfig, parse_size};
use casemate_foreign_text::value;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Weights of cgroup v2: 100 is what a group has that nobody gave one.
const WEIGHTS: (u64, u64) = (1, 10_000);
/// 1 is what the kernel has at least, a millisecond of each 100; the most are 1024 processors.
const PERCENT: (u64, u64) = (1, 102_400);
/// In bytes. The least that a process of ours starts in is more.
const MEMORY: (u64, u64) = (1 << 20, 1 << 46);
/// `PID_MAX_LIMIT` of Linux.
const PIDS: (u64, u64) = (1, 4 << 20);
/// Limits of processes that are read at most.
const MOST: usize = 64;

/// What to write for limits in one line.
const FLAG: &str = "write [PROCESS:]KEY=VALUE[,KEY=VALUE…] with the keys cpu_weight, cpu_percent, \
                    memory and pids, each at most once";

/// Limits of one group as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawGroupLimits {
    /// Share of processor time among the groups beside it.
    pub cpu_weight: Option<u64>,
    /// Processor time, 100 for one processor.
    pub cpu_percent: Option<u64>,
    /// Memory, such as "2G".
    #[serde(default, deserialize_with = "with_unit")]
    pub memory: Option<String>,
    /// Processes and threads together.
    pub pids: Option<u64>,
}

/// The `[cgroup]` table as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCgroup {
    /// A directory of cgroup v2 that is delegated to the user.
    pub directory: Option<PathBuf>,
    /// Of the whole VM, as in [`RawGroupLimits`].
    pub cpu_weight: Option<u64>,
    /// The same.
    pub cpu_percent: Option<u64>,
    /// The same.
    #[serde(default, deserialize_with = "with_unit")]
    pub memory: Option<String>,
    /// The same.
    pub pids: Option<u64>,
    /// Of single processes, by the names of their groups.
    #[serde(default)]
    pub process: BTreeMap<String, RawGroupLimits>,
}

/// Limits of one group. None: the kernel keeps none there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupLimits {
    /// Share of processor time among the groups beside it, 1 to 10000.
    pub cpu_weight: Option<u64>,
    /// Processor time, 100 for one processor.
    pub cpu_percent: Option<u64>,
    /// Memory in bytes, whole MiB.
    pub memory: Option<u64>,
    /// Processes and threads together.
    pub pids: Option<u64>,
}

/// Control groups as they will be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Where.
    pub directory: PathBuf,
    /// Of all processes of the VM together.
    pub vm: GroupLimits,
    /// Of single processes, by the names of their groups ([`Leaf`]).
    pub processes: Vec<(String, GroupLimits)>,
}

/// The control group of one process: its name below that of the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf<'a> {
    /// The vmm process.
    Vmm,
    /// The process of a disk, by the disk's name.
    Block(&'a str),
    /// The one that stands by for it.
    Standby(&'a str),
    /// The process of the socket device.
    Vsock,
    /// Its connector.
    Connector,
    /// The process of a network device, by the device's name.
    Net(&'a str),
    /// The virtio console.
    Console,
    /// The source of random numbers.
    Rng,
    /// The recorder of the decision log.
    Recorder,
}

impl fmt::Display for Leaf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vmm => f.write_str("vmm"),
            Self::Block(disk) => write!(f, "block-{disk}"),
            Self::Standby(disk) => write!(f, "standby-{disk}"),
            Self::Net(card) => write!(f, "net-{card}"),
            Self::Vsock => f.write_str("vsock"),
            Self::Connector => f.write_str("connector"),
            Self::Console => f.write_str("console"),
            Self::Rng => f.write_str("rng"),
            Self::Recorder => f.write_str("recorder"),
        }
    }
}

impl Leaf<'_> {
    /// The groups of a VM's processes; that of a recorder too, which only the command line asks
    /// for.
    #[must_use]
    pub fn all(config: &VmConfig) -> Vec<Leaf<'_>> {
        let mut all = vec![Leaf::Vmm, Leaf::Recorder];
        for Disk { name, standby, .. } in &config.disks {
            all.push(Leaf::Block(name));
            all.extend(standby.then_some(Leaf::Standby(name)));
        }
        if let Some(vsock) = &config.vsock {
            all.push(Leaf::Vsock);
            all.extend(vsock.connects().then_some(Leaf::Connector));
        }
        all.extend(config.virtio_console.then_some(Leaf::Console));
        all.extend(config.rng.then_some(Leaf::Rng));
        all.extend(config.nets.iter().map(|net| Leaf::Net(&net.name)));
        all
    }
}

impl RawGroupLimits {
    /// Takes one; false when it is none, or was there already.
    fn take(&mut self, key: &str, text: &str) -> bool {
        let number_of = |slot: &mut Option<u64>| {
            // `parse` would take a sign.
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            match text.parse() {
                Ok(number) if digits => slot.replace(number).is_none(),
                _ => false,
            }
        };
        match key {
            "cpu_weight" => number_of(&mut self.cpu_weight),
            "cpu_percent" => number_of(&mut self.cpu_percent),
            "memory" => !text.is_empty() && self.memory.replace(text.to_owned()).is_none(),
            "pids" => number_of(&mut self.pids),
            _ => false,
        }
    }

    /// Checks them; `keys` is what errors call each.
    fn check(&self, keys: &Keys) -> Result<GroupLimits, ConfigError> {
        let within = |key, number: Option<u64>, (least, most): (u64, u64)| match number {
            Some(number) if !(least..=most).contains(&number) => {
                Err(ConfigError::invalid(key, number, format!("use {least} to {most}")))
            }
            number => Ok(number),
        };
        let memory = self.memory.as_deref();
        let bytes = memory.map(|text| parse_size(keys.memory, text)).transpose()?;
        let (least, most) = MEMORY;
        if let Some((bytes, text)) = bytes.zip(memory)
            && (!(least..=most).contains(&bytes) || !bytes.is_multiple_of(1 << 20))
        {
            let remedy = format!("use whole MiB, from 1M to {}G", most >> 30);
            return Err(ConfigError::invalid(keys.memory, format!("{text:?}"), remedy));
        }
        Ok(GroupLimits {
            cpu_weight: within(keys.cpu_weight, self.cpu_weight, WEIGHTS)?,
            cpu_percent: within(keys.cpu_percent, self.cpu_percent, PERCENT)?,
            memory: bytes,
            pids: within(keys.pids, self.pids, PIDS)?,
        })
    }
}

/// What the limits of a group are called.
struct Keys {
    cpu_weight: &'static str,
    cpu_percent: &'static str,
    memory: &'static str,
    pids: &'static str,
}

const OF_VM: Keys = Keys {
    cpu_weight: "cgroup.cpu_weight",
    cpu_percent: "cgroup.cpu_percent",
    memory: "cgroup.memory",
    pids: "cgroup.pids",
};

const OF_PROCESS: Keys = Keys {
    cpu_weight: "cgroup.process.cpu_weight",
    cpu_percent: "cgroup.process.cpu_percent",
    memory: "cgroup.process.memory",
    pids: "cgroup.process.pids",
};

impl RawCgroup {
    /// Takes the limits of a flag, `[PROCESS:]KEY=VALUE[,…]`, in place of those that the file has
    /// for that group.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn limit_from_flag(&mut self, flag: &str) -> Result<(), ConfigError> {
        let wrong =
            || ConfigError::invalid("cgroup", format!("\"{}\"", value(flag).at_most(64)), FLAG);
        let (process, words) = match flag.split_once(':') {
            Some((process, words)) => (Some(process), words),
            None => (None, flag),
        };
        let mut limits = RawGroupLimits::default();
        for word in words.split(',') {
            let (key, text) = word.split_once('=').ok_or_else(wrong)?;
            if !limits.take(key, text) {
                return Err(wrong());
            }
        }
        match process {
            Some("") => return Err(wrong()),
            Some(process) => {
                self.process.insert(process.to_owned(), limits);
            }
            None => {
                let RawGroupLimits { cpu_weight, cpu_percent, memory, pids } = limits;
                (self.cpu_weight, self.cpu_percent) = (cpu_weight, cpu_percent);
                (self.memory, self.pids) = (memory, pids);
            }
        }
        Ok(())
    }

    pub(super) fn resolve(&mut self, directory: &Path) {
        if let Some(path) = &mut self.directory {
            *path = directory.join(&*path);
        }
    }

    /// Checks all of it but the names of processes, see [`Cgroup::check_names`].
    pub(super) fn check(self) -> Result<Cgroup, ConfigError> {
        let directory = self.directory.ok_or(ConfigError::Missing {
            field: "cgroup.directory",
            remedy: "limits are kept by a control group: name a directory of cgroup v2 that is \
                     delegated to you (`directory = \"…\"` or --cgroup)",
        })?;
        let (cpu_weight, cpu_percent) = (self.cpu_weight, self.cpu_percent);
        let whole =
            RawGroupLimits { cpu_weight, cpu_percent, memory: self.memory, pids: self.pids };
        let vm = whole.check(&OF_VM)?;
        if self.process.len() > MOST {
            let times = format!("{} times there", self.process.len());
            return Err(ConfigError::invalid("cgroup.process", times, format!("use {MOST}")));
        }
        let mut processes = Vec::new();
        for (name, limits) in self.process {
            let limits = limits.check(&OF_PROCESS)?;
            vm.holds(limits, &name)?;
            processes.push((name, limits));
        }
        Ok(Cgroup { directory, vm, processes })
    }
}

impl GroupLimits {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses more for one process than for all.
    fn holds(self, one: Self, name: &str) -> Result<(), ConfigError> {
        let mib = |bytes: Option<u64>| bytes.map(|bytes| bytes >> 20);
        for (key, whole_key, part, whole, unit) in [
            (OF_PROCESS.cpu_percent, OF_VM.cpu_percent, one.cpu_percent, self.cpu_percent, ""),
            (OF_PROCESS.memory, OF_VM.memory, mib(one.memory), mib(self.memory), "M"),
            (OF_PROCESS.pids, OF_VM.pids, one.pids, self.pids, ""),
        ] {
            if let (Some(part), Some(whole)) = (part, whole)
                && part > whole
            {
                let name = value(name).at_most(64);
                let remedy = format!("all processes together have {whole}{unit} (`{whole_key}`)");
                let written = format!("{part}{unit} for \"{name}\"");
                return Err(ConfigError::invalid(key, written, remedy));
            }
        }
        Ok(())
    }
}

impl Cgroup {
    /// The limits of a process.
    #[must_use]
    pub fn of(&self, leaf: Leaf<'_>) -> GroupLimits {
        let name = leaf.to_string();
        let found = self.processes.iter().find(|(known, _)| *known == name);
        found.map_or_else(GroupLimits::default, |(_, limits)| *limits)
    }

    /// The groups that are limited: the VM's, then those of processes.
    pub fn limited(&self) -> impl Iterator<Item = GroupLimits> {
        std::iter::once(self.vm).chain(self.processes.iter().map(|(_, limits)| *limits))
    }

    /// Refuses limits of a process that the VM does not have: they would be kept by nobody.
    pub(super) fn check_names(&self, leaves: &[Leaf<'_>]) -> Result<(), ConfigError> {
        let known: Vec<String> = leaves.iter().map(ToString::to_string).collect();
        let unknown = self.processes.iter().find(|(name, _)| !known.contains(name));
        unknown.map_or(Ok(()), |(name, _)| {
            let written = format!("for \"{}\"", value(name).at_most(64));
            let remedy = format!("this VM's processes are {}", known.join(", "));
            Err(ConfigError::invalid("cgroup.process", written, remedy))
        })
    }

    /// That the vmm process may have its threads: its own, one for each vCPU and each device, and
    /// the one that KVM starts in it for huge pages that are not to be executed. Without that one
    /// KVM_RUN says EAGAIN, which is also what it says of a vCPU that waits to be started: the VM
    /// would stand still and tell nobody why.
    pub(super) fn check_threads(&self, vcpus: u32, devices: usize) -> Result<(), ConfigError> {
        let devices = u64::try_from(devices).unwrap_or(u64::MAX);
        let least = u64::from(vcpus).saturating_add(devices).saturating_add(2);
        let of_vmm = self.of(Leaf::Vmm).pids;
        for (field, pids) in [("cgroup.process.pids", of_vmm), ("cgroup.pids", self.vm.pids)] {
            if let Some(pids) = pids.filter(|pids| *pids < least) {
                let remedy = format!("this VM's vmm process alone has {least} threads");
                return Err(ConfigError::invalid(field, pids.to_string(), remedy));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RawConfig, RawVsock, VmConfig};
    use super::{GroupLimits, Leaf, RawCgroup};

    fn checked(table: &str) -> Result<VmConfig, String> {
        let text = format!(
            "kernel = \"k\"\nprotection = \"none\"\n{table}\n[[disk]]\npath = \"d\"\nname = \"root\"\n"
        );
        let raw = RawConfig::from_toml(&text, "vm.toml").map_err(|e| e.to_string())?;
        raw.validate().map_err(|e| e.to_string())
    }

    /// A guest whose only port leads to its key broker has a connector as any other has.
    #[test]
    fn the_connector_of_a_key_broker_has_a_group() {
        let mut raw = RawConfig::from_toml("kernel = \"k\"\nprotection = \"none\"", "vm.toml");
        let raw = raw.as_mut().unwrap();
        raw.vsock = Some(RawVsock { broker: Some("/b/kbs".into()), ..RawVsock::default() });
        let config = std::mem::take(raw).validate().unwrap();
        assert!(Leaf::all(&config).contains(&Leaf::Connector));
    }

    #[test]
    fn limits_are_of_the_vm_and_of_processes_that_it_has() {
        let config = checked(
            "[cgroup]\ndirectory = \"/g\"\ncpu_weight = 50\ncpu_percent = 150\nmemory = \"1G\"\n\
             pids = 64\n[cgroup.process.block-root]\nmemory = \"64M\"\n\
             [cgroup.process.standby-root]\npids = 8\n[cgroup.process.recorder]\npids = 1",
        )
        .unwrap();
        let cgroup = config.cgroup.unwrap();
        let all = GroupLimits {
            cpu_weight: Some(50),
            cpu_percent: Some(150),
            memory: Some(1 << 30),
            pids: Some(64),
        };
        assert_eq!(cgroup.vm, all);
        assert_eq!(cgroup.of(Leaf::Block("root")).memory, Some(64 << 20));
        assert_eq!(cgroup.of(Leaf::Standby("root")).pids, Some(8));
        assert!(cgroup.of(Leaf::Vmm).is_none());
    }

    /// Protects whoever relies on a limit: one that nobody would keep is refused, never passed
    /// over.
    #[test]
    fn limits_that_nobody_would_keep_or_that_contradict_each_other_are_refused_by_key() {
        let with = |line: &str| format!("[cgroup]\ndirectory = \"/g\"\n{line}");
        let of = |name: &str, line: &str| with(&format!("[cgroup.process.{name}]\n{line}"));
        for (table, field) in [
            ("[cgroup]\nmemory = \"1G\"".to_owned(), "cgroup.directory"),
            ("[cgroup]".to_owned(), "cgroup.directory"),
            (with("cpu_weight = 0"), "cgroup.cpu_weight"),
            (with("cpu_weight = 10001"), "cgroup.cpu_weight"),
            (with("cpu_percent = 0"), "cgroup.cpu_percent"),
            (with("memory = \"100K\""), "cgroup.memory"),
            (with("memory = \"1025K\""), "cgroup.memory"),
            (with("memory = \"lots\""), "cgroup.memory"),
            (with("pids = 0"), "cgroup.pids"),
            (of("nobody", "pids = 4"), "cgroup.process"),
            (of("vsock", "pids = 4"), "cgroup.process"),
            (of("block-other", "pids = 4"), "cgroup.process"),
            (of("vmm", "memory = \"1K\""), "cgroup.process.memory"),
            // Itself, a vCPU, a disk and KVM's own.
            (of("vmm", "pids = 3"), "cgroup.process.pids"),
            (with("pids = 3"), "cgroup.pids"),
            (with("pids = 5\n[cgroup.process.vmm]\npids = 6"), "cgroup.process.pids"),
            (
                with("memory = \"64M\"\n[cgroup.process.vmm]\nmemory = \"65M\""),
                "cgroup.process.memory",
            ),
            (
                with("cpu_percent = 5\n[cgroup.process.vmm]\ncpu_percent = 6"),
                "cgroup.process.cpu_percent",
            ),
        ] {
            let error = checked(&table).unwrap_err();
            assert!(error.starts_with(&format!("`{field}` is")), "{table}: {error}");
        }
        assert!(checked(&of("vmm", "pids = 4")).is_ok());
        assert!(checked(&with("io_weight = 1")).unwrap_err().contains("io_weight"));
    }

    #[test]
    fn flags_say_what_the_table_says() {
        let mut raw = RawCgroup { cpu_weight: Some(7), ..RawCgroup::default() };
        raw.limit_from_flag("memory=1G,pids=64").unwrap();
        raw.limit_from_flag("vmm:cpu_percent=100").unwrap();
        assert_eq!((raw.cpu_weight, raw.memory.as_deref(), raw.pids), (None, Some("1G"), Some(64)));
        assert_eq!(raw.process["vmm"].cpu_percent, Some(100));
        for wrong in ["", "memory", "memory=", ":pids=1", "pids=1,pids=2", "pids=+1", "io=1"] {
            let error = raw.limit_from_flag(wrong).unwrap_err().to_string();
            assert!(error.starts_with("`cgroup` is"), "{wrong}: {error}");
        }
    }
}
