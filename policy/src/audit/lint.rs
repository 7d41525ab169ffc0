//! Risky choices, each with a stable id and the input that it lets in.

use super::check::origin_of;
use super::danger::{Ask, Witness};
use super::lints::{self, Lint};
use super::{Finding, Level, SuiteReport};
use crate::fields::{Enforcer, Field, GRANT_FIELDS, Key, Kind, Point, enforcer};
use crate::policy::Policy;
use crate::rule::Rule;
use crate::rules::Origin;

/// Lints about tests, resources of grants and the whole policy, that are no single field's.
pub const LINTS: [(&str, Level, &str); 7] = [
    ("CM077", Level::Warning, "one grant releases the secrets of several repositories"),
    ("CM090", Level::Warning, "no test case notices when the rule is removed or moved by one step"),
    ("CM091", Level::Note, "a text that a reader may take for another"),
    ("CM095", Level::Warning, "a rule that this version cannot keep"),
    ("CM096", Level::Note, "rules that nobody asks in this version"),
    ("CM097", Level::Note, "what is launched and what gets secrets are in one document"),
    ("CM099", Level::Note, "rules that are written `any`"),
];

/// Every lint of a field or of a field of grants.
pub fn all() -> impl Iterator<Item = &'static Lint> {
    lints::fields().chain(lints::grants())
}

/// Every finding of the policy; with the report of its tests also untested rules.
#[must_use]
pub fn lint(policy: &Policy, tests: Option<&SuiteReport>) -> Vec<Finding> {
    let mut out = Vec::new();
    // Protection is a choice of which index 0 is SNP. Only where it can be chosen do rules about
    // the host's honesty matter.
    let protected =
        matches!(policy.rule("launch.protection"), Some(Rule::Choice(c)) if c.admits(0));
    for lint in lints::fields() {
        // Without protection nobody relies on the platform to keep the host out.
        if !protected && lints::for_protected_guests(lint) {
            continue;
        }
        let Some((point, key)) = place(lint.field) else { continue };
        if let Some(witness) = (lint.find)(&Ask::point(policy, point, key)) {
            let origin = origin_of(policy, lint.field);
            out.push(finding(lint, lint.field.into(), origin, witness));
        }
    }
    // Grants have rules of their own; a rule that a grant does not state has the grant's place as
    // its origin.
    for grant in policy.grants() {
        for (field, _, origin) in grant.rules() {
            for lint in lints::grants().filter(|lint| lint.field == field.path) {
                if let Some(witness) = (lint.find)(&Ask::grant(policy, grant, field.key)) {
                    let origin =
                        if *origin == Origin::Default { &grant.rules.origin } else { origin };
                    out.push(finding(lint, grant.path(field), origin.clone(), witness));
                }
            }
        }
        out.extend(several_repositories(grant));
    }
    // Untested rules are known only where a suite ran.
    for mutant in tests.iter().flat_map(|report| &report.mutants).filter(|mutant| !mutant.noticed) {
        out.push(Finding {
            id: "CM090",
            level: Level::Warning,
            rule: mutant.rule.clone(),
            origin: mutant.origin.clone(),
            message: format!("no test case notices when this rule {}", mutant.change),
            witness: mutant.witness.clone().map(Witness::whole),
        });
    }
    out.extend(super::text::misleading(policy));
    out.extend(cannot_be_kept(policy).filter(|_| protected));
    out.extend(not_asked(policy));
    out.extend(two_parts(policy));
    out.extend(wildcards(policy));
    out
}

/// The point and the fact of a field.
fn place(path: &str) -> Option<(Point, Key)> {
    let mut all = Point::ALL.into_iter().flat_map(|p| p.fields().iter().map(move |f| (p, f)));
    all.find(|(_, field)| field.path == path).map(|(point, field)| (point, field.key))
}

fn finding(lint: &Lint, rule: String, origin: Origin, witness: Witness) -> Finding {
    let (id, level, message) = (lint.id, lint.level, lint.message.to_owned());
    Finding { id, level, rule, origin, message, witness: Some(witness) }
}

/// A grant whose pattern ends before the first `/` gives out what is not even named yet.
fn several_repositories(grant: &crate::rules::Grant) -> Option<Finding> {
    let pattern = grant.resource();
    if !pattern.is_prefix() || pattern.text().contains('/') {
        return None;
    }
    let resource = crate::fields::sample_resource(pattern);
    let facts = crate::facts::Facts::new().text(Key::SecretResource, &resource);
    Some(Finding {
        id: "CM077",
        level: Level::Warning,
        rule: grant_name(grant),
        origin: grant.rules.origin.clone(),
        message: "one grant releases the secrets of every repository that begins so".into(),
        witness: Some(Witness { facts, input: None }),
    })
}

/// Rules that refuse every confidential guest, since no part can keep what they say.
fn cannot_be_kept(policy: &Policy) -> impl Iterator<Item = Finding> {
    let stated = stated(policy).into_iter();
    let lost = stated.filter(|(point, field, loosest, _)| {
        enforcer(*point, field.key) == Enforcer::StartWithoutFacts
            && field.key != Key::Setting
            && !loosest
    });
    lost.map(|(_, field, _, origin)| Finding {
        id: "CM095",
        level: Level::Warning,
        rule: field.path.into(),
        origin,
        message: "this version can keep `any` only, and refuses every confidential guest under \
                  this rule: KVM hands such requests to the firmware and tells nobody"
            .into(),
        witness: None,
    })
}

/// Which of the stated rules are asked by nobody yet: a reader could take them for kept.
fn not_asked(policy: &Policy) -> Option<Finding> {
    let silent: Vec<String> = policy.grants().iter().map(grant_name).collect();
    (!silent.is_empty()).then(|| Finding {
        id: "CM096",
        level: Level::Note,
        rule: "policy".into(),
        origin: Origin::Default,
        message: format!(
            "{} rules are not asked by this version, which has no such part yet: {}",
            silent.len(),
            silent.join(", ")
        ),
        witness: None,
    })
}

/// Grants beside rules on launches. A launch policy lies in the initdata, whose hash is HOST_DATA:
/// each change of a grant would change what every guest has to show, and the host reads it.
fn two_parts(policy: &Policy) -> Option<Finding> {
    let launch = |(point, ..): &(Point, &Field, bool, Origin)| *point == Point::Launch;
    let stated = stated(policy).into_iter().find(launch)?;
    let grant = policy.grants().first()?;
    Some(Finding {
        id: "CM097",
        level: Level::Note,
        rule: grant_name(grant),
        origin: grant.rules.origin.clone(),
        message: format!(
            "one document has the launch policy ({}) and grants of secrets: in a guest's initdata \
             the grants would be read by its host, and every change of one would change HOST_DATA",
            stated.1.path
        ),
        witness: None,
    })
}

/// Every rule that the document states, with its point and whether it is the loosest one.
fn stated(policy: &Policy) -> Vec<(Point, &'static Field, bool, Origin)> {
    let all = Point::ALL.into_iter().flat_map(|point| {
        policy.rules(point).map(move |(field, rule, origin)| {
            (point, field, rule.is_loosest(field.kind), origin.clone())
        })
    });
    all.filter(|(_, _, _, origin)| *origin != Origin::Default).collect()
}

fn grant_name(grant: &crate::rules::Grant) -> String {
    format!("secrets.{:?}", grant.resource().to_string())
}

/// How many rules are `any`, and which. This one is about what is written, and says so.
fn wildcards(policy: &Policy) -> Option<Finding> {
    let mut stated = Vec::new();
    for point in Point::ALL {
        for (field, rule, origin) in policy.rules(point) {
            // An empty list of what is denied or required is loosest, too, but no wildcard.
            let always = matches!(
                field.kind,
                Kind::Action(_) | Kind::BytesDenied(_) | Kind::NamesForbidden | Kind::NamesRequired
            );
            if *origin != Origin::Default && rule.is_loosest(field.kind) && !always {
                stated.push(field.path.to_owned());
            }
        }
    }
    for grant in policy.grants() {
        let any = grant.rules().filter(|(f, r, o)| **o != Origin::Default && r.is_loosest(f.kind));
        stated.extend(any.map(|(field, _, _)| grant.path(field)));
    }
    debug_assert!(GRANT_FIELDS.iter().all(|field| field.key != Key::Setting));
    (!stated.is_empty()).then(|| Finding {
        id: "CM099",
        level: Level::Note,
        rule: "policy".into(),
        origin: Origin::Default,
        message: format!("{} rules are `any`: {}", stated.len(), stated.join(", ")),
        witness: None,
    })
}
