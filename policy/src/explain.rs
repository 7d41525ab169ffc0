//! Explanation: every rule of a point with what it admits, what was found and how it was decided;
//! and the smallest change of an input that would be admitted.

use crate::decide::{Cause, Decision, cause};
use crate::fact::Fact;
use crate::facts::Facts;
use crate::fields::{Field, GRANT_FIELDS, Key, Point};
use crate::policy::Policy;
use crate::render;
use crate::rule::Rule;
use crate::rules::{Grant, Origin};
use crate::search::{Wanted, keys};
use crate::whole::made_whole;

/// How one rule was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The fact is there, or need not be, and is admitted.
    Admitted,
    /// The fact is denied; the cause says how.
    Denied(Cause),
    /// The rule is `any`: the fact, if there is one, was not looked at.
    NotChecked,
    /// The rule sets what a denial does, and denies nothing itself.
    Setting,
}

impl Outcome {
    /// A word for outputs; a denial in capitals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Denied(_) => "DENIED",
            Self::NotChecked => "not checked",
            Self::Setting => "setting",
        }
    }
}

/// One rule of an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The path of the field, which is the rule's name.
    pub rule: String,
    /// Where the rule is stated.
    pub origin: Origin,
    /// What the rule does with the fact.
    pub operator: &'static str,
    /// What the rule admits, shortened.
    pub admits: String,
    /// The path of the fact that it looks at.
    pub fact: &'static str,
    /// The fact, `None` when the input does not have it.
    pub found: Option<String>,
    /// How the rule was decided.
    pub outcome: Outcome,
}

fn explain_one(
    path: String,
    field: &Field,
    rule: &Rule,
    origin: &Origin,
    facts: &Facts,
) -> Explained {
    // By the same function that decides: an explanation that had a judgement of its own could be
    // wrong about the decision.
    let outcome = match cause(field, rule, facts) {
        _ if field.key == Key::Setting => Outcome::Setting,
        Some(cause) => Outcome::Denied(cause),
        None if rule.is_any() => Outcome::NotChecked,
        None => Outcome::Admitted,
    };
    Explained {
        rule: path,
        origin: origin.clone(),
        operator: render::operator(field.kind),
        admits: render::brief_rule(field.kind, rule),
        fact: field.key.path(),
        found: facts.get(field.key).map(|fact| render::brief_fact(field.kind, fact)),
        outcome,
    }
}

/// One change of an input.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Which fact has to change.
    pub key: Key,
    /// What it is, `None` when it is missing.
    pub from: Option<Fact>,
    /// What it would have to be.
    pub to: Fact,
}

impl Change {
    /// What the fact is, `None` when it is missing, and what it would have to be, in words.
    #[must_use]
    pub fn shown(&self) -> (Option<String>, String) {
        let kind = self.key.kind();
        (self.from.as_ref().map(|fact| render::fact(kind, fact)), render::fact(kind, &self.to))
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (from, to) = self.shown();
        let from = from.unwrap_or_else(|| "(missing)".into());
        write!(f, "{}: {from} -> {to}", self.key.path())
    }
}

/// What would have to change for an input to be admitted.
#[derive(Debug, Clone, PartialEq)]
pub enum WhyNot {
    /// It is admitted as it is, and nothing has to change.
    Admitted,
    /// These facts, as few as possible, each as near as possible.
    Change(Vec<Change>),
    /// No input is admitted here: these rules admit nothing together.
    Never(Vec<String>),
}

impl Policy {
    /// Every rule of the point, with how it was decided.
    #[must_use]
    pub fn explain(&self, point: Point, facts: &Facts) -> (Decision, Vec<Explained>) {
        let decision = self.decide(point, facts);
        let rows = if point == Point::Secrets {
            let resource = self.grant_of(facts);
            let grants = resource.into_iter().flat_map(|grant| {
                grant.rules().map(|(f, r, o)| explain_one(grant.path(f), f, r, o, facts))
            });
            grants.collect()
        } else {
            let rules = self.rules(point);
            rules.map(|(f, r, o)| explain_one(f.path.to_owned(), f, r, o, facts)).collect()
        };
        (decision, rows)
    }

    fn grant_of(&self, facts: &Facts) -> Option<&Grant> {
        match facts.get(Key::SecretResource) {
            Some(Fact::Text(text)) => self.grant(text),
            _ => None,
        }
    }

    /// The smallest change of the facts that the policy admits at the point.
    ///
    /// Facts are judged one by one, so every fact that is denied has to change and no other has to.
    #[must_use]
    pub fn why_not(&self, point: Point, facts: &Facts) -> WhyNot {
        if self.decide(point, facts).is_allow() {
            return WhyNot::Admitted;
        }
        let rules: Vec<(&'static Field, &Rule)> = if point == Point::Secrets {
            match self.grant_of(facts) {
                Some(grant) => grant.rules().map(|(field, rule, _)| (field, rule)).collect(),
                None => {
                    return WhyNot::Never(vec!["secrets: no grant covers this resource".into()]);
                }
            }
        } else {
            self.rules(point).map(|(field, rule, _)| (field, rule)).collect()
        };
        let fields = if point == Point::Secrets { GRANT_FIELDS } else { point.fields() };
        let (mut changes, mut never) = (Vec::new(), Vec::new());
        // Fact by fact: rules judge single facts, so the smallest change is that of the facts that
        // are denied, and of each the nearest value that all rules on it admit.
        for key in keys(fields) {
            let of_key = || rules.iter().copied().filter(|(field, _)| field.key == key);
            if of_key().all(|(field, rule)| cause(field, rule, facts).is_none()) {
                continue;
            }
            match Wanted::of(key, rules.iter().copied()).nearest(facts.get(key)) {
                Some(to) => changes.push(Change { key, from: facts.get(key).cloned(), to }),
                // A rule that admits everything has no part in it.
                None => never.extend(of_key().filter(|(_, rule)| !rule.is_any()).map(
                    |(field, rule)| {
                        format!("{} admits {}", field.path, render::brief_rule(field.kind, rule))
                    },
                )),
            }
        }
        if never.is_empty() {
            self.whole_change(point, facts, &rules, changes)
        } else {
            WhyNot::Never(never)
        }
    }

    /// A change of an input that could be has to lead to one that could be: fewer devices have
    /// fewer paths.
    fn whole_change(
        &self,
        point: Point,
        facts: &Facts,
        rules: &[(&'static Field, &Rule)],
        changes: Vec<Change>,
    ) -> WhyNot {
        let mut given = Facts::new();
        for change in &changes {
            given.set(change.key, change.to.clone());
        }
        let plain = WhyNot::Change(changes);
        let changed = plain.apply(facts);
        // An input that contradicts itself already is answered in its own terms.
        if !facts.contradictions().is_empty() || changed.contradictions().is_empty() {
            return plain;
        }
        let fits = |key: Key, fact: &Fact| Wanted::of(key, rules.iter().copied()).fits(fact);
        // Other facts follow what was changed, as far as the rules admit; if no whole world comes
        // out of it, the plain change is still the answer.
        let whole = made_whole(changed, &given, fits);
        if !whole.contradictions().is_empty() || !self.decide(point, &whole).is_allow() {
            return plain;
        }
        let differs = |(key, to): (Key, &Fact)| {
            let from = facts.get(key);
            (from != Some(to)).then(|| Change { key, from: from.cloned(), to: to.clone() })
        };
        WhyNot::Change(whole.iter().filter_map(differs).collect())
    }
}

impl WhyNot {
    /// The facts with the changes made.
    #[must_use]
    pub fn apply(&self, facts: &Facts) -> Facts {
        let mut out = facts.clone();
        if let Self::Change(changes) = self {
            for change in changes {
                out.set(change.key, change.to.clone());
            }
        }
        out
    }
}
