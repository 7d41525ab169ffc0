//! Starting a VM: everything that can fail before there is a guest fails here, before anything is
//! left behind.

use super::decision::{DecisionError, LogRepair, decide, policy_for};
use super::engine::HostFds;
use super::handover;
use super::kind::ProcessKind;
use super::name::{Name, NameError};
use super::open::{self, OpenError};
use super::profile;
use super::recorder::{Logging, Recorder, Starting};
use super::supervisor::{Event, GuestConsole, Happened, Member, Place, RunningVm, Step, Times};
use super::vmm::VmmInput;
use crate::config::{ConfigError, Protection, VmConfig};
use crate::kvm::KvmError;
use crate::launch::measure::measure;
use crate::launch::{LaunchError, LaunchPlan, linux};
use casemate_diagnostics::event;
use casemate_foreign_text::value;
use casemate_sandbox::{Image, Layers, SandboxError};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

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
            | Self::Name(NameError::InUse(_) | NameError::Mute(_)) => true,
            Self::Open(e) => e.is_bad_input(),
            _ => false,
        }
    }
}

impl From<Errno> for VmError {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

/// A VM that can be started: everything is read, checked, asked, open, and its name is taken.
/// Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Prepared {
    kind: ProcessKind,
    layers: Layers,
    own_layers: Layers,
    times: Times,
    name: Name,
    host: HostFds,
    plan: LaunchPlan,
    recorder: Option<Recorder>,
    events: VecDeque<Event>,
    place: Place,
}

/// Prepares a VM: reads and checks what its configuration names, asks the policy, takes the name,
/// opens what it needs of the host.
///
/// # Errors
/// [`VmError`].
pub fn prepare(
    config: &VmConfig,
    document: Option<&Path>,
    log: Option<Logging<'_>>,
) -> Result<Prepared, VmError> {
    let place = Place::of(&config.name, config.vcpus);
    place.vm.within(|| prepare_at(&place, config, document, log))
}

fn prepare_at(
    place: &Place,
    config: &VmConfig,
    document: Option<&Path>,
    log: Option<Logging<'_>>,
) -> Result<Prepared, VmError> {
    let mut events = VecDeque::new();
    let mut happened = |what| events.push_back(Event { at: Instant::now(), what });
    tell_configuration(config);
    let policy = policy_for(config, document)?;
    open::check_memory(config.memory)?;
    let files = open::files(config)?;
    let sizes = (files.kernel.len(), files.initrd.as_ref().map(Vec::len));
    event!(DEBUG, Plan, "the files are read", kernel_bytes = sizes.0, initrd_bytes = sizes.1);
    let mut plan = linux::plan(config, files)?;
    if let Some(launch) = &mut plan.snp {
        launch.page_limits = policy.page_state_limits();
    }
    check_digest(&plan)?;
    let (pages, is_confidential) =
        (plan.pages().iter().map(|pages| pages.range.pages()).sum::<u64>(), plan.snp.is_some());
    event!(INFO, Plan, "the launch is planned", pages = pages, confidential = is_confidential);
    happened(Happened::Reached(Step::Planned));
    // Not before: while its recorder has the log, every other program that writes it waits.
    let mut recorder = None;
    if let Some((started, repair)) = log.map(|log| start_recorder(log, config)).transpose()? {
        repair.into_iter().for_each(|repair| happened(Happened::LogRepaired(repair)));
        recorder = Some(started);
    }
    decide(&policy, config, &plan, recorder.as_mut())?;
    happened(Happened::Reached(Step::Admitted(policy.name().to_string())));
    Ok(Prepared { events, recorder, ..prepare_plan_at(place, config, plan)? })
}

/// Starts the recorder of the decision log.
fn start_recorder(
    log: Logging<'_>,
    config: &VmConfig,
) -> Result<(Recorder, Option<LogRepair>), DecisionError> {
    let path = log.file.path.clone();
    let layers = layers(profile::recorder_layers(), config);
    let (recorder, dropped) = Starting::new(log, layers, |_| ())?.opened()?;
    if dropped > 0 {
        let shown = value(path.display());
        event!(
            WARN,
            Policy,
            "the decision log's torn end is removed",
            path = shown,
            bytes = dropped
        );
    }
    Ok((recorder, (dropped > 0).then_some(LogRepair { path, dropped })))
}

/// The same from the plan on, which nobody has asked a policy about.
///
/// # Errors
/// [`VmError`].
pub fn prepare_plan(config: &VmConfig, plan: LaunchPlan) -> Result<Prepared, VmError> {
    let place = Place::of(&config.name, plan.vcpus);
    place.vm.within(|| prepare_plan_at(&place, config, plan))
}

fn prepare_plan_at(
    place: &Place,
    config: &VmConfig,
    plan: LaunchPlan,
) -> Result<Prepared, VmError> {
    let kind = if config.snp.is_some() { ProcessKind::VmmConfidential } else { ProcessKind::Vmm };
    let name = Name::take(&config.name)?;
    event!(DEBUG, Vm, "the name is taken");
    Ok(Prepared {
        kind,
        layers: layers(profile::vmm_layers(), config),
        own_layers: layers(Layers::for_this_process("supervisor"), config),
        times: Times { run: config.timeout, grace: config.grace },
        name,
        host: host_fds(config)?,
        plan,
        recorder: None,
        events: VecDeque::new(),
        place: place.clone(),
    })
}

impl Prepared {
    /// Starts the VM's processes from their image. The calling process must have one thread; it is
    /// their supervisor from then on, by the handle that it gets.
    ///
    /// # Errors
    /// [`VmError`]; nothing is left then.
    pub fn start(self, vmm: &Image) -> Result<RunningVm, VmError> {
        let Self { kind, layers, own_layers, times, name, host, plan, recorder, events, place } =
            self;
        let (control, vmm_control) = pair(SocketType::SEQPACKET)?;
        let (console, vmm_console) = pair(SocketType::STREAM)?;
        let input = VmmInput { host, control: vmm_control, console: vmm_console, plan };
        let vmm = handover::spawn(vmm, layers, &input, |_| ())?;
        let mut members = vec![Member::new(kind, vmm, control)];
        members.extend(recorder.map(|recorder| {
            let (process, control) = recorder.into_parts();
            Member::new(ProcessKind::Recorder, process, control)
        }));
        let console = GuestConsole::new(console);
        Ok(RunningVm::new(members, console, name, times, events, own_layers, &place))
    }
}

/// What is asked for, but for the kernel's command line, which may hold secrets.
fn tell_configuration(config: &VmConfig) {
    event!(
        INFO,
        Config,
        "a VM is asked for",
        kernel = value(config.kernel.display()),
        initrd = config.initrd.as_ref().map(|path| value(path.display())),
        vcpus = config.vcpus,
        memory_mib = config.memory >> 20,
        protection = value(config.protection),
        may_lack_layers = config.sandbox_optional.len()
    );
}

/// Refuses a plan whose digest is not the expected one, or not that of its ID block, before
/// anything is started.
fn check_digest(plan: &LaunchPlan) -> Result<(), VmError> {
    let Some(launch) = &plan.snp else { return Ok(()) };
    // ID_BLOCK (AMD 56860, table 75) starts with the launch digest, for which the firmware would
    // refuse to finish.
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

/// A process's layers, of which the user wrote that this host may lack some.
fn layers(all: Layers, config: &VmConfig) -> Layers {
    config.sandbox_optional.iter().copied().fold(all, Layers::may_lack)
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
