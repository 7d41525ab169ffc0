//! Risky choices, each with a stable id.

use super::check::origin_of;
use super::lint_rules::GRANT_LINTS;
use super::{Finding, Level, SuiteReport, lint_rules};
use crate::fields::{Kind, Point};
use crate::policy::Policy;
use crate::rule::Rule;
use crate::rules::Origin;

/// One lint.
#[derive(Debug)]
pub struct Lint {
    /// Stable id; never reused.
    pub id: &'static str,
    /// How grave a finding is.
    pub level: Level,
    /// The field it looks at; empty for one about the whole policy.
    pub field: &'static str,
    /// What is wrong where it is found.
    pub message: &'static str,
    /// Whether the rule is a finding.
    pub found: fn(&Policy, &Rule) -> bool,
}

/// Lints about grants, tests and the whole policy, that are no single field's.
pub const LINTS: [(&str, Level, &str); 3] = [
    ("CM090", Level::Warning, "no test case notices when the rule is removed"),
    ("CM091", Level::Warning, "the rule has no test case that it denies"),
    ("CM099", Level::Note, "rules that are written `any`"),
];

/// Every finding of the policy; with the report of its tests also untested rules.
#[must_use]
pub fn lint(policy: &Policy, tests: Option<&SuiteReport>) -> Vec<Finding> {
    let mut out = Vec::new();
    let protected =
        matches!(policy.rule("launch.protection"), Some(Rule::Choice(c)) if c.admits(0));
    for lint in lint_rules::FIELD_LINTS {
        // Without protection nobody relies on the platform to keep the host out.
        if !protected && lint_rules::for_protected_guests(lint) {
            continue;
        }
        if policy.rule(lint.field).is_some_and(|rule| (lint.found)(policy, rule)) {
            out.push(Finding {
                id: lint.id,
                level: lint.level,
                rule: lint.field.into(),
                origin: origin_of(policy, lint.field),
                message: lint.message.into(),
            });
        }
    }
    for grant in policy.grants() {
        for (field, rule, origin) in grant.rules() {
            for lint in GRANT_LINTS.iter().filter(|lint| lint.field == field.path) {
                if (lint.found)(policy, rule) {
                    let origin =
                        if *origin == Origin::Default { &grant.rules.origin } else { origin };
                    out.push(Finding {
                        id: lint.id,
                        level: lint.level,
                        rule: grant.path(field),
                        origin: origin.clone(),
                        message: lint.message.into(),
                    });
                }
            }
        }
    }
    for mutant in tests.iter().flat_map(|report| &report.mutants).filter(|mutant| !mutant.noticed) {
        out.push(Finding {
            id: "CM090",
            level: Level::Warning,
            rule: mutant.rule.clone(),
            origin: mutant.origin.clone(),
            message: "no test case notices when this rule is removed".into(),
        });
    }
    out.extend(wildcards(policy));
    out
}

/// How many rules are `any`, and which.
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
    (!stated.is_empty()).then(|| Finding {
        id: "CM099",
        level: Level::Note,
        rule: "policy".into(),
        origin: Origin::Default,
        message: format!("{} rules are `any`: {}", stated.len(), stated.join(", ")),
    })
}
