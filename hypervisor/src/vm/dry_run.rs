//! What a start would do, without one: `casemate run --dry-run`, and the page of `casemate audit`.
//!
//! It is the way of [`super::prepare`] step by step, and each step is the same function: what is
//! read, what is planned, what the policy decides, which layers a process gets. No process is made,
//! no socket is bound or connected, no control group, no TAP, no name is taken, and nothing is
//! logged. Whoever asks, `run`, makes and removes the file of `--output` around it, if there is
//! one. Disks are opened and locked as a start does it, and let go of. Whether the name is free
//! only a start can tell.

use super::asked::{Looked, look};
use super::begun::host_fds;
use super::decision::{DecisionError, denial, facts_at, is_asked, policy_for};
use super::kind::ProcessKind;
use super::lone::Lone;
use super::spawning::layers;
use super::start::{check_bounce_pool, check_digest, check_recorder};
use super::{VmError, disks, lone_process, nets, profile, vsock};
use crate::config::{Protection, VmConfig};
use crate::launch::LaunchPlan;
use casemate_device_process::group_janitor_layers;
use casemate_policy::{Decision, Explained, Point, Policy};
use casemate_sandbox::{Layer, Layers, Need};
use std::path::Path;

/// What a start would do.
#[derive(Debug)]
pub struct DryRun {
    /// The plan: pages, digests, files.
    pub plan: LaunchPlan,
    /// The policy that decides.
    pub policy: Policy,
    /// What it decides at each point that is asked before a start, in the order in which it is
    /// asked. A start asks no more once one is denied; here all are told.
    pub decisions: Vec<Decided>,
    /// The processes that would be started, in this order; the supervisor, which is the program
    /// itself, is last, since it locks itself last.
    pub processes: Vec<Planned>,
    /// Why the policy denies the VM, as a start would say it.
    pub denied: Option<VmError>,
    /// What the host lacks: KVM, or the protection that is asked for.
    pub host_lacks: Option<VmError>,
}

/// What a policy decides at a point, and why.
#[derive(Debug)]
pub struct Decided {
    /// The point.
    pub point: Point,
    /// The decision.
    pub decision: Decision,
    /// Every rule of the point.
    pub rules: Vec<Explained>,
}

/// A process that would be started.
#[derive(Debug)]
pub struct Planned {
    /// Its kind, which says its profile.
    pub kind: ProcessKind,
    /// What tells it from others of its kind, as the sandbox calls it.
    pub name: String,
    /// What it would be given open, in the order in which it is given it.
    pub descriptors: Vec<String>,
    /// Every layer, and how much it is wanted.
    pub layers: Vec<(Layer, Need)>,
}

/// Goes the way of a start as far as it leaves nothing; `logged` says whether there is to be a
/// decision log.
///
/// # Errors
/// [`VmError`] of what is wrong with the input. What the policy denies and what the host lacks is
/// in the answer: whoever asks wants to see the rest, too.
pub fn dry_run(
    config: &VmConfig,
    document: Option<&Path>,
    logged: bool,
) -> Result<DryRun, VmError> {
    check_recorder(config, logged)?;
    let asked = policy_for(config, document)?;
    check_bounce_pool(config, &asked.policy)?;
    let Looked { devices, limits, plan } = look(config)?;
    check_digest(&plan)?;
    let (mut decisions, mut denied) = (Vec::new(), None);
    for point in Point::ALL.into_iter().filter(|point| is_asked(*point, config)) {
        let facts = facts_at(point, asked.document, config, &plan, (&devices, limits));
        let Some(facts) = facts else { continue };
        let (decision, rules) = asked.policy.explain(point, &facts);
        if !decision.is_allow() && denied.is_none() {
            denied = Some(DecisionError::Denied(denial(point, &decision)).into());
        }
        decisions.push(Decided { point, decision, rules });
    }
    let mut processes = Vec::new();
    if let Some(cgroup) = &config.cgroup {
        let layers = layers(group_janitor_layers(&cgroup.directory), config);
        let given = [CONTROL, "events of the groups, where the kernel has them"];
        processes.push(planned(ProcessKind::GroupJanitor, &layers, own(&given)));
    }
    processes.push(of_vmm(config));
    if logged {
        let layers = layers(profile::recorder_layers(), config);
        let given = [
            CONTROL,
            "the decision log",
            "its lock",
            "its head file, where there is one",
            "the file of its key, where there is one",
        ];
        processes.push(planned(ProcessKind::Recorder, &layers, own(&given)));
    }
    processes.extend(of_devices(config, &devices.disks));
    let layers = layers(Layers::for_this_process("supervisor"), config);
    processes.push(planned(ProcessKind::Supervisor, &layers, own(&["what all others lead to"])));
    let host_lacks = host_fds(config).err();
    Ok(DryRun { plan, policy: asked.policy, decisions, processes, denied, host_lacks })
}

const CONTROL: &str = "messages with the supervisor";
const FRONT: &str = "vhost-user socket of the vmm process";

fn own(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn planned(kind: ProcessKind, layers: &Layers, descriptors: Vec<String>) -> Planned {
    let layer = |layer: Layer| (layer, layers.need(layer));
    let of_all = Layer::ALL.into_iter().map(layer).collect();
    Planned { kind, name: layers.name().to_owned(), descriptors, layers: of_all }
}

/// As `handover::spawn` gives them.
fn of_vmm(config: &VmConfig) -> Planned {
    let confidential = config.protection == Protection::SevSnp;
    let kind = if confidential { ProcessKind::VmmConfidential } else { ProcessKind::Vmm };
    let mut given = own(&[
        "/dev/kvm",
        CONTROL,
        "bytes of the console",
        "the plan's file, empty until admitted",
    ]);
    given.extend(confidential.then(|| "/dev/sev".to_owned()));
    for disk in &config.disks {
        given.push(format!("vhost-user socket of disk {}", disk.name));
        given.extend(disk.standby.then(|| format!("the same of its standby, {}", disk.name)));
    }
    given.extend(config.foreign.iter().map(|one| format!("vhost-user socket of {}", one.name)));
    given.extend(config.vsock.iter().map(|_| "vhost-user socket of vsock".to_owned()));
    let lone = Lone::of(config).into_iter();
    given.extend(lone.map(|one| format!("vhost-user socket of {}", one.device().name())));
    given.extend(config.nets.iter().map(|net| format!("vhost-user socket of net {}", net.name)));
    planned(kind, &layers(profile::vmm_layers(!config.foreign.is_empty()), config), given)
}

/// As the starts in `disks`, `vsock`, `lone_process` and `nets` give them.
fn of_devices(config: &VmConfig, open: &[super::open_disk::OpenDisk]) -> Vec<Planned> {
    let mut all = Vec::new();
    for (open, disk) in open.iter().zip(&config.disks) {
        let layers = disks::layers_of(open, config);
        let given = own(&[FRONT, CONTROL, "the image"]);
        all.push(planned(ProcessKind::Block, &layers, given));
        if disk.standby {
            let given = own(&[FRONT, CONTROL, "the image, of its own", "the image, locked"]);
            all.push(planned(ProcessKind::BlockStandby, &layers, given));
        }
    }
    if let Some(device) = &config.vsock {
        let (serving, connector, janitor) = vsock::layers_of(&device.directory, config);
        let connects = device.connects();
        if connects {
            let given = own(&["questions of the device", CONTROL]);
            all.push(planned(ProcessKind::Connector, &connector, given));
        }
        let mut given = own(&[FRONT, CONTROL]);
        given.extend(device.path.iter().map(|path| format!("socket at {}", path.display())));
        let forwards = device.forwards.iter();
        given.extend(forwards.map(|(_, path)| format!("socket at {}", path.display())));
        given.extend(connects.then(|| "questions to the connector".to_owned()));
        all.push(planned(ProcessKind::Vsock, &serving, given));
        if device.listens() {
            all.push(planned(ProcessKind::Janitor, &janitor, own(&[CONTROL])));
        }
    }
    for lone in Lone::of(config) {
        let mut given = own(&[FRONT, CONTROL]);
        given.extend((lone == Lone::Console).then(|| "bytes of the console".to_owned()));
        all.push(planned(lone.process(), &lone_process::layers_of(lone, config), given));
    }
    for net in &config.nets {
        let given = own(&[FRONT, CONTROL, "the TAP"]);
        all.push(planned(ProcessKind::Net, &nets::layers_of(&net.name, config), given));
    }
    all
}
