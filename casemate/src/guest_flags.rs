//! The flags that describe a guest: of `run`, and of `measure`, so that one command line serves
//! both.

use clap::Args;
use std::path::PathBuf;

/// What may be said about a guest without a configuration file, or over one.
#[derive(Debug, Clone, Default, Args)]
pub struct GuestFlags {
    /// Name, unique among your running VMs [default: a random one]
    #[arg(long)]
    pub name: Option<String>,
    /// Kernel: a bzImage or an ELF vmlinux
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Initial RAM file system [default: none]
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// Kernel command line [default: console=ttyS0 reboot=acpi panic=-1]
    #[arg(long, value_name = "TEXT", alias = "append", allow_hyphen_values = true)]
    pub cmdline: Option<String>,
    /// RAM, such as 512M or 2G; no launch digest depends on it [default: 256M]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Serial console: stdio, raw, pty or file:PATH [default: stdio]
    #[arg(long, value_name = "WHERE")]
    pub console: Option<String>,
    /// A virtio console (hvc0) beside the serial one: its output goes to the same place, and input
    /// goes to it
    #[arg(long)]
    pub virtio_console: bool,
    /// How long a reader of the console that takes nothing holds the guest back, or forever
    /// [default: 5m]
    #[arg(long, value_name = "TIME")]
    pub console_wait: Option<String>,
    /// Size at which a console file is set aside [default: 64M]
    #[arg(long, value_name = "SIZE")]
    pub console_limit: Option<String>,
    /// Key that begins a command at a terminal, or none [default: ctrl-a]
    #[arg(long, value_name = "KEY")]
    pub escape: Option<String>,
    /// A disk, raw image or block device: path=FILE, then any of ro, direct, serial=TEXT, queues=N,
    /// name=TEXT, no-standby, on_device_death=stop|keep, bandwidth=SIZE, bandwidth_burst=SIZE,
    /// iops=N and iops_burst=N, with commas between; once for each disk, in place of the file's
    /// `[[disk]]` tables
    #[arg(long, value_name = "DISK")]
    pub disk: Vec<String>,
    /// A socket device: `path=SOCKET[,cid=N][,ports=N+N…]`, in place of the file's `[vsock]` table
    #[arg(long, value_name = "VSOCK")]
    pub vsock: Option<String>,
    /// A socket for one port of the guest: `port=N,path=SOCKET`; once for each
    #[arg(long, value_name = "FORWARD")]
    pub vsock_forward: Vec<String>,
    /// A network device over a TAP: `tap=NAME[,create]` or `fd=N`, then any of mac=ADDRESS, mtu=N,
    /// name=TEXT, on_device_death=stop|keep, bandwidth=SIZE, bandwidth_burst=SIZE, packets=N and
    /// packets_burst=N, with commas between; once for each, in place of the file's `[[net]]` tables
    #[arg(long, value_name = "NET")]
    pub net: Vec<String>,
    /// Random numbers of this host, in place of the file's `[rng]` table; with `=trust-host` for a
    /// confidential guest, too
    #[arg(long, value_name = "trust-host", num_args = 0..=1, require_equals = true,
          default_missing_value = "")]
    pub rng: Option<String>,
    /// A device that a program of others serves, which gets all of the guest's memory but what a
    /// confidential one keeps private: socket=PATH and kind=block, kind=net or kind=vsock, then any
    /// of queues=N (block), mac=ADDRESS (net) and name=TEXT; in place of the file's
    /// `[[vhost_user]]` tables
    #[arg(long, value_name = "BACK END")]
    pub vhost_user: Vec<String>,
    /// Put the VM's processes into control groups (cgroup v2) of their own, made in this directory,
    /// which must be delegated to you; needed for `--cgroup-limit`
    #[arg(long, value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Limits that the kernel keeps: `[PROCESS:]KEY=VALUE[,…]` with cpu_weight, cpu_percent, memory
    /// and pids; of the VM, or of the process so named; once for each, in place of the file's
    #[arg(long, value_name = "LIMITS")]
    pub cgroup_limit: Vec<String>,
    /// End a guest that has not switched itself off this long after it was asked to [default: 15s]
    #[arg(long, value_name = "TIME")]
    pub grace: Option<String>,
    /// End the VM after this time, such as 90s or 10m [default: never]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// Memory protection: sev-snp, or none for development; required here or in the file
    #[arg(long, value_name = "KIND")]
    pub protection: Option<String>,
    /// Refuse when the launch digest is not these 96 hexadecimal digits (sev-snp)
    #[arg(long, value_name = "HEX")]
    pub expect_digest: Option<String>,
}

impl GuestFlags {
    /// The first flag that is given and that a guest which starts in OVMF has no use for.
    #[must_use]
    pub fn beyond_ovmf(&self) -> Option<&'static str> {
        let given = [
            ("--name", self.name.is_some()),
            ("--memory", self.memory.is_some()),
            ("--console", self.console.is_some()),
            ("--virtio-console", self.virtio_console),
            ("--console-wait", self.console_wait.is_some()),
            ("--console-limit", self.console_limit.is_some()),
            ("--escape", self.escape.is_some()),
            ("--disk", !self.disk.is_empty()),
            ("--vsock", self.vsock.is_some()),
            ("--vsock-forward", !self.vsock_forward.is_empty()),
            ("--net", !self.net.is_empty()),
            ("--rng", self.rng.is_some()),
            ("--vhost-user", !self.vhost_user.is_empty()),
            ("--cgroup", self.cgroup.is_some()),
            ("--cgroup-limit", !self.cgroup_limit.is_empty()),
            ("--grace", self.grace.is_some()),
            ("--timeout", self.timeout.is_some()),
            ("--protection", self.protection.is_some()),
            ("--expect-digest", self.expect_digest.is_some()),
        ];
        given.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }

    /// The first flag that is given.
    #[must_use]
    pub fn any(&self) -> Option<&'static str> {
        let given = [
            ("--kernel", self.kernel.is_some()),
            ("--initrd", self.initrd.is_some()),
            ("--cmdline", self.cmdline.is_some()),
        ];
        let first = given.into_iter().find_map(|(flag, given)| given.then_some(flag));
        first.or_else(|| self.beyond_ovmf())
    }
}

#[cfg(feature = "vm")]
mod configuration {
    use super::GuestFlags;
    use crate::Failure;
    use crate::packed::Packed;
    use casemate_hypervisor::config::{ConfigError, RawConfig, RawConsole, RawDisk, RawForeign};
    use casemate_hypervisor::config::{RawForward, RawNet, RawRng, RawVsock};
    use std::path::Path;

    impl GuestFlags {
        /// The configuration: the file, overridden by flags.
        ///
        /// # Errors
        /// [`Failure::BadInput`] when the file or a flag cannot be read.
        pub fn config(
            &self,
            file: Option<&Path>,
            vcpus: Option<u32>,
        ) -> Result<RawConfig, Failure> {
            let image = file.map(Packed::open).transpose()?.flatten();
            self.config_of(image.as_ref(), file, vcpus)
        }

        /// The same with what is at `file`, if it is an image: opened, which hashes its files.
        ///
        /// # Errors
        /// As [`GuestFlags::config`].
        pub fn config_of(
            &self,
            image: Option<&Packed>,
            file: Option<&Path>,
            vcpus: Option<u32>,
        ) -> Result<RawConfig, Failure> {
            let bad = |e: ConfigError| Failure::BadInput(e.to_string());
            if image.is_some() {
                let own =
                    [("--kernel", self.kernel.is_some()), ("--initrd", self.initrd.is_some())];
                let own = own.into_iter().chain([("--cmdline", self.cmdline.is_some())]);
                if let Some((flag, _)) = own.into_iter().find(|(_, given)| *given) {
                    let text = format!("{flag}: an image has its own, which its digests are for");
                    return Err(Failure::BadInput(text));
                }
            }
            let file = match (image, file) {
                (Some(image), _) => Some(image.config()),
                (None, file) => file.map(RawConfig::from_file).transpose().map_err(bad)?,
            };
            let console =
                self.console.as_deref().map(RawConsole::from_flag).transpose().map_err(bad)?;
            let disk = self.disk.iter().map(|flag| RawDisk::from_flag(flag));
            let mut disk = disk.collect::<Result<Vec<_>, _>>().map_err(bad)?;
            let vhost_user = self.vhost_user.iter().map(|flag| RawForeign::from_flag(flag));
            let vhost_user = vhost_user.collect::<Result<Vec<_>, _>>().map_err(bad)?;
            let net = self.net.iter().map(|flag| RawNet::from_flag(flag));
            let net = net.collect::<Result<Vec<_>, _>>().map_err(bad)?;
            let mut file = file.unwrap_or_default();
            if image.is_some() && !disk.is_empty() {
                // Further ones: the root disk stays the first.
                disk.splice(..0, file.disk.iter().cloned());
            }
            let vsock = self.vsock.as_deref().map(RawVsock::from_flag).transpose().map_err(bad)?;
            file.vsock = vsock.or(file.vsock);
            let forwards = self.vsock_forward.iter().map(|flag| RawForward::from_flag(flag));
            let forwards = forwards.collect::<Result<Vec<_>, _>>().map_err(bad)?;
            if !forwards.is_empty() {
                file.vsock.get_or_insert_default().forward = forwards;
            }
            let rng = self.rng.as_deref().map(RawRng::from_flag).transpose().map_err(bad)?;
            if let Some(directory) = &self.cgroup {
                file.cgroup.get_or_insert_default().directory = Some(directory.clone());
            }
            for flag in &self.cgroup_limit {
                file.cgroup.get_or_insert_default().limit_from_flag(flag).map_err(bad)?;
            }
            if let Some(digest) = &self.expect_digest {
                file.snp.get_or_insert_default().expect_digest = Some(digest.clone());
            }
            let config = file.overridden_by(RawConfig {
                name: self.name.clone(),
                kernel: self.kernel.clone(),
                initrd: self.initrd.clone(),
                cmdline: self.cmdline.clone(),
                vcpus,
                memory: self.memory.clone(),
                console,
                virtio_console: self.virtio_console.then_some(true),
                console_wait: self.console_wait.clone(),
                console_limit: self.console_limit.clone(),
                escape: self.escape.clone(),
                grace: self.grace.clone(),
                timeout: self.timeout.clone(),
                disk,
                vsock: None,
                net,
                rng,
                cgroup: None,
                vhost_user,
                protection: self.protection.clone(),
                snp: None,
                sandbox: None,
            });
            image.map_or(Ok(config.clone()), |image| image.expect(config))
        }
    }
}
