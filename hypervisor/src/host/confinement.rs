//! What confines the processes of a VM: asked by confining one.

use super::{Capability, Finding, Verdict, cgroup};
use casemate_sandbox::{
    Action, FdTable, Layer, Layers, Profile, Report, Rule, SandboxError, State, spawn, sys,
};

/// The filter of the probe.
const PROBE: Profile =
    Profile { name: "probe", rules: &[Rule::new(sys("exit_group"), &[], "ends the probe")] };

pub(super) fn findings() -> Vec<Finding> {
    let mut findings = match probe() {
        Ok(report) => {
            report.iter().filter_map(|(layer, state)| layer_finding(*layer, state)).collect()
        }
        Err(e) => {
            let finding = Finding::new("sandbox", Verdict::Missing, "not probed", e.to_string());
            vec![finding.needed_for(Capability::Plain)]
        }
    };
    findings.push(seccomp());
    findings.push(cgroups());
    findings
}

/// Confines a child with every layer where the host can.
fn probe() -> Result<Report, SandboxError> {
    let layers = Layer::ALL.into_iter().fold(Layers::new("probe"), Layers::optional);
    let mut child = spawn(layers, |born| {
        let locked =
            born.confine().and_then(|setup| setup.lock(&PROBE, &FdTable::new(), Action::Kill));
        i32::from(locked.is_err())
    })?;
    let report = child.confined()?.clone();
    match child.wait()? {
        casemate_sandbox::Exit::Code(0) => Ok(report),
        exit => Err(SandboxError::Died { name: "probe".into(), exit }),
    }
}

fn layer_finding(layer: Layer, state: &State) -> Option<Finding> {
    let subject = format!("sandbox {layer}");
    let finding = match state {
        State::Applied(details) => {
            let found = if details.is_empty() { "yes" } else { details };
            Finding::new(subject, Verdict::Ok, found, layer.purpose())
        }
        State::Missing(why) => Finding::new(
            subject,
            Verdict::Missing,
            why,
            format!("{}: {}; or name the layer optional", layer.purpose(), layer.remedy()),
        ),
        State::Off => return None,
    };
    // A network namespace adds depth, not reach; a fence is for devices of a confidential guest.
    Some(if layer.only_where_asked() { finding } else { finding.needed_for(Capability::Plain) })
}

fn seccomp() -> Finding {
    let path = "/proc/sys/kernel/seccomp/actions_avail";
    let actions = std::fs::read_to_string(path).unwrap_or_default();
    let there = actions.split_whitespace().any(|action| action == "kill_process");
    let found = if there { "kills processes" } else { "no kill_process" };
    let why = "a process that breaks its filter dies; needs CONFIG_SECCOMP_FILTER=y";
    Finding::there("sandbox seccomp", there, found, why).needed_for(Capability::Plain)
}

fn cgroups() -> Finding {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let why = "limits of CPU and memory per VM; Casemate runs without";
    let Some(root) = cgroup::mount_point(&mounts) else {
        return Finding::new("cgroup v2", Verdict::Note, "not mounted", why);
    };
    let controllers = std::fs::read_to_string(format!("{root}/cgroup.controllers"));
    let controllers = controllers.unwrap_or_default();
    match controllers.trim() {
        "" => Finding::new("cgroup v2", Verdict::Note, format!("{root}, no controller"), why),
        list => Finding::new("cgroup v2", Verdict::Ok, format!("{root}: {list}"), why),
    }
}
