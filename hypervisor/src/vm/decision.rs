//! What the policy says of a VM before anything of it is started: launch, resources, devices.
//!
//! An error is a denial. A fact that cannot be told is left out, which every rule but `any` denies.

use crate::config::{Protection, VmConfig};
use crate::decision_log::{DecisionLog, LogError};
use crate::launch::LaunchPlan;
use crate::launch::measure::measure;
use crate::launch::snp::SnpLaunch;
use policy::{Facts, Key, Point, Policy};
use std::path::Path;

/// Why a VM is not started.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    /// The policy document cannot be used.
    #[error("{0}")]
    Policy(String),
    /// The policy denies the VM.
    #[error("the policy denies this VM: {0}")]
    Denied(String),
    /// A decision cannot be logged.
    #[error("the policy's decision cannot be logged, so nothing is started: {0}")]
    Log(#[from] LogError),
}

/// Largest policy document.
const MAX_POLICY: u64 = 4 << 20;

/// The policy for a VM: the document given, or the built-in one for its protection.
///
/// # Errors
/// [`DecisionError::Policy`] when the document cannot be read or is wrong: then nothing starts.
pub fn policy_for(config: &VmConfig, document: Option<&Path>) -> Result<Policy, DecisionError> {
    let Some(path) = document else {
        return Ok(match config.protection {
            Protection::SevSnp => Policy::builtin_strict(),
            Protection::None => Policy::builtin_permissive(),
        });
    };
    let name = path.display().to_string();
    let wrong = |e: &dyn std::fmt::Display| DecisionError::Policy(format!("--policy {name}: {e}"));
    let size = std::fs::metadata(path).map_err(|e| wrong(&e))?.len();
    if size > MAX_POLICY {
        return Err(wrong(&"larger than 4 MiB"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
    Policy::load(&text, &name)
        .map_err(|e| DecisionError::Policy(e.to_string().trim_end().replace('\n', "; ")))
}

/// Asks the policy at every point that comes before a start, and closes the log of its decisions.
///
/// # Errors
/// [`DecisionError::Denied`] with the rules that deny; [`DecisionError::Log`] when a decision cannot be logged, which
/// is then not acted on.
pub fn decide(
    policy: &Policy,
    config: &VmConfig,
    plan: &LaunchPlan,
    mut log: Option<DecisionLog>,
) -> Result<(), DecisionError> {
    let points = [
        (Point::Launch, launch_facts(config, plan)),
        (Point::Resources, resource_facts(config)),
        (Point::Devices, Facts::new().devices(&[])),
    ];
    let mut denied = None;
    for (point, facts) in points {
        let decision = policy.decide(point, &facts);
        if let Some(log) = &mut log {
            log.decision(policy.hash(), point, &facts, &decision)?;
        }
        if !decision.is_allow() {
            denied = Some(DecisionError::Denied(decision.to_string()));
            break;
        }
    }
    log.map_or(Ok(()), DecisionLog::close)?;
    denied.map_or(Ok(()), Err)
}

fn launch_facts(config: &VmConfig, plan: &LaunchPlan) -> Facts {
    let user = format!("uid-{}", rustix::process::getuid().as_raw());
    let mut facts = Facts::new()
        .text(Key::LaunchProtection, &config.protection.to_string())
        .text(Key::LaunchTenant, &user)
        .command_line(&config.cmdline);
    for staged in plan.staging() {
        let key = match staged.what {
            "kernel" => Key::LaunchKernel,
            "initrd" => Key::LaunchInitrd,
            _ => continue,
        };
        facts = facts.bytes(key, &staged.sha256);
    }
    match (&plan.snp, measure(plan)) {
        (Some(launch), Some(measurement)) => {
            snp_facts(facts.bytes(Key::LaunchMeasurement, &measurement.digest), launch)
        }
        _ => facts,
    }
}

fn snp_facts(facts: Facts, launch: &SnpLaunch) -> Facts {
    let facts = facts
        .number(Key::LaunchGuestPolicy, launch.policy)
        .bytes(Key::LaunchHostData, &launch.host_data);
    match &launch.id {
        // Without an ID block a report has zeros there.
        None => facts
            .bytes(Key::LaunchIdKey, &[0; 48])
            .bytes(Key::LaunchAuthorKey, &[0; 48])
            .bytes(Key::LaunchFamily, &[0; 16])
            .bytes(Key::LaunchImage, &[0; 16])
            .number(Key::LaunchGuestSvn, 0),
        // ID_BLOCK: launch digest 48, family 16, image 16, version 4, SVN 4, policy 8 bytes. The signers' keys are
        // the firmware's to check; a rule about them needs the report.
        Some(id) => {
            let field = |at: usize, len: usize| id.block.get(at..at + len).unwrap_or(&[]);
            let svn = field(84, 4).first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
            facts
                .bytes(Key::LaunchFamily, field(48, 16))
                .bytes(Key::LaunchImage, field(64, 16))
                .number(Key::LaunchGuestSvn, u64::from(svn))
        }
    }
}

fn resource_facts(config: &VmConfig) -> Facts {
    Facts::new()
        .number(Key::ResourcesVcpus, u64::from(config.vcpus))
        .number(Key::ResourcesMemory, config.memory >> 20)
        .numbers(Key::ResourcesDisk, [])
        .number(Key::ResourcesDiskTotal, 0)
        .number(Key::ResourcesQueues, 0)
        .flag(Key::ResourcesHugePages, false)
        .flag(Key::ResourcesPinned, false)
}
