//! Starting a VM: everything that can fail before there is a guest fails here, before anything is
//! left behind.

use super::begun::{Begun, Waiting};
use super::cgroup::{self, Delegated, Groups};
use super::decision::{DecisionError, LogRepair, decide, policy_for};
use super::disks::{self, DiskProcess};
use super::error::VmError;
use super::kind::ProcessKind;
use super::lone_process::LoneProcess;
use super::manage::VmFacts;
use super::name::Name;
use super::nets::{self, NetProcess};
use super::open;
use super::open_devices::{DevicesError, OpenDevices};
use super::open_foreign::{self, OpenForeign};
use super::open_net;
use super::open_vsock::FoundVsock;
use super::profile;
use super::recorder::{Logging, Recorder, Starting};
use super::spawning::{begins, layers};
use super::supervisor::{Event, GuestConsole, Happened, Member, Place, RunningVm, Step, Times};
use super::vsock::VsockProcesses;
use crate::config::{ConfigError, Leaf, VmConfig, bounce_pool, memory_for_pool};
use crate::launch::measure::measure;
use crate::launch::{LaunchPlan, linux};
use casemate_diagnostics::event;
use casemate_foreign_text::value;
use casemate_policy::{NetworkRules, Policy};
use casemate_sandbox::{Image, Layers, Program};
use casemate_values::PAGE_SIZE;
use std::collections::VecDeque;
use std::path::Path;
use std::time::Instant;

/// The programs of a VM's processes.
#[derive(Debug, Clone, Copy)]
pub struct Programs<'a> {
    /// Of the vmm process, which may be on its way into memory already.
    pub vmm: &'a Program,
    /// Of device processes.
    pub device: &'a [u8],
}

/// A VM that can be started: everything is read, checked, asked, open, and its name is taken.
/// Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Prepared {
    vmm: Result<Waiting, VmError>,
    disks: Vec<DiskProcess>,
    vsock: Option<VsockProcesses>,
    nets: Vec<NetProcess>,
    lone: Vec<LoneProcess>,
    /// The program of its device processes; None without any.
    device: Option<Image>,
    own_layers: Layers,
    times: Times,
    name: Name,
    plan: LaunchPlan,
    recorder: Option<Recorder>,
    events: VecDeque<Event>,
    place: Place,
    facts: VmFacts,
    /// Behind every process: they go when nothing runs in them.
    groups: Option<Groups>,
}

/// Prepares a VM: starts the process that sets it up; meanwhile reads and
/// checks what the configuration names, asks the policy, takes the name. That process has nothing
/// of a guest until [`Prepared::start`], and ends when this fails.
///
/// The calling process must have one thread.
///
/// # Errors
/// [`VmError`]: of what is wrong with the input first, then what the policy says, then what the
/// host lacks, whichever of them was noticed first.
pub fn prepare(
    config: &VmConfig,
    document: Option<&Path>,
    log: Option<Logging<'_>>,
    programs: Programs<'_>,
) -> Result<Prepared, VmError> {
    let place = Place::of(&config.name, config.vcpus);
    place.vm.within(|| prepare_at(&place, config, document, log, programs))
}

fn prepare_at(
    place: &Place,
    config: &VmConfig,
    document: Option<&Path>,
    log: Option<Logging<'_>>,
    programs: Programs<'_>,
) -> Result<Prepared, VmError> {
    let sockets = open_foreign::sockets(&config.foreign)?;
    check_recorder(config, log.is_some())?;
    let delegated = config.cgroup.as_ref().map(Delegated::look).transpose()?;
    let limits = delegated.as_ref().zip(config.cgroup.as_ref());
    let limits = limits.map(|(delegated, wanted)| delegated.limits(wanted));
    // Before every process, so that they go after every process.
    let (groups, failed) = groups(delegated, config, log.is_some(), programs.device);
    let begun = failed
        .map_or_else(|| Begun::new(config, &sockets, programs.vmm, groups.as_ref()), Begun::Failed);
    let mut events = VecDeque::new();
    let mut happened = |what| events.push_back(Event { at: Instant::now(), what });
    tell_configuration(config);
    let asked = policy_for(config, document)?;
    let policy = &asked.policy;
    open::check_memory(config.memory)?;
    check_bounce_pool(config, policy)?;
    let files = open::files(config)?;
    let sizes = (files.kernel.len(), files.initrd.as_ref().map(Vec::len));
    event!(DEBUG, Plan, "the files are read", kernel_bytes = sizes.0, initrd_bytes = sizes.1);
    let devices = OpenDevices::open(config, sockets)?;
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
    if let Some((started, repair)) =
        log.map(|log| start_recorder(log, config, groups.as_ref())).transpose()?
    {
        repair.into_iter().for_each(|repair| happened(Happened::LogRepaired(repair)));
        recorder = Some(started);
    }
    decide(&asked, config, &plan, (&devices, limits), recorder.as_mut())?;
    happened(Happened::Reached(Step::Admitted(policy.name().to_string())));
    let rules = policy.network_rules();
    let parts = (plan, devices, rules);
    let mut prepared = prepared(place, config, parts, begun, groups.as_ref(), programs)?;
    prepared.groups = groups;
    prepared.facts.policy = Some(policy.name().to_owned());
    prepared.facts.policy_hash = Some(policy.hash_hex());
    let prepared = Prepared { events, ..prepared };
    Ok(match recorder {
        None => prepared,
        Some(recorder) => prepared.logged_by(recorder),
    })
}

/// The control groups of a VM, if it is to have any; else what they cannot be had for, which is
/// told where KVM's part is.
fn groups(
    delegated: Option<Delegated>,
    config: &VmConfig,
    with_recorder: bool,
    device: &[u8],
) -> (Option<Groups>, Option<VmError>) {
    let Some((delegated, wanted)) = delegated.zip(config.cgroup.as_ref()) else {
        return (None, None);
    };
    match Groups::make(delegated, (wanted, config), with_recorder, device) {
        Ok(groups) => (Some(groups), None),
        Err(e) => (None, Some(e.into())),
    }
}

/// Refuses limits of a recorder that there is not.
pub(super) fn check_recorder(config: &VmConfig, there: bool) -> Result<(), ConfigError> {
    let limits = config.cgroup.as_ref().map(|cgroup| cgroup.of(Leaf::Recorder));
    if there || limits.is_none_or(|limits| limits.is_none()) {
        return Ok(());
    }
    let remedy = "without --decision-log this VM has no such process";
    Err(ConfigError::invalid("cgroup.process", "for \"recorder\"", remedy))
}

/// Refuses a confidential guest that would be ended in the middle of its boot, when it shares the
/// pool through which the data of its devices goes.
pub(super) fn check_bounce_pool(config: &VmConfig, policy: &Policy) -> Result<(), VmError> {
    let (limits, pool) = (policy.page_state_limits(), bounce_pool(config.memory));
    let pages = |bytes: u64| bytes / PAGE_SIZE;
    if config.snp.is_none() || limits.admits_share(pages(pool), pages(config.memory)) {
        return Ok(());
    }
    let percent = limits.shared_percent();
    let remedy = memory_for_pool(percent).map_or_else(
        || "use a policy that admits more".to_owned(),
        |memory| format!("use at least {}M, or a policy that admits more", memory >> 20),
    );
    let (memory, pool) = (config.memory >> 20, pool >> 20);
    Err(VmError::BouncePool { memory, pool, percent, remedy })
}

/// Starts the recorder of the decision log.
fn start_recorder(
    log: Logging<'_>,
    config: &VmConfig,
    groups: Option<&Groups>,
) -> Result<(Recorder, Option<LogRepair>), DecisionError> {
    let path = log.file.path.clone();
    let layers = layers(profile::recorder_layers(), config);
    let layers = cgroup::enter(layers, groups, Leaf::Recorder);
    let (recorder, dropped) =
        Starting::new(log, layers, |child| begins(ProcessKind::Recorder, child))?.opened()?;
    event!(DEBUG, Policy, "the decision log is open");
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

/// The same with a plan that is there already, and which nobody has asked a policy about.
///
/// # Errors
/// [`VmError`].
pub fn prepare_plan(
    config: &VmConfig,
    plan: LaunchPlan,
    programs: Programs<'_>,
) -> Result<Prepared, VmError> {
    let place = Place::of(&config.name, plan.vcpus);
    place.vm.within(|| {
        let sockets = open_foreign::sockets(&config.foreign)?;
        let delegated = config.cgroup.as_ref().map(Delegated::look).transpose()?;
        let (groups, failed) = groups(delegated, config, false, programs.device);
        let vmm = programs.vmm;
        let begun = failed.map_or_else(
            || Begun::of_shape(config, &plan.shape(), &sockets, vmm, groups.as_ref()),
            Begun::Failed,
        );
        let devices = OpenDevices::open(config, sockets)?;
        let parts = (plan, devices, NetworkRules::any());
        let prepared = prepared(&place, config, parts, begun, groups.as_ref(), programs)?;
        Ok(Prepared { groups, ..prepared })
    })
}

/// What is prepared, but for its control groups: those are the caller's, who lets go of them after
/// everything else when this fails, since a group with a process in it cannot be removed.
fn prepared(
    place: &Place,
    config: &VmConfig,
    (plan, devices, rules): (LaunchPlan, OpenDevices, NetworkRules),
    begun: Begun,
    groups: Option<&Groups>,
    programs: Programs<'_>,
) -> Result<Prepared, VmError> {
    let OpenDevices { disks, foreign, vsock, lone, nets } = devices;
    foreign.into_iter().try_for_each(OpenForeign::connect)?;
    let any = !disks.is_empty() || vsock.is_some() || !lone.is_empty() || !nets.is_empty();
    let vsock = vsock.map(FoundVsock::open).transpose().map_err(DevicesError::from)?;
    let nets = open_net::open(nets).map_err(DevicesError::from)?;
    let device = any.then(|| Image::new("casemate-device", programs.device)).transpose()?;
    let name = Name::take(&config.name)?;
    event!(DEBUG, Vm, "the name is taken");
    Ok(Prepared {
        name,
        vmm: begun.on_this_host()?,
        disks: disks::processes(disks, config),
        vsock: vsock.map(|vsock| VsockProcesses::new(vsock, config)),
        nets: nets::processes(nets, config, &rules),
        lone: lone.into_iter().map(|lone| LoneProcess::new(lone, config)).collect(),
        device,
        own_layers: layers(Layers::for_this_process("supervisor"), config),
        times: Times { run: config.timeout, grace: config.grace },
        facts: VmFacts::of(config, &plan, groups.map(Groups::path)),
        plan,
        recorder: None,
        events: VecDeque::new(),
        place: place.clone(),
        groups: None,
    })
}

impl Prepared {
    /// Has a recorder, which was told of the start, log what the policy denies the running guest.
    #[must_use]
    pub fn logged_by(self, recorder: Recorder) -> Self {
        Self { recorder: Some(recorder), ..self }
    }

    /// Starts the processes of devices, and hands the plan over to the process that waits for it.
    /// The calling process, which must have
    /// one thread, is the VM's supervisor from then on, by the handle that it gets.
    ///
    /// # Errors
    /// [`VmError`]; nothing is left then.
    pub fn start(self) -> Result<RunningVm, VmError> {
        // Bound first, so that they are let go of last: no group goes before its process.
        let Self { groups, .. } = self;
        let Self { vmm, disks, vsock, lone, nets, device, own_layers, times, name, .. } = self;
        let Self { plan, recorder, events, place, facts, .. } = self;
        let waiting = vmm?;
        let (sockets, socket, alone) = (waiting.disks, waiting.vsock, waiting.lone);
        let Waiting { kind, process, control, console, file, nets: of_nets, .. } = waiting;
        // Devices first: the vmm process greets them as soon as it has the plan.
        let (mut devices, mut console) = (Vec::new(), GuestConsole::over(console));
        if let Some(device) = device {
            devices.extend(disks::start(disks, sockets, &device, groups.as_ref())?);
            if let Some((vsock, socket)) = vsock.zip(socket) {
                devices.extend(vsock.start(&socket, &device, groups.as_ref())?);
            }
            for (process, socket) in lone.into_iter().zip(alone) {
                let (member, stream) = process.start(&socket, &device, groups.as_ref())?;
                devices.push(member);
                if let Some(stream) = stream {
                    console = console.with_virtio(stream);
                }
            }
            devices.extend(nets::start(nets, of_nets, &device, groups.as_ref())?);
        }
        file.hand_over(&plan, &control)?;
        let mut members = vec![Member::new(kind, process, control)];
        members.extend(devices);
        members.extend(recorder.map(|recorder| {
            let (process, control) = recorder.into_parts();
            Member::new(ProcessKind::Recorder, process, control)
        }));
        groups.into_iter().for_each(|groups| join(groups, &mut members));
        let known = (&place, facts);
        Ok(RunningVm::new(members, console, name, times, events, own_layers, known))
    }
}

/// Gives the control groups to the supervisor of the VM, with its other processes: each gets its
/// place, and the janitor is the last to end.
fn join(groups: Groups, members: &mut Vec<Member>) {
    for member in members.iter_mut() {
        let place = member.leaf().and_then(|leaf| groups.place_of(leaf));
        member.in_group(place);
    }
    let ((process, control), made, limited) = groups.into_parts();
    members.push(Member::of_group_janitor(process, control, made, limited));
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
pub(super) fn check_digest(plan: &LaunchPlan) -> Result<(), VmError> {
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
