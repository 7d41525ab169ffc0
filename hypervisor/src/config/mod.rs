//! What the user asks for, validated into types that cannot be wrong.
//!
//! A configuration comes from a TOML file, from flags, or both (flags win). [`RawConfig`] is what
//! was written; [`VmConfig`] is what was understood. Unknown keys, wrong types and impossible
//! values are errors that name the key and say what to write instead.

mod bounce;
mod cgroup;
mod console;
mod disk;
mod foreign;
mod limits;
mod net;
mod raw;
mod rng;
mod size;
mod snp;
mod snp_launch;
mod vsock;

pub use bounce::{bounce_pool, memory_for_pool};
pub use cgroup::{Cgroup, GroupLimits, Leaf, RawCgroup, RawGroupLimits};
pub use console::{CONSOLE_LIMIT, CONSOLE_WAIT, Console, ConsoleTo, GRACE};
pub use disk::{Disk, MAX_DISKS, OnDeviceDeath, RawDisk};
pub use foreign::{Foreign, ForeignKind, RawForeign};
pub use limits::RawLimits;
pub use net::{MAX_NETS, Net, RawNet};
pub use raw::{RawConfig, RawConsole};
pub use rng::RawRng;
pub use size::{parse_duration, parse_size};
pub use snp::{LaunchPolicy, RawSnp, hex};
pub use snp_launch::{C_BIT, ID_AUTH_SIZE, ID_BLOCK_SIZE, IdBlock, SnpLaunch, strict_page_limits};
pub use vsock::{RawForward, RawVsock, Vsock};

use casemate_foreign_text::{line, value};
use casemate_sandbox::Layer;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Most vCPUs a VM may have.
pub const MAX_VCPUS: u32 = 64;
/// Least RAM: a stock kernel does not unpack in less.
pub const MIN_MEMORY: u64 = 32 << 20;
/// Longest kernel command line, without its NUL: x86 `COMMAND_LINE_SIZE` is 2048.
pub const MAX_CMDLINE: usize = 2047;
/// Kernel command line when none is given. Without `reboot=`, Linux on hardware-reduced ACPI resets
/// through EFI and then a BIOS, neither of which a VM has, and a guest that resets or panics would
/// spin instead.
pub const DEFAULT_CMDLINE: &str = "console=ttyS0 reboot=acpi panic=-1";
/// Characters of what a parser says that are shown: it quotes a line of the file.
const MAX_REASON: usize = 400;
/// Longest name of a VM, in bytes.
pub const MAX_NAME: usize = 64;

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read: what, and why not.
    #[error("configuration: {}", line(.0))]
    Read(String),
    /// The file is not TOML of the right shape.
    #[error("{}: {}", value(.path), line(.reason).at_most(MAX_REASON))]
    Parse {
        /// The file as it was named.
        path: String,
        /// Line, column, key and what was expected.
        reason: String,
    },
    /// A value is missing.
    #[error("`{field}` is missing: {remedy}")]
    Missing {
        /// The key, as it is written in the file.
        field: &'static str,
        /// What to write in its place.
        remedy: &'static str,
    },
    /// A value is impossible.
    #[error("`{field}` is {}: {}", line(.value), line(.remedy))]
    Invalid {
        /// The key, as it is written in the file.
        field: &'static str,
        /// The value as it was written.
        value: String,
        /// What to write in its place.
        remedy: String,
    },
}

impl ConfigError {
    pub(crate) fn invalid(
        field: &'static str,
        value: impl fmt::Display,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Invalid { field, value: value.to_string(), remedy: remedy.into() }
    }
}

/// How a VM's memory is protected from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// Not at all: a development mode that must be asked for.
    None,
    /// AMD SEV-SNP: the host can neither read nor change private memory unseen.
    SevSnp,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::SevSnp => "sev-snp",
        })
    }
}

/// A VM as it will be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmConfig {
    /// Its name: unique among the running VMs of a user.
    pub name: String,
    /// Kernel image: bzImage or ELF vmlinux.
    pub kernel: PathBuf,
    /// Initial RAM file system.
    pub initrd: Option<PathBuf>,
    /// Command line of the kernel, one line.
    pub cmdline: String,
    /// Virtual processors, 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// Bytes of RAM, whole MiB.
    pub memory: u64,
    /// Where the serial console goes.
    pub console: Console,
    /// Whether the guest has a virtio console, beside the serial one and to the same place.
    pub virtio_console: bool,
    /// Disks, in the order in which the guest's bus has them.
    pub disks: Vec<Disk>,
    /// Devices that programs of others serve, behind the disks on the guest's bus.
    pub foreign: Vec<Foreign>,
    /// Socket device, behind the disks.
    pub vsock: Option<Vsock>,
    /// Whether there is a source of random numbers of the host, behind the socket device.
    pub rng: bool,
    /// Control groups for its processes; None for those of whoever starts it.
    pub cgroup: Option<Cgroup>,
    /// Network devices, behind all of these.
    pub nets: Vec<Net>,
    /// How long the VM may run.
    pub timeout: Option<Duration>,
    /// How long a guest may take to switch itself off once it was asked to.
    pub grace: Duration,
    /// How memory is protected from the host.
    pub protection: Protection,
    /// SEV-SNP launch parameters; None without that protection.
    pub snp: Option<SnpLaunch>,
    /// SHA-256 of the launch policy in the initdata whose hash HOST_DATA is.
    pub launch_policy: LaunchPolicy,
    /// Sandbox layers that this host may lack: their absence is said and no error.
    pub sandbox_optional: Vec<Layer>,
}

impl VmConfig {
    /// How many devices the guest has on its bus.
    #[must_use]
    pub fn devices(&self) -> usize {
        let Self { disks, foreign, vsock, nets, virtio_console, rng, .. } = self;
        let each = [disks.len(), foreign.len(), nets.len()].into_iter();
        let lone = [vsock.is_some(), *virtio_console, *rng].map(usize::from);
        each.chain(lone).sum()
    }
}

impl RawConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// [`ConfigError`] for the first value that is wrong.
    pub fn validate(self) -> Result<VmConfig, ConfigError> {
        let kernel = self.kernel.ok_or(ConfigError::Missing {
            field: "kernel",
            remedy: "name a bzImage or an ELF vmlinux (`kernel = \"…\"` or --kernel)",
        })?;
        let protection = protection(self.protection.as_deref())?;
        let (snp, launch_policy) = match (protection, self.snp) {
            (Protection::SevSnp, snp) => {
                let (launch, policy) = snp.unwrap_or_default().validate()?;
                (Some(launch), policy)
            }
            (Protection::None, None) => (None, None),
            (Protection::None, Some(_)) => {
                let remedy = "the [snp] table is for protection = \"sev-snp\"";
                return Err(ConfigError::invalid("snp", "given", remedy));
            }
        };
        let memory = memory(self.memory.as_deref().unwrap_or("256M"))?;
        if protection == Protection::SevSnp {
            bounce::check(memory)?;
        }
        let vcpus = vcpus(self.vcpus.unwrap_or(1))?;
        let disks = disk::check(self.disk, vcpus)?;
        let foreign = foreign::check(self.vhost_user, vcpus, &disks, self.vsock.is_some())?;
        let names = disks.iter().map(|disk| disk.name.as_str());
        let names: Vec<_> = names.chain(foreign.iter().map(|one| one.name.as_str())).collect();
        let nets = net::check(self.net, &names)?;
        let config = VmConfig {
            name: name(self.name)?,
            kernel,
            initrd: self.initrd,
            cmdline: cmdline(self.cmdline.unwrap_or_else(|| DEFAULT_CMDLINE.into()))?,
            vcpus,
            memory,
            console: console::Written {
                to: self.console.map(RawConsole::into_console),
                wait: self.console_wait.as_deref(),
                limit: self.console_limit.as_deref(),
                escape: self.escape.as_deref(),
            }
            .check()?,
            virtio_console: self.virtio_console.unwrap_or(false),
            foreign,
            disks,
            vsock: self.vsock.map(RawVsock::check).transpose()?,
            nets,
            rng: self.rng.map_or(Ok(false), |rng| rng.check(protection))?,
            cgroup: self.cgroup.map(RawCgroup::check).transpose()?,
            timeout: self.timeout.map(|text| parse_duration("timeout", &text)).transpose()?,
            grace: self.grace.map_or(Ok(GRACE), |text| parse_duration("grace", &text))?,
            protection,
            snp,
            launch_policy,
            sandbox_optional: optional_layers(&self.sandbox.unwrap_or_default().optional)?,
        };
        if let Some(limits) = &config.cgroup {
            limits.check_names(&Leaf::all(&config))?;
            limits.check_threads(config.vcpus, config.devices())?;
        }
        Ok(config)
    }
}

fn name(name: Option<String>) -> Result<String, ConfigError> {
    let name = match name {
        Some(name) => name,
        None => random_name()?,
    };
    if !is_name(&name) {
        let remedy = format!("use 1 to {MAX_NAME} letters, digits, `-`, `_` or `.`");
        return Err(ConfigError::invalid("name", format!("{name:?}"), remedy));
    }
    Ok(name)
}

/// Whether a VM can have this name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(good)
}

/// A name for who gave none. Random: a number of a process is not unique, since each container
/// counts its own from 1, and several can share the namespace in which names are held.
fn random_name() -> Result<String, ConfigError> {
    use rustix::rand::{GetRandomFlags, getrandom};
    let mut bytes = [0; 4];
    match getrandom(&mut bytes[..], GetRandomFlags::empty()) {
        Ok(4) => Ok(format!("vm-{:08x}", u32::from_le_bytes(bytes))),
        _ => Err(ConfigError::Missing { field: "name", remedy: "the kernel gave no random one" }),
    }
}

fn cmdline(cmdline: String) -> Result<String, ConfigError> {
    if cmdline.len() > MAX_CMDLINE {
        let remedy = format!("a kernel takes at most {MAX_CMDLINE}");
        let value = format!("{} bytes long", cmdline.len());
        return Err(ConfigError::invalid("cmdline", value, remedy));
    }
    if let Some(at) = cmdline.bytes().position(|b| b < b' ') {
        let remedy = "a command line is one line without NUL or control characters";
        return Err(ConfigError::invalid("cmdline", format!("wrong at byte {at}"), remedy));
    }
    Ok(cmdline)
}

fn vcpus(vcpus: u32) -> Result<u32, ConfigError> {
    if (1..=MAX_VCPUS).contains(&vcpus) {
        Ok(vcpus)
    } else {
        Err(ConfigError::invalid("vcpus", vcpus, format!("use 1 to {MAX_VCPUS}")))
    }
}

fn memory(text: &str) -> Result<u64, ConfigError> {
    let bytes = parse_size("memory", text)?;
    if !bytes.is_multiple_of(1 << 20) {
        return Err(ConfigError::invalid("memory", text, "use whole MiB, such as 256M or 2G"));
    }
    if bytes < MIN_MEMORY {
        let remedy = format!("a guest needs at least {}M", MIN_MEMORY >> 20);
        return Err(ConfigError::invalid("memory", text, remedy));
    }
    if bytes > 1 << 42 {
        let remedy = match text.trim().parse::<u64>() {
            // So many MiB nobody has; who writes it has counted bytes.
            Ok(number) => {
                let (mib, rest) = (number >> 20, number % (1 << 20));
                let more = if rest == 0 { "" } else { " and a bit" };
                format!("a number alone is MiB; so many bytes are {mib}M{more}")
            }
            Err(_) => "at most 4096G".into(),
        };
        return Err(ConfigError::invalid("memory", text, remedy));
    }
    Ok(bytes)
}

/// The layers of these names. Every command that reads a configuration checks them, whether it
/// starts a process or not: a file that `measure` takes must not be refused by `run` for a word in
/// it.
fn optional_layers(names: &[String]) -> Result<Vec<Layer>, ConfigError> {
    let layer = |name: &String| {
        Layer::from_name(name).ok_or_else(|| {
            let known = Layer::ALL.map(Layer::name).join(", ");
            let written = format!("\"{}\"", value(name).at_most(64));
            ConfigError::invalid("sandbox.optional", written, format!("use some of {known}"))
        })
    };
    names.iter().map(layer).collect()
}

fn protection(text: Option<&str>) -> Result<Protection, ConfigError> {
    match text {
        Some("none") => Ok(Protection::None),
        Some("sev-snp") => Ok(Protection::SevSnp),
        Some(other) => Err(ConfigError::invalid(
            "protection",
            format!("{other:?}"),
            "use \"sev-snp\", or \"none\" for development",
        )),
        None => Err(ConfigError::Missing {
            field: "protection",
            remedy: "write \"sev-snp\", or \"none\" for a development VM that the host can read",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(toml: &str) -> Result<VmConfig, ConfigError> {
        RawConfig::from_toml(toml, "vm.toml")?.validate()
    }
    const GOOD: &str = "kernel = \"k\"\nprotection = \"none\"\n";

    #[test]
    fn smallest_configuration_gets_the_documented_defaults() {
        let config = raw(GOOD).unwrap();
        assert_eq!((config.vcpus, config.memory), (1, 256 << 20));
        assert_eq!((config.console, config.timeout), (Console::default(), None));
    }

    #[test]
    fn protection_must_be_asked_for() {
        assert!(raw("kernel = \"k\"").unwrap_err().to_string().contains("`protection` is missing"));
    }

    #[test]
    fn impossible_values_are_refused_by_name() {
        let long = "x".repeat(MAX_CMDLINE + 1);
        for (line, field) in [
            ("vcpus = 0".into(), "vcpus"),
            ("vcpus = 65".into(), "vcpus"),
            ("memory = \"16M\"".into(), "memory"),
            ("memory = \"100K\"".into(), "memory"),
            ("memory = \"9999999G\"".into(), "memory"),
            ("memory = \"lots\"".into(), "memory"),
            ("cmdline = \"a\\u0000b\"".into(), "cmdline"),
            (format!("cmdline = \"{long}\""), "cmdline"),
            ("name = \"a/b\"".into(), "name"),
            ("name = \"\"".into(), "name"),
            ("timeout = \"-1s\"".into(), "timeout"),
            ("[sandbox]\noptional = [\"nonsense\"]".into(), "sandbox.optional"),
            ("[sandbox]\noptional = [\"landlock\", \"Seccomp\"]".into(), "sandbox.optional"),
            ("[sandbox]\noptional = [\"\"]".into(), "sandbox.optional"),
        ] {
            let error = raw(&format!("{GOOD}{line}\n")).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{field}`")), "{line}: {error}");
        }
    }

    #[test]
    fn unknown_keys_and_wrong_types_name_line_and_key() {
        let error = raw(&format!("{GOOD}kernle = \"x\"\n")).unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("kernle"), "{error}");
        let error = raw(&format!("{GOOD}vcpus = \"two\"\n")).unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("vcpus"), "{error}");
    }
}
