//! Starting a VM: everything that can fail before there is a guest fails here, before anything is left behind.

use super::console::{ConsoleError, HostConsole};
use super::engine::HostFds;
use super::gate::{Gate, GateError};
use super::name::{Name, NameError};
use super::open::{self, OpenError};
use super::supervisor::{End, Watched, watch};
use super::timeline::Timeline;
use super::vmm::{self, VmmInput};
use crate::config::{ConfigError, Protection, VmConfig};
use crate::kvm::KvmError;
use crate::launch::{LaunchError, linux};
use crate::sandbox::{Child, Layer, Layers, SandboxError, spawn};
use casemate_layout::ports::mark;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Why a VM was not started.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The configuration asks for something impossible.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The policy does not admit it.
    #[error(transparent)]
    Policy(#[from] GateError),
    /// No plan can be made.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Something cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The name cannot be had.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The console cannot be had.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// A process cannot be confined.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The protection asked for cannot be had here.
    #[error("`protection` is \"sev-snp\", which this host cannot give: {0}; see `casemate host`")]
    Protection(String),
    /// A KVM call.
    #[error(transparent)]
    Kvm(KvmError),
    /// Sockets or signals.
    #[error("cannot prepare the VM's processes: {0}")]
    System(#[source] std::io::Error),
}

impl VmError {
    /// Whether the user's input is at fault, not the host.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Config(_) | Self::Launch(_) | Self::Name(NameError::InUse(_)) => true,
            Self::Open(e) => e.is_bad_input(),
            Self::Console(ConsoleError::File { .. }) => true,
            _ => false,
        }
    }
}

impl From<Errno> for VmError {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

/// Starts a VM and stays with it until it has ended.
///
/// # Errors
/// [`VmError`] when it was not started; how a started one ended is the result.
pub fn run(
    config: VmConfig,
    gate: Gate,
    mut timeline: Timeline,
) -> Result<(End, Timeline), VmError> {
    let layers = layers(&config)?;
    match config.protection {
        Protection::None => eprintln!(
            "casemate: warning: protection = \"none\": the host can read and change this guest's memory"
        ),
        Protection::SevSnp => {}
    }
    open::check_memory(config.memory)?;
    let plan = linux::plan(&config, open::files(&config)?)?;
    timeline.record("plan");
    timeline.record(gate.decide(&config, &plan)?);
    let name = Name::take(&config.name)?;
    let host = host_fds(&config)?;
    let console = HostConsole::open(&config.console)?;
    if let Some(pty) = &console.pty {
        eprintln!("casemate: console at {pty}");
    }
    let signals = signals()?;
    let (control, vmm_control) = pair(SocketType::SEQPACKET)?;
    let (guest_console, vmm_console) = pair(SocketType::STREAM)?;
    let input = VmmInput { host, control: vmm_control, console: vmm_console, plan };
    let vmm = spawn_vmm(layers, input)?;
    let watched = Watched {
        vmm,
        control,
        guest_console,
        console,
        name,
        signals,
        timeout: config.timeout,
        timeline,
        mark_name,
    };
    Ok(watch(watched))
}

/// The vmm process's layers: all, but those that the user wrote may be missing.
fn layers(config: &VmConfig) -> Result<Layers, ConfigError> {
    let mut layers = Layers::new("vmm");
    for name in &config.sandbox_optional {
        let layer = Layer::from_name(name).ok_or_else(|| {
            let known = Layer::ALL.map(Layer::name).join(", ");
            ConfigError::invalid(
                "sandbox.optional",
                format!("{name:?}"),
                format!("use some of {known}"),
            )
        })?;
        layers = layers.optional(layer);
    }
    Ok(layers)
}

/// Opens the device files, and refuses a confidential VM on a host that cannot give one.
fn host_fds(config: &VmConfig) -> Result<HostFds, VmError> {
    let dev_kvm = OwnedFd::from(open::dev_kvm()?);
    let dev_sev = match config.protection {
        Protection::None => None,
        Protection::SevSnp => {
            if !crate::kvm::offers_snp(&dev_kvm).map_err(VmError::Kvm)? {
                return Err(VmError::Protection("KVM offers no SEV-SNP VMs (type 4)".into()));
            }
            let dev_sev = open::dev_sev()
                .map_err(|e| VmError::Protection(format!("/dev/sev cannot be opened: {e}")))?;
            Some(OwnedFd::from(dev_sev))
        }
    };
    Ok(HostFds { dev_kvm, dev_sev })
}

fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
}

/// A byte for each SIGINT and SIGTERM.
fn signals() -> Result<UnixStream, VmError> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let (ours, handlers) = UnixStream::pair().map_err(VmError::System)?;
    ours.set_nonblocking(true).map_err(VmError::System)?;
    for signal in [SIGINT, SIGTERM] {
        let end = handlers.try_clone().map_err(VmError::System)?;
        signal_hook::low_level::pipe::register(signal, end).map_err(VmError::System)?;
    }
    Ok(ours)
}

fn spawn_vmm(layers: Layers, input: VmmInput) -> Result<Child, SandboxError> {
    let mut layers = layers.keep(&input.host.dev_kvm).keep(&input.control).keep(&input.console);
    if let Some(dev_sev) = &input.host.dev_sev {
        layers = layers.keep(dev_sev);
    }
    spawn(layers, move |born| vmm::body(input, born))
}

fn mark_name(step: u8) -> Option<&'static str> {
    Some(match step {
        mark::SHIM => "shim",
        mark::ACCEPTED => "memory accepted",
        mark::VERIFIED => "kernel and initrd verified",
        mark::KERNEL => "kernel entry",
        mark::INIT => "init",
        mark::WORKLOAD => "workload start",
        _ => return None,
    })
}
