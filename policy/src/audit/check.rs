//! Contradictions: rules that together admit nothing, and rules that can never matter.

use super::{Finding, Level};
use crate::devices;
use crate::fields::{Field, GRANT_FIELDS, Key, Point};
use crate::lattice::Lattice;
use crate::policy::Policy;
use crate::rule::Rule;
use crate::rules::Origin;
use crate::search;

/// Every contradiction of the policy.
#[must_use]
pub fn check(policy: &Policy) -> Vec<Finding> {
    let mut out = Vec::new();
    for point in Point::ALL {
        closed_point(policy, point, &mut out);
        for (field, rule, origin) in policy.rules(point) {
            if *origin != Origin::Default {
                unreachable_device(policy, point, field, origin, &mut out);
                unreachable_denials(policy, field, rule, origin, &mut out);
            }
        }
    }
    generations(policy, "host.generations", "host.tcb", &mut out);
    generations(policy, "attestation.generations", "attestation.reported_tcb", &mut out);
    generations(policy, "attestation.generations", "attestation.launch_tcb", &mut out);
    grants(policy, &mut out);
    out
}

fn stated(policy: &Policy, point: Point) -> bool {
    policy.rules(point).any(|(_, _, origin)| *origin != Origin::Default)
}

/// A point whose rules admit no input together. A section that is left out is closed on purpose.
fn closed_point(policy: &Policy, point: Point, out: &mut Vec<Finding>) {
    // A section that the document leaves out is closed on purpose, and secrets have grants instead
    // of a point.
    if point == Point::Secrets || !stated(policy, point) {
        return;
    }
    let rules = policy.rules(point).map(|(field, rule, _)| (field, rule));
    let rules: Vec<(&'static Field, &Rule)> = rules.collect();
    // The engine searches for an input that all rules admit. What it names when there is none is
    // the first fact that no value is left for.
    let Err(key) = search::admitted(point.fields(), &rules) else { return };
    let involved = policy.rules(point).filter(|(field, _, _)| field.key == key);
    let (mut paths, mut origin) = (Vec::new(), Origin::Default);
    for (field, _, from) in involved {
        paths.push(field.path);
        if *from != Origin::Default {
            origin = from.clone();
        }
    }
    // A default can be what closes the point: then the finding says that a field was left out.
    let stated = if origin == Origin::Default { "not stated, and its default" } else { "which" };
    out.push(Finding {
        id: "CC001",
        level: Level::Warning,
        rule: paths.join(" and "),
        origin,
        message: format!("{stated} admits no {}: every {point} request is denied", key.path()),
        witness: None,
    });
}

fn unreachable_device(
    policy: &Policy,
    point: Point,
    field: &'static Field,
    origin: &Origin,
    out: &mut Vec<Finding>,
) {
    let rules = policy.rules(point).map(|(field, rule, _)| (field, rule));
    if point == Point::Devices && devices::without_effect(field, rules) {
        out.push(Finding {
            id: "CC002",
            level: Level::Warning,
            rule: field.path.into(),
            origin: origin.clone(),
            message: "no device of this kind is admitted, so the rule never matters".into(),
            witness: None,
        });
    }
}

/// Denials of what is not allowed in the first place.
fn unreachable_denials(
    policy: &Policy,
    field: &'static Field,
    rule: &Rule,
    origin: &Origin,
    out: &mut Vec<Finding>,
) {
    let mut dead: Vec<String> = Vec::new();
    match (rule, field.path) {
        (Rule::Forbidden(forbidden), "launch.cmdline_forbid") => {
            let Some(Rule::Names(allowed)) = policy.rule("launch.cmdline_allow") else { return };
            let patterns = forbidden.patterns().patterns().iter();
            // A denial that meets no allowed pattern denies nothing that could have come.
            let apart = patterns.filter(|pattern| !allowed.meets(pattern));
            dead.extend(apart.map(ToString::to_string));
        }
        (Rule::Bytes(denied), "host.chip_deny" | "attestation.chip_deny") => {
            let allow = field.path.replace("deny", "allow");
            let Some(Rule::Bytes(allowed)) = policy.rule(&allow) else { return };
            let members = denied.members().iter().filter(|member| !allowed.admits(member));
            dead.extend(members.map(|bytes| bytes.to_text().chars().take(16).collect()));
        }
        _ => {}
    }
    if !dead.is_empty() {
        // Four are enough to see which.
        dead.truncate(4);
        out.push(Finding {
            id: "CC003",
            level: Level::Note,
            rule: field.path.into(),
            origin: origin.clone(),
            message: format!("denies what is not allowed anyway: {}", dead.join(", ")),
            witness: None,
        });
    }
}

/// A generation that is admitted without a floor, or has a floor without being admitted.
fn generations(policy: &Policy, choice: &str, floors: &str, out: &mut Vec<Finding>) {
    let (Some(Rule::Choice(choices)), Some(Rule::Tcb(tcb))) =
        (policy.rule(choice), policy.rule(floors))
    else {
        return;
    };
    // `any` and "none" on either side are decisions of their own, and told by other findings.
    if choices.is_any() || tcb.is_any() || tcb.is_empty() || choices.is_empty() {
        return;
    }
    for ((index, name), floor) in (0u64..).zip(crate::lattice::Tcb::GENERATIONS).zip(tcb.floors()) {
        let message = match (choices.admits(index), floor.is_some()) {
            (true, false) => {
                format!("{name} is in {choice}, but has no floor here: it is never admitted")
            }
            (false, true) => format!("the floor of {name} never matters: it is not in {choice}"),
            _ => continue,
        };
        let origin = origin_of(policy, floors);
        out.push(Finding {
            id: "CC004",
            level: Level::Warning,
            rule: floors.into(),
            origin,
            message,
            witness: None,
        });
    }
}

pub(super) fn origin_of(policy: &Policy, path: &str) -> Origin {
    let mut all = Point::ALL.into_iter().flat_map(|point| policy.rules(point));
    let found = all.find(|(field, _, _)| field.path == path);
    found.map_or(Origin::Default, |(_, _, origin)| origin.clone())
}

/// Grants that no admitted report can use.
fn grants(policy: &Policy, out: &mut Vec<Finding>) {
    for grant in policy.grants() {
        let resource = grant.resource().to_string();
        for (field, rule, origin) in grant.rules() {
            let attested = policy
                .rules(Point::Attestation)
                .filter(|(f, _, _)| f.key == field.key && field.key != Key::Setting)
                .filter_map(|(_, theirs, _)| rule.meet(theirs));
            // Attestation and the grant judge the same report: where the two rules on one fact have
            // nothing in common, no report passes both.
            let mut meets = attested.peekable();
            let never = rule.is_empty() || meets.any(|meet| meet.is_empty());
            if never {
                // A rule that is not written in the grant has the grant's own place.
                let origin = if *origin == Origin::Default { &grant.rules.origin } else { origin };
                let why = if rule.is_empty() {
                    "admits nothing"
                } else {
                    "admits nothing that attestation admits"
                };
                out.push(Finding {
                    id: "CC005",
                    level: Level::Warning,
                    rule: grant.path(field),
                    origin: origin.clone(),
                    message: format!("{why}: {resource:?} is never released"),
                    witness: None,
                });
            }
        }
    }
    debug_assert!(GRANT_FIELDS.iter().all(|field| field.path.starts_with("secrets.*.")));
}
