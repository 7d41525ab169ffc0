//! `casemate sandbox check`: whether every process of a running VM is as locked as its profile
//! says.

use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_hypervisor::vm::ProcessKind;
use casemate_hypervisor::vm::name::Running;
use casemate_sandbox::{Demand, InForce};
use serde_json::json;

/// The bit of CAP_KILL (capabilities(7)).
const CAP_KILL: u64 = 1 << 5;

/// What a process of a kind has to have, in a VM that is confidential or not.
const fn demand(kind: ProcessKind, is_confidential: bool) -> Demand<'static> {
    let is_child = !matches!(kind, ProcessKind::Supervisor);
    // The log grows, and so may what the supervisor writes.
    let bounded_files = matches!(
        kind,
        ProcessKind::Vmm
            | ProcessKind::VmmConfidential
            | ProcessKind::Block
            | ProcessKind::BlockStandby
    );
    let fenced = is_confidential && kind.is_device();
    // The supervisor ends children that are other users: CAP_KILL.
    let capabilities = if is_child { 0 } else { CAP_KILL };
    // These see the folder that they are for, so their root is not empty.
    let sees_a_folder =
        matches!(kind, ProcessKind::Connector | ProcessKind::Janitor | ProcessKind::GroupJanitor);
    let apart = is_child && !sees_a_folder;
    Demand { profile: kind.profile(), capabilities, apart, fenced, bounded_files }
}

/// Compares each process with its profile, and says what is weaker.
///
/// # Errors
/// [`Failure::Failed`] when anything is.
pub(crate) fn check(shown: &[(&Running, InForce)], as_json: bool) -> Outcome {
    let is_confidential =
        shown.iter().any(|(process, _)| process.kind == ProcessKind::VmmConfidential);
    let mut count = 0;
    for (process, in_force) in shown {
        let kind = process.kind;
        let mut weak = in_force.weaker_than(demand(kind, is_confidential));
        let without = process.without.iter();
        weak.extend(
            without
                .map(|layer| format!("it runs without {}, which its user allowed", layer.name())),
        );
        count += weak.len();
        if as_json {
            outln!("{}", json!({ "kind": kind.name(), "pid": process.pid, "weaker": weak }));
        } else if weak.is_empty() {
            outln!("{kind} {}: as locked as its profile says", process.pid);
        } else {
            weak.iter().for_each(|what| outln!("{kind} {}: WEAKER: {what}", process.pid));
        }
    }
    match count {
        0 => Ok(()),
        1 => Err(Failure::Failed("one thing is weaker than it is to be".into())),
        many => Err(Failure::Failed(format!("{many} things are weaker than they are to be"))),
    }
}
