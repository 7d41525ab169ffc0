//! Starting a VM: everything that can fail before there is a guest fails here, before anything is left behind.

use super::console::{ConsoleError, HostConsole};
use super::decision::{DecisionError, decide, policy_for};
use super::engine::HostFds;
use super::name::{Name, NameError};
use super::open::{self, OpenError};
use super::profile;
use super::say;
use super::supervisor::{End, Watched, watch};
use super::timeline::Timeline;
use super::vmm::{self, VmmInput};
use crate::config::{ConfigError, Protection, VmConfig};
use crate::kvm::KvmError;
use crate::launch::measure::measure;
use crate::launch::{LaunchError, LaunchPlan, linux};
use casemate_layout::ports::mark;
use casemate_policy_log::LogFile;
use casemate_sandbox::{Child, Layer, Layers, SandboxError, spawn};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Why a VM was not started.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The policy does not admit it, or cannot be asked.
    #[error(transparent)]
    Decision(#[from] DecisionError),
    /// The configuration asks for something impossible.
    #[error(transparent)]
    Config(#[from] ConfigError),
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
    /// Another launch than the expected one.
    #[error(
        "the launch digest will be {found}, not the expected {expected}: compare `casemate measure --explain` of both"
    )]
    Digest {
        /// Expected.
        expected: String,
        /// Computed.
        found: String,
    },
    /// An ID block for another launch.
    #[error(
        "`snp.id_block` is for the launch digest {block}, this launch has {launch}: make it with `casemate measure`"
    )]
    IdBlock {
        /// The block's.
        block: String,
        /// The launch's.
        launch: String,
    },
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
            Self::Decision(DecisionError::Log(e)) => e.is_bad_input(),
            Self::Decision(DecisionError::Policy(_))
            | Self::Config(_)
            | Self::Launch(_)
            | Self::Digest { .. }
            | Self::IdBlock { .. }
            | Self::Name(NameError::InUse(_)) => true,
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
    config: &VmConfig,
    document: Option<&Path>,
    log: Option<LogFile>,
    mut timeline: Timeline,
) -> Result<(End, Timeline), VmError> {
    let policy = policy_for(config, document)?;
    layers(config)?;
    match config.protection {
        Protection::None => {
            say("warning: protection = \"none\": the host can read and change this guest's memory");
        }
        Protection::SevSnp => {}
    }
    open::check_memory(config.memory)?;
    let mut plan = linux::plan(config, open::files(config)?)?;
    if let Some(launch) = &mut plan.snp {
        launch.page_limits = policy.page_state_limits();
    }
    check_digest(&plan)?;
    timeline.record("plan");
    decide(&policy, config, &plan, log)?;
    timeline.record(format!("policy: {}", policy.name()));
    run_plan(config, plan, timeline)
}

/// The same from the plan on, which nobody has asked a policy about.
///
/// # Errors
/// [`VmError`].
pub fn run_plan(
    config: &VmConfig,
    plan: LaunchPlan,
    timeline: Timeline,
) -> Result<(End, Timeline), VmError> {
    let layers = layers(config)?;
    let name = Name::take(&config.name)?;
    let host = host_fds(config)?;
    let console = HostConsole::open(&config.console)?;
    if let Some(pty) = &console.pty {
        say(&format!("console at {pty}"));
    }
    let signals = signals()?;
    let (control, vmm_control) = pair(SocketType::SEQPACKET)?;
    let (guest_console, vmm_console) = pair(SocketType::STREAM)?;
    let input = VmmInput { host, control: vmm_control, console: vmm_console, plan };
    let vmm = spawn_vmm(layers, input)?;
    let kind = if config.snp.is_some() { "vmm-confidential" } else { "vmm" };
    let processes = format!("supervisor {}\n{kind} {}\n", std::process::id(), vmm.pid());
    let watched = Watched {
        processes,
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

/// Refuses a plan whose digest is not the expected one, or not that of its ID block, before anything is started.
fn check_digest(plan: &LaunchPlan) -> Result<(), VmError> {
    let Some(launch) = &plan.snp else { return Ok(()) };
    // ID_BLOCK (AMD 56860, table 75) starts with the launch digest, for which the firmware would refuse to finish.
    let block = launch.id.as_ref().and_then(|id| id.block.first_chunk::<48>());
    if launch.expect_digest.is_none() && block.is_none() {
        return Ok(());
    }
    let Some(measurement) = measure(plan) else { return Ok(()) };
    let (hex, found) = (casemate_attestation::hex::encode, measurement.digest);
    match (launch.expect_digest, block) {
        (Some(expected), _) if expected != found => {
            Err(VmError::Digest { expected: hex(&expected), found: hex(&found) })
        }
        (_, Some(block)) if *block != found => {
            Err(VmError::IdBlock { block: hex(block), launch: hex(&found) })
        }
        _ => Ok(()),
    }
}

/// The vmm process's layers: all, but those that the user wrote may be missing.
fn layers(config: &VmConfig) -> Result<Layers, ConfigError> {
    let mut layers = profile::vmm_layers();
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
        mark::BOOT_CODE => "boot code",
        mark::ACCEPTED => "memory accepted",
        mark::VERIFIED => "kernel and initrd verified",
        mark::KERNEL => "kernel entry",
        mark::INIT => "init",
        mark::WORKLOAD => "workload start",
        _ => return None,
    })
}
