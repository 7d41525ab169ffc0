//! What the policy would be asked about a VM, without a VM: everything up to its first process.
//!
//! `casemate policy from` writes a policy from it. It is the way of [`super::prepare`] as far as
//! the policy, step by step, and each step is the same function: what is shown is what a start
//! would do, of this host, this user and these files as they are now.

use super::cgroup::Delegated;
use super::decision::{facts_at, is_asked};
use super::open_devices::OpenDevices;
use super::{VmError, open, open_foreign};
use crate::config::VmConfig;
use crate::host::cgroup::CgroupLimits;
use crate::launch::{LaunchPlan, linux};
use casemate_policy::{Facts, Point};

/// What a start would have planned, and what it would ask.
#[derive(Debug)]
pub struct WouldAsk {
    /// The plan: pages, digests, files.
    pub plan: LaunchPlan,
    /// The facts of each point that is asked before a start, in the order in which it is asked.
    pub facts: Vec<(Point, Facts)>,
}

/// Reads and checks what the configuration names, as a start does, and lets go of it again. No
/// process is made, no socket is bound or connected, no name is taken.
///
/// # Errors
/// [`VmError`], as [`super::prepare`] would have it: a disk that a running VM writes is in use for
/// this, too.
pub fn asked(config: &VmConfig) -> Result<WouldAsk, VmError> {
    let Looked { devices, limits, plan } = look(config)?;
    // No document is asked, so none is the one that the initdata holds: HOST_DATA is its bytes.
    let points = Point::ALL.into_iter().filter(|point| is_asked(*point, config));
    let told = (&devices, limits);
    let facts = points
        .filter_map(|point| Some((point, facts_at(point, None, config, &plan, told)?)))
        .collect();
    Ok(WouldAsk { plan, facts })
}

/// What a start has opened and planned before it asks.
pub(super) struct Looked {
    pub(super) devices: OpenDevices,
    /// What holds for the VM's processes, where it has control groups of its own.
    pub(super) limits: Option<CgroupLimits>,
    pub(super) plan: LaunchPlan,
}

/// Reads, opens and plans what a configuration names; makes nothing.
pub(super) fn look(config: &VmConfig) -> Result<Looked, VmError> {
    let sockets = open_foreign::sockets(&config.foreign)?;
    let delegated = config.cgroup.as_ref().map(Delegated::look).transpose()?;
    let limits = delegated.as_ref().zip(config.cgroup.as_ref());
    let limits = limits.map(|(delegated, wanted)| delegated.limits(wanted));
    open::check_memory(config.memory)?;
    let files = open::files(config)?;
    let devices = OpenDevices::open(config, sockets)?;
    let plan = linux::plan(config, files)?;
    Ok(Looked { devices, limits, plan })
}
