//! Tests beside a policy, and how strong they are.
//!
//! A case is an input, a verdict, and the rules that must be its reasons. The strength of a suite
//! is measured by mutation: each stated rule in turn is replaced by `any`, and loosened by one step
//! at each of its ends, and some case has to notice.

use super::mutants::{Changed, mutants};
use crate::decide::{Decision, Verdict};
use crate::document::json::quote;
use crate::fact::Fact;
use crate::facts::Facts;
use crate::fields::{GRANT_FIELDS, Key, Point, sample_resource};
use crate::input::Input;
use crate::policy::Policy;
use crate::rules::Origin;
use crate::{render, search};

/// One test case: an input, and what the policy has to say about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What it shows, in the words of the document.
    pub name: String,
    /// The decision point that is asked.
    pub point: Point,
    /// The input, which may contradict itself.
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
    /// Its name in the document.
    pub name: String,
    /// Whether the decision was the one expected.
    pub passed: bool,
    /// What was expected, in words.
    pub expected: String,
    /// The decision that was made.
    pub decision: Decision,
}

/// A policy with one rule removed or loosened.
#[derive(Debug, Clone, PartialEq)]
pub struct Mutant {
    /// The path of the rule that was changed.
    pub rule: String,
    /// What became of it: "is removed", "also admits 17".
    pub change: String,
    /// Where the rule is stated.
    pub origin: Origin,
    /// Whether some case noticed.
    pub noticed: bool,
    /// An input that only the mutant admits, where none did.
    pub witness: Option<Input>,
}

/// How a suite went.
#[derive(Debug, Clone, PartialEq)]
pub struct SuiteReport {
    /// Every case, in the order of the document.
    pub results: Vec<CaseResult>,
    /// Every stated rule, removed and loosened in turn.
    pub mutants: Vec<Mutant>,
}

impl SuiteReport {
    /// Whether every case passed and every change was noticed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.results.iter().all(|result| result.passed)
            && self.mutants.iter().all(|mutant| mutant.noticed)
    }
}

impl Case {
    fn agrees(&self, decision: &Decision) -> bool {
        // Reasons are compared as sets: their order is the fields', and no business of a test.
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
            .map(|Changed { rule, origin, change, policy: mutant }| {
                let differs = |case: &Case| {
                    let (own, changed) = (policy, &mutant);
                    let after = changed.decide(case.point, &case.facts);
                    // Only what becomes another verdict, or another reason, can be told apart.
                    own.decide(case.point, &case.facts) != after && !case.agrees(&after)
                };
                let noticed = self.cases.iter().any(differs);
                // A witness is looked for only where no case noticed: it is costly, and the case
                // itself is one.
                let witness = if noticed { None } else { only_in(policy, &mutant, &rule) };
                Mutant { rule, change, origin, noticed, witness }
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

impl Suite {
    /// Test cases, as TOML, that would notice what these do not: an allowed input for each point
    /// that has none, and for each unnoticed rule a change of an allowed input that only this rule
    /// denies.
    #[must_use]
    pub fn suggest(&self, policy: &Policy, report: &SuiteReport) -> String {
        let mut out = String::new();
        let mut allowed: Vec<Case> =
            self.cases.iter().filter(|c| c.expect.is_allow()).cloned().collect();
        for point in report.without_allowed(self, policy) {
            // Allowed inputs come first: the denied ones below are each a change of one of them.
            if let Some(case) = allowed_case(policy, point) {
                out.push_str(&write_case(&case, None));
                allowed.push(case);
            }
        }
        for mutant in report.mutants.iter().filter(|mutant| !mutant.noticed) {
            let Some((point, input)) = mutant.witness.as_ref().and_then(|i| Some((i.point?, i)))
            else {
                continue;
            };
            let base = allowed.iter().find(|case| case.point == point);
            // Near to an allowed input, the case shows what is denied; a witness alone shows it
            // among everything else that is different.
            let case = denied_case(policy, mutant, base, point, input);
            // More than two changes are no longer "the same but for": the input is then written
            // out.
            let base = base.filter(|base| changed(base, &case).count() < 3);
            out.push_str(&write_case(&case, base));
        }
        out
    }
}

impl SuiteReport {
    /// The points that admit something, have a stated rule, and no case that is allowed.
    #[must_use]
    pub fn without_allowed(&self, suite: &Suite, policy: &Policy) -> Vec<Point> {
        let stated = |point: Point| {
            let grants = point == Point::Secrets && !policy.grants.is_empty();
            grants || policy.rules(point).any(|(_, _, origin)| *origin != Origin::Default)
        };
        let tested = |point: Point| {
            suite.cases.iter().any(|case| case.point == point && case.expect.is_allow())
        };
        let points = Point::ALL.into_iter();
        points.filter(|p| stated(*p) && !tested(*p) && allowed_case(policy, *p).is_some()).collect()
    }
}

fn allowed_case(policy: &Policy, point: Point) -> Option<Case> {
    let facts = if point == Point::Secrets {
        let grant = policy.grants().first()?;
        // Of a report that attestation admits, where there is one.
        let own: Vec<_> = grant.rules().map(|(field, rule, _)| (field, rule)).collect();
        let attested = policy.rules(Point::Attestation).map(|(field, rule, _)| (field, rule));
        let both: Vec<_> = own.iter().copied().chain(attested).collect();
        let facts = search::admitted(GRANT_FIELDS, &both);
        let facts = facts.or_else(|_| search::admitted(GRANT_FIELDS, &own)).ok()?;
        facts.text(Key::SecretResource, &sample_resource(grant.resource()))
    } else {
        let rules: Vec<_> = policy.rules(point).map(|(field, rule, _)| (field, rule)).collect();
        search::admitted(point.fields(), &rules).ok()?
    };
    let case = Case {
        name: format!("{point}: an allowed input"),
        point,
        facts,
        expect: Verdict::Allow,
        because: None,
    };
    policy.decide(point, &case.facts).is_allow().then_some(case)
}

/// The allowed input with the one fact that the rule denies, or else the whole witness.
fn denied_case(
    policy: &Policy,
    mutant: &Mutant,
    base: Option<&Case>,
    point: Point,
    witness: &Input,
) -> Case {
    let name = mutant.rule.rsplit('.').next().unwrap_or_default();
    let fields = if point == Point::Secrets { GRANT_FIELDS } else { point.fields() };
    let field = fields
        .iter()
        .find(|f| f.path == mutant.rule || (point == Point::Secrets && f.name() == name));
    // One fact out of the witness, set into an allowed input: if that alone is denied, and could
    // be, it is the best case.
    let mut facts = base.map_or_else(|| witness.facts.clone(), |case| case.facts.clone());
    if let Some((field, fact)) = field.and_then(|f| Some((f, witness.facts.get(f.key)?))) {
        facts.set(field.key, fact.clone());
    }
    let of_one_world = facts.contradictions().is_empty();
    let changed = !policy.decide(point, &facts).is_allow() && of_one_world;
    let facts = if changed { facts } else { witness.facts.clone() };
    let decision = policy.decide(point, &facts);
    let name = match mutant.change.strip_prefix("also admits ") {
        Some(what) => format!("{}: not {what}", mutant.rule),
        None => format!("{} is enforced", mutant.rule),
    };
    Case {
        name,
        point,
        facts,
        expect: decision.verdict,
        because: Some(decision.reasons.into_iter().map(|reason| reason.rule).collect()),
    }
}

fn changed<'c>(base: &Case, case: &'c Case) -> impl Iterator<Item = (Key, &'c Fact)> {
    let base = base.facts.clone();
    // Facts that the base has and the case has not would have to be removed; a change only sets.
    case.facts.iter().filter(move |(key, fact)| base.get(*key) != Some(*fact))
}

fn write_case(case: &Case, base: Option<&Case>) -> String {
    let mut out = format!("[[case]]\nname = {}\n", quote(&case.name));
    match base {
        Some(base) => out.push_str(&format!("from = {}\n", quote(&base.name))),
        None => out.push_str(&format!("point = \"{}\"\n", case.point)),
    }
    out.push_str(&format!("expect = \"{}\"\n", case.expect));
    if let Some(rules) = &case.because {
        let rules: Vec<String> = rules.iter().map(|rule| quote(rule)).collect();
        out.push_str(&format!("because = [{}]\n", rules.join(", ")));
    }
    let line = |name: &str, (key, fact): (Key, &Fact)| {
        format!("{name}.{} = {}\n", key.path(), render::toml_fact(key.kind(), fact))
    };
    match base {
        Some(base) => changed(base, case).for_each(|pair| out.push_str(&line("change", pair))),
        None => case.facts.iter().for_each(|pair| out.push_str(&line("input", pair))),
    }
    out.push('\n');
    out
}
