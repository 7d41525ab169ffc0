//! The question that a lint asks of the engine: is a fact of this dangerous kind admitted? The
//! answer is a fact, not an opinion on how the rule is written: a rule one short of `any` admits
//! the same dangers as `any`, and a wide rule that a second rule narrows admits none.

use crate::fact::Fact;
use crate::facts::Facts;
use crate::fields::{Field, GRANT_FIELDS, Key, Point};
use crate::input::Input;
use crate::lattice::{Bits, Choice, Patterns, Range};
use crate::policy::Policy;
use crate::render;
use crate::rule::Rule;
use crate::rules::Grant;
use crate::search::{self, Wanted};

/// Facts of a dangerous kind; of a list, its elements.
#[derive(Debug, Clone)]
pub(super) enum Bad {
    /// All that this rule admits.
    Within(Rule),
    /// These facts, each asked about by itself.
    One(Vec<Fact>),
}

/// Shorthands for the kinds of danger that lints ask about.
impl Bad {
    /// Numbers above `most`.
    pub(super) fn above(most: u64) -> Self {
        Self::Within(Rule::Range(Range::at_least(most.saturating_add(1))))
    }

    /// Numbers up to `most`.
    pub(super) fn up_to(most: u64) -> Self {
        Self::Within(Rule::Range(Range::at_most(most)))
    }

    /// The choice or flag with this index.
    pub(super) fn index(index: u64) -> Self {
        Self::Within(Rule::Choice(Choice::only([index])))
    }

    /// Masks in which this bit is set.
    pub(super) fn set(bit: u32) -> Self {
        Self::Within(Rule::Bits(Bits::new(1 << bit, 0)))
    }

    /// Masks in which this bit is clear.
    pub(super) fn clear(bit: u32) -> Self {
        Self::Within(Rule::Bits(Bits::new(0, 1 << bit)))
    }

    /// Each of these texts.
    pub(super) fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::One(texts.into_iter().map(|text| Fact::Text(text.as_ref().into())).collect())
    }

    fn candidates(&self, key: Key, rules: &[&Rule]) -> Vec<Fact> {
        match self {
            Self::Within(own) => {
                // Candidates are the ends of the rules at hand and of the dangerous range: wherever
                // the intersection is not empty, one of them lies in it.
                let all: Vec<&Rule> = rules.iter().copied().chain([own]).collect();
                let found = search::candidates(key.kind(), &all);
                found.into_iter().filter(|fact| own.admits(fact)).collect()
            }
            Self::One(facts) => facts.clone(),
        }
    }
}

/// Dangerous facts that a policy admits.
#[derive(Debug, Clone, PartialEq)]
pub struct Witness {
    /// The dangerous facts themselves.
    pub facts: Facts,
    /// A whole input with them that is admitted; `None` when other rules of the point deny
    /// everything that has them, so that the danger comes to life when those are loosened.
    pub input: Option<Input>,
}

impl Witness {
    /// Of an input that is admitted as a whole.
    pub(super) fn whole(input: Input) -> Self {
        Self { facts: Facts::new(), input: Some(input) }
    }
}

impl std::fmt::Display for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (key, fact)) in self.facts.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{} = {}", key.path(), render::brief_fact(key.kind(), fact))?;
        }
        Ok(())
    }
}

/// One point or grant of a policy, asked about one of its fields.
pub(super) struct Ask<'p> {
    policy: &'p Policy,
    point: Point,
    fields: &'static [Field],
    rules: Vec<(&'static Field, &'p Rule)>,
    resource: Option<String>,
    key: Key,
}

impl<'p> Ask<'p> {
    pub(super) fn point(policy: &'p Policy, point: Point, key: Key) -> Self {
        let rules = policy.rules(point).map(|(field, rule, _)| (field, rule)).collect();
        Self { policy, point, fields: point.fields(), rules, resource: None, key }
    }

    pub(super) fn grant(policy: &'p Policy, grant: &'p Grant, key: Key) -> Self {
        let rules = grant.rules().map(|(field, rule, _)| (field, rule)).collect();
        let resource = Some(crate::fields::sample_resource(grant.resource()));
        Self { policy, point: Point::Secrets, fields: GRANT_FIELDS, rules, resource, key }
    }

    /// The attestation section of the same policy.
    pub(super) fn attestation(&self) -> Self {
        Self::point(self.policy, Point::Attestation, self.key)
    }

    /// A dangerous fact of the field's own.
    pub(super) fn own(&self, bad: Bad) -> Option<Witness> {
        self.all(&[(self.key, bad)])
    }

    /// Whether a fact of this kind is admitted.
    pub(super) fn admits(&self, key: Key, bad: &Bad) -> bool {
        self.find(key, bad).is_some()
    }

    /// The rule of a field of this point or grant, by its path.
    pub(super) fn rule(&self, path: &str) -> Option<&'p Rule> {
        self.rules.iter().find(|(field, _)| field.path == path).map(|(_, rule)| *rule)
    }

    /// The rule on the field's own fact, where there is one only.
    pub(super) fn own_rules(&self) -> impl Iterator<Item = &'p Rule> + '_ {
        self.rules.iter().filter(|(field, _)| field.key == self.key).map(|(_, rule)| *rule)
    }

    /// Dangerous facts that are admitted together.
    pub(super) fn all(&self, dangers: &[(Key, Bad)]) -> Option<Witness> {
        let mut facts = Facts::new();
        for (key, bad) in dangers {
            facts.set(*key, self.find(*key, bad)?);
        }
        let input = self.complete(&facts);
        Some(Witness { facts, input })
    }

    /// A fact that every rule on the key admits, and that is of the kind.
    fn find(&self, key: Key, bad: &Bad) -> Option<Fact> {
        let wanted = Wanted::of(key, self.rules.iter().copied());
        let candidates = bad.candidates(key, &wanted.admitted_by);
        // A single fact has to be admitted itself. A list has to be admitted with the dangerous
        // element in it: what the rules require stands beside it, or the list would be refused for
        // what it lacks.
        if !key.kind().is_list() {
            return candidates.into_iter().find(|fact| wanted.fits(fact));
        }
        let base = wanted.required();
        let with = |element: Fact| {
            let mut list = base.clone();
            list.push(element);
            wanted.whole(Fact::List(list))
        };
        candidates.into_iter().map(with).find(|list| wanted.fits(list))
    }

    /// A whole input with these facts that the engine admits.
    fn complete(&self, facts: &Facts) -> Option<Input> {
        let attested = self.policy.rules(Point::Attestation).map(|(field, rule, _)| (field, rule));
        let attested = attested.filter(|_| self.point == Point::Secrets);
        let both: Vec<_> = self.rules.iter().copied().chain(attested).collect();
        // A secret's report is one that attestation admits, where the danger leaves that.
        let whole = search::admitted_with(self.fields, &both, facts);
        let facts =
            whole.or_else(|_| search::admitted_with(self.fields, &self.rules, facts)).ok()?;
        // A grant is asked for a secret of its own.
        let facts = match &self.resource {
            Some(resource) => facts.text(Key::SecretResource, resource),
            None => facts,
        };
        // The last word is the engine's: what was put together here has to be admitted by the
        // decision that everybody else gets.
        let admitted = self.policy.decide(self.point, &facts).is_allow();
        admitted.then_some(Input { point: Some(self.point), facts })
    }
}

/// The patterns of a rule on texts.
pub(super) fn patterns(rule: &Rule) -> Option<&Patterns> {
    match rule {
        Rule::Names(patterns) => Some(patterns),
        _ => None,
    }
}
