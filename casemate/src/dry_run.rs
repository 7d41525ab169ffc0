//! `casemate run --dry-run`: what a start would do, in words and as data.

use crate::files::print_json;
use crate::measure::config::page_json;
use crate::not_started::failure;
use crate::out::outln;
use crate::policy::ask::{row_json, row_text};
use crate::sandbox::rules_json;
use crate::{Failure, Outcome};
use casemate_attestation::hex::encode;
use casemate_foreign_text::{line, value};
use casemate_hypervisor::config::VmConfig;
use casemate_hypervisor::launch::measure::{Measurement, measure};
use casemate_hypervisor::vm::{Decided, DryRun, Planned, dry_run};
use casemate_sandbox::{Layer, Need};
use serde_json::{Value, json};
use std::path::Path;

/// Prints it.
///
/// # Errors
/// As a start has them: status 2 for bad input, 1 for a denial and for what the host lacks. Of the
/// last two everything is printed first.
pub fn run(config: &VmConfig, policy: Option<&Path>, logged: bool, as_json: bool) -> Outcome {
    let dry = dry_run(config, policy, logged).map_err(failure)?;
    let measurement = measure(&dry.plan);
    if as_json {
        print_json(&to_json(config, &dry, measurement.as_ref()));
    } else {
        print(config, &dry, measurement.as_ref());
    }
    conclude(dry)
}

/// What a start would have ended with.
pub fn conclude(dry: DryRun) -> Result<(), Failure> {
    dry.denied.or(dry.host_lacks).map_or(Ok(()), |e| Err(failure(e)))
}

fn print(config: &VmConfig, dry: &DryRun, measurement: Option<&Measurement>) {
    let (memory, vcpus) = (config.memory >> 20, config.vcpus);
    let name = value(&config.name);
    outln!("VM {name}: protection {}, {vcpus} vCPUs, {memory}M", config.protection);
    outln!("policy {}, SHA-256 {}", value(dry.policy.name()), dry.policy.hash_hex());
    for Decided { point, decision, rules } in &dry.decisions {
        outln!("  {point}: {}", decision.verdict);
        let denied = rules.iter().filter(|row| row.outcome.name() == "DENIED");
        denied.for_each(|row| outln!("  {}", line(row_text(row))));
    }
    match measurement {
        Some(Measurement { digest, pages }) => {
            outln!("launch digest {}, of {} pages", encode(digest), pages.len());
        }
        None => outln!("no launch digest: protection is \"none\""),
    }
    for Planned { kind, name, descriptors, layers } in &dry.processes {
        let profile = kind.profile();
        let calls = profile.syscalls().len();
        outln!("process {kind} ({}): {calls} system calls once it is locked", value(name));
        outln!("  given:  {}", line(descriptors.join("; ")));
        for (need, word) in [(Need::Required, "layers"), (Need::Optional, "layers that may lack")] {
            let names: Vec<_> = named(layers, need).collect();
            if !names.is_empty() {
                outln!("  {word}: {}", names.join(", "));
            }
        }
    }
    if let Some(why) = &dry.host_lacks {
        outln!("this host lacks what it needs: {}", line(why));
    }
    outln!("nothing was started");
}

fn named(layers: &[(Layer, Need)], wanted: Need) -> impl Iterator<Item = &'static str> {
    layers.iter().filter(move |(_, need)| *need == wanted).map(|(layer, _)| layer.name())
}

/// Everything of it.
pub fn to_json(config: &VmConfig, dry: &DryRun, measurement: Option<&Measurement>) -> Value {
    let decisions: Vec<Value> = dry.decisions.iter().map(decided_json).collect();
    let processes: Vec<Value> = dry.processes.iter().map(planned_json).collect();
    let pages = measurement.map(|all| all.pages.iter().map(page_json).collect::<Vec<_>>());
    json!({
        "name": config.name,
        "protection": config.protection.to_string(),
        "vcpus": config.vcpus,
        "memory-mib": config.memory >> 20,
        "policy": { "name": dry.policy.name(), "sha256": dry.policy.hash_hex() },
        "admitted": dry.denied.is_none(),
        "decisions": decisions,
        "launch-digest": measurement.map(|all| encode(&all.digest)),
        "pages": pages,
        "processes": processes,
        "host-lacks": dry.host_lacks.as_ref().map(ToString::to_string),
    })
}

fn decided_json(decided: &Decided) -> Value {
    let Decided { point, decision, rules } = decided;
    // Our own text, read back as what it is: one function says what a rule is.
    let row = |row| serde_json::from_str::<Value>(&row_json(row)).unwrap_or(Value::Null);
    let rules: Vec<Value> = rules.iter().map(row).collect();
    json!({ "point": point.name(), "verdict": decision.verdict.name(), "rules": rules })
}

fn planned_json(planned: &Planned) -> Value {
    let Planned { kind, name, descriptors, layers } = planned;
    let need = |need: Need| match need {
        Need::Required => "required",
        Need::Optional => "optional",
        Need::Off => "off",
    };
    let layers: Vec<Value> = layers
        .iter()
        .map(|(layer, of)| json!({ "layer": layer.name(), "need": need(*of), "purpose": layer.purpose() }))
        .collect();
    json!({
        "kind": kind.name(),
        "name": name,
        "descriptors": descriptors,
        "layers": layers,
        "rules": rules_json(kind.profile()),
    })
}
