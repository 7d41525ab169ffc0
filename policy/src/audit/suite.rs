//! Tests beside a policy, and how strong they are.
//!
//! A case is an input, a verdict, and the rules that must be its reasons. The strength of a suite is
//! measured by mutation: each stated rule in turn is replaced by `any`, and some case has to notice.

use crate::decide::{Decision, Verdict};
use crate::fact::Facts;
use crate::fields::{GRANT_FIELDS, Point};
use crate::input::Input;
use crate::policy::{Origin, Policy};

/// One test case.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The decision point.
    pub point: Point,
    /// The input.
    pub facts: Facts,
    /// The verdict it must get.
    pub expect: Verdict,
    /// Exactly the rules that must be its reasons, when it says.
    pub because: Option<Vec<String>>,
}

/// Test cases of one policy.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Suite {
    /// The cases, in the order of the document.
    pub cases: Vec<Case>,
}

/// How one case went.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseResult {
    /// The case's name.
    pub name: String,
    /// Whether the decision was the one expected.
    pub passed: bool,
    /// What was expected.
    pub expected: String,
    /// The decision.
    pub decision: Decision,
}

/// A policy with one rule removed.
#[derive(Debug, Clone, PartialEq)]
pub struct Mutant {
    /// The rule that was removed.
    pub rule: String,
    /// Where it is stated.
    pub origin: Origin,
    /// Whether some case noticed.
    pub noticed: bool,
    /// An input that only the mutant admits, where none did.
    pub witness: Option<Input>,
}

/// How a suite went.
#[derive(Debug, Clone, PartialEq)]
pub struct SuiteReport {
    /// Every case.
    pub results: Vec<CaseResult>,
    /// Every stated rule, removed in turn.
    pub mutants: Vec<Mutant>,
}

impl SuiteReport {
    /// Whether every case passed and every removed rule was noticed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.results.iter().all(|result| result.passed)
            && self.mutants.iter().all(|mutant| mutant.noticed)
    }
}

impl Case {
    fn agrees(&self, decision: &Decision) -> bool {
        let reasons = || decision.reasons.iter().map(|reason| reason.rule.as_str());
        decision.verdict == self.expect
            && self.because.as_ref().is_none_or(|because| {
                because.len() == decision.reasons.len()
                    && because.iter().all(|rule| reasons().any(|found| found == rule))
            })
    }

    fn expected(&self) -> String {
        match &self.because {
            Some(rules) => format!("{} because of {}", self.expect, rules.join(", ")),
            None => self.expect.to_string(),
        }
    }
}

impl Suite {
    /// Runs every case and every mutant.
    #[must_use]
    pub fn run(&self, policy: &Policy) -> SuiteReport {
        let result = |case: &Case| {
            let decision = policy.decide(case.point, &case.facts);
            CaseResult {
                name: case.name.clone(),
                passed: case.agrees(&decision),
                expected: case.expected(),
                decision,
            }
        };
        let results = self.cases.iter().map(result).collect();
        let mutants = mutants(policy)
            .map(|(rule, origin, mutant)| {
                let differs = |case: &Case| {
                    let (own, changed) = (policy, &mutant);
                    own.decide(case.point, &case.facts) != changed.decide(case.point, &case.facts)
                        && !case.agrees(&changed.decide(case.point, &case.facts))
                };
                let noticed = self.cases.iter().any(differs);
                let witness = if noticed { None } else { only_in(policy, &mutant, &rule) };
                Mutant { rule, origin, noticed, witness }
            })
            // Removing a rule that decides nothing cannot be noticed; `check` reports such rules.
            .filter(|mutant| mutant.noticed || mutant.witness.is_some() || is_setting(&mutant.rule))
            .collect();
        SuiteReport { results, mutants }
    }
}

fn is_setting(rule: &str) -> bool {
    rule.starts_with("runtime.on_") || rule == "network.on_rate"
}

fn only_in(policy: &Policy, mutant: &Policy, rule: &str) -> Option<Input> {
    let diff = policy.diff(mutant);
    diff.differences.into_iter().find(|d| d.rule == rule).and_then(|d| d.only_second)
}

/// The policy with each stated rule replaced by the loosest, in turn.
fn mutants(policy: &Policy) -> impl Iterator<Item = (String, Origin, Policy)> + '_ {
    let points = Point::ALL.into_iter().flat_map(move |point| {
        policy.rules(point).enumerate().filter_map(move |(index, (field, rule, origin))| {
            if *origin == Origin::Default || rule.is_loosest(field.kind) {
                return None;
            }
            let mut mutant = policy.clone();
            mutant.points.get_mut(point.index())?.state(index, field.kind.any(), origin.clone());
            Some((field.path.to_owned(), origin.clone(), mutant))
        })
    });
    let grants = policy.grants.iter().enumerate().flat_map(move |(at, grant)| {
        grant.rules().enumerate().filter_map(move |(index, (field, rule, origin))| {
            if *origin == Origin::Default || rule.is_loosest(field.kind) {
                return None;
            }
            let mut mutant = policy.clone();
            let any = GRANT_FIELDS.get(index)?.kind.any();
            mutant.grants.get_mut(at)?.rules.state(index, any, origin.clone());
            Some((grant.path(field), origin.clone(), mutant))
        })
    });
    points.chain(grants)
}

impl Mutant {
    /// A test case, as TOML, that would notice.
    #[must_use]
    pub fn suggestion(&self) -> Option<String> {
        let input = self.witness.as_ref()?;
        let point = input.point?;
        let mut out = format!(
            "[[case]]\nname = \"{} is enforced\"\npoint = \"{point}\"\nexpect = \"deny\"\nbecause = [{}]\n",
            self.rule.replace('"', "'"),
            crate::document::json::quote(&self.rule)
        );
        for (key, fact) in input.facts.iter() {
            let value = crate::render::toml_fact(key.kind(), fact);
            out.push_str(&format!("input.{:?} = {value}\n", key.path()));
        }
        Some(out)
    }
}
