//! The page of a configuration or an image: what a start would do, by the way of a start.

use super::{AuditArgs, Titled, calls};
use crate::Failure;
use crate::files::was_read;
use crate::guest_flags::GuestFlags;
use crate::html::Page;
use crate::not_started::failure;
use crate::packed::Packed;
use casemate_attestation::hex::encode;
use casemate_hypervisor::config::{Leaf, VmConfig};
use casemate_hypervisor::launch::measure::measure;
use casemate_hypervisor::vm::{Decided, DryRun, Planned, ProcessKind, dry_run};
use casemate_policy::Explained;
use casemate_sandbox::Need;

/// Fills the page; its title, and the launch digest.
pub(super) fn show(page: &mut Page, args: &AuditArgs) -> Result<Titled, Failure> {
    let guest = GuestFlags { memory: args.memory.clone(), ..GuestFlags::default() };
    let image = Packed::open(&args.source)?;
    let config = guest.config_of(image.as_ref(), Some(&args.source), args.vcpus)?;
    let config = config.validate().map_err(|e| Failure::BadInput(e.to_string()))?;
    // The page is none of what it is about.
    let disks = config.disks.iter().map(|disk| &disk.path);
    std::iter::once(&config.kernel).chain(&config.initrd).chain(disks).for_each(|p| was_read(p));
    // A configuration that limits the recorder is meant for a start with a decision log.
    let logged = config.cgroup.as_ref().is_some_and(|all| !all.of(Leaf::Recorder).is_none());
    let dry = dry_run(&config, args.policy.as_deref(), logged).map_err(failure)?;
    summary(page, &config, &dry, image.as_ref().is_some_and(Packed::has_more_devices));
    processes(page, &dry);
    policy(page, &dry);
    let digest = launch(page, &dry);
    Ok((format!("What VM {} may do", config.name), digest))
}

fn summary(page: &mut Page, config: &VmConfig, dry: &DryRun, has_more: bool) {
    page.section(
        "Summary",
        "What a start would do, on this host, for this user, with these \
        files as they are now. Nothing was started.",
    );
    let admitted = if dry.denied.is_none() { "allow" } else { "deny" };
    let initrd = match dry.plan.files.initrd {
        none if none == [0; 32] => "no initrd".to_owned(),
        hash => encode(&hash),
    };
    let mut rows = vec![
        row("name", &config.name),
        row("protection", &config.protection.to_string()),
        row("virtual processors", &config.vcpus.to_string()),
        row("memory", &format!("{}M", config.memory >> 20)),
        row("policy", &format!("{}, SHA-256 {}", dry.policy.name(), dry.policy.hash_hex())),
        row("the policy decides", admitted),
        row("SHA-256 of the kernel", &encode(&dry.plan.files.kernel)),
        row("SHA-256 of the initrd", &initrd),
    ];
    if has_more {
        let what = "the devices that `run --output` and `run --kbs` add, for results, initdata and the \
                    way to a key broker, their processes, and what a policy decides about them";
        rows.push(row("not on this page", what));
    }
    // By what, and not what was found: a refused word of a command line may be a secret.
    let denied = dry.decisions.iter().filter(|one| !one.decision.is_allow());
    rows.extend(denied.map(|one| {
        let rules: Vec<&str> = one.decision.reasons.iter().map(|r| r.rule.as_str()).collect();
        row("denied by", &format!("{}: {}", one.point, rules.join(", ")))
    }));
    rows.extend(dry.host_lacks.as_ref().map(|why| row("the host lacks", &why.to_string())));
    page.table("The VM", &["what", "is"], &rows);
}

fn row(name: &str, what: &str) -> Vec<String> {
    vec![name.to_owned(), what.to_owned()]
}

fn processes(page: &mut Page, dry: &DryRun) {
    page.section(
        "Processes",
        "Each begins with these descriptors and no others, behind these layers; once it is locked \
         it makes these calls and no others.",
    );
    for Planned { kind, name, descriptors, layers } in &dry.processes {
        page.part(&format!("{kind} ({name})"), true, |page| {
            let given: Vec<Vec<String>> = (0..)
                .zip(descriptors)
                .map(|(number, what): (u32, _)| row(&number.to_string(), what))
                .collect();
            page.line(&format!("Memory of the guest that it can reach: {}.", reach(*kind, dry)));
            page.table("Given at its start", &["order", "descriptor"], &given);
            let wanted: Vec<Vec<String>> = layers
                .iter()
                .map(|(layer, need)| {
                    let need = match need {
                        Need::Required => "required",
                        Need::Optional => "optional",
                        Need::Off => "off",
                    };
                    [layer.name(), need, layer.purpose()].map(str::to_owned).to_vec()
                })
                .collect();
            let required = layers.iter().filter(|(_, need)| *need == Need::Required).count();
            page.part(&format!("{required} of {} layers required", layers.len()), false, |page| {
                page.table("Layers of its lock", &["layer", "need", "what it is for"], &wanted);
            });
            calls(page, kind.profile());
        });
    }
}

/// What of the guest's memory a process has mapped. A confidential guest's private pages are in no
/// process's mappings: KVM has them from a file that cannot be mapped (guest_memfd).
fn reach(kind: ProcessKind, dry: &DryRun) -> &'static str {
    let confidential = dry.plan.snp.is_some();
    match (kind, confidential) {
        (ProcessKind::Vmm, _) => "all of it",
        (ProcessKind::VmmConfidential, _) => "the pages that the guest shares",
        (kind, true) if kind.is_device() => {
            "the pages that the guest shares and has touched, behind a fence"
        }
        (kind, false) if kind.is_device() => "all of it, as the vmm process gives it",
        _ => "none",
    }
}

fn policy(page: &mut Page, dry: &DryRun) {
    page.section(
        "Policy",
        "Every rule at every point that is asked before a start, as it was decided.",
    );
    for Decided { point, decision, rules } in &dry.decisions {
        let title = format!("{point}: {}", decision.verdict);
        page.part(&title, !decision.is_allow(), |page| {
            let rows: Vec<Vec<String>> = rules.iter().map(rule).collect();
            let head = ["rule", "decided", "admits", "found", "stated at"];
            page.table(&format!("Rules of {point}"), &head, &rows);
        });
    }
}

fn rule(row: &Explained) -> Vec<String> {
    let Explained { rule, origin, operator, admits, fact, found, outcome } = row;
    // A page is passed on; whoever may see the command line reads it in the configuration.
    let found = match found {
        Some(_) if *fact == "launch.cmdline" => "(left out: secrets may stand there)",
        Some(found) => found,
        None => "(nothing)",
    };
    let admits = format!("{operator} {admits}");
    vec![rule.clone(), outcome.name().into(), admits, found.into(), origin.to_string()]
}

fn launch(page: &mut Page, dry: &DryRun) -> Option<String> {
    let Some(measured) = measure(&dry.plan) else {
        page.section(
            "Launch",
            "protection is \"none\": nothing of the launch is measured, and \
            the host can read and change the guest's memory.",
        );
        return None;
    };
    page.section(
        "Launch",
        "Every page in the order in which it is launched. The digest is that \
        of the report of a guest that was launched so.",
    );
    let digest = encode(&measured.digest);
    page.line(&format!("Launch digest {digest}"));
    let rows: Vec<Vec<String>> = measured
        .pages
        .iter()
        .map(|one| {
            let hash =
                one.hash.map_or_else(|| "contents not measured".into(), |hash| encode(&hash));
            vec![format!("{:#x}", one.gpa), one.kind.into(), one.what.clone(), hash]
        })
        .collect();
    page.table("Launched pages", &["address", "kind", "what", "SHA-384"], &rows);
    Some(digest)
}
