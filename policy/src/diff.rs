//! Comparison of two policies, field by field, with witnesses.

use crate::devices;
use crate::facts::Facts;
use crate::fields::{Field, GRANT_FIELDS, Key, Point, resource_outside, sample_resource};
use crate::input::Input;
use crate::lattice::Pattern;
use crate::policy::Policy;
use crate::render;
use crate::rule::Rule;
use crate::rules::{Grant, Rules};
use crate::search::{self, Wanted};

/// How the second of two values compares with the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// They admit the same inputs.
    Equal,
    /// The second admits less than the first.
    Stricter,
    /// The second admits more than the first.
    Looser,
    /// Each admits something that the other does not.
    Incomparable,
}

impl Relation {
    /// A word for outputs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Stricter => "stricter",
            Self::Looser => "looser",
            Self::Incomparable => "incomparable",
        }
    }

    const fn of(second_in_first: bool, first_in_second: bool) -> Self {
        // Both directions of one partial order: equal is both, incomparable is neither.
        match (second_in_first, first_in_second) {
            (true, true) => Self::Equal,
            (true, false) => Self::Stricter,
            (false, true) => Self::Looser,
            (false, false) => Self::Incomparable,
        }
    }
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The path of the field.
    pub rule: String,
    /// How the second policy compares with the first.
    pub relation: Relation,
    /// What the first admits, shortened.
    pub first: String,
    /// What the second admits, shortened.
    pub second: String,
    /// An input that only the first policy admits, because of this field.
    pub only_first: Option<Input>,
    /// An input that only the second policy admits, because of this field.
    pub only_second: Option<Input>,
    /// Whether the difference changes no decision: other rules deny all inputs that it is about.
    pub without_effect: bool,
}

/// The differences of two policies; none when they decide alike field by field.
#[derive(Debug, Clone, PartialEq)]
pub struct Diff {
    /// The fields that differ, in the order of the document.
    pub differences: Vec<Difference>,
}

impl Difference {
    /// Whether the second rule admits what the first does not, whatever other rules say.
    #[must_use]
    pub const fn is_looser(&self) -> bool {
        matches!(self.relation, Relation::Looser | Relation::Incomparable)
    }

    /// Whether it is looser only where other rules deny everything today. Two such changes in a
    /// row, each harmless by itself, can admit what neither step shows.
    #[must_use]
    pub const fn is_latent(&self) -> bool {
        self.is_looser() && self.without_effect
    }
}

impl Diff {
    /// Whether the second policy admits something that the first does not, or answers a denial more
    /// mildly, or is ready to as soon as another rule lets it.
    #[must_use]
    pub fn is_looser(&self) -> bool {
        self.differences.iter().any(Difference::is_looser)
    }

    /// Whether every looser rule is so only where other rules deny everything today.
    #[must_use]
    pub fn is_latent(&self) -> bool {
        let looser = || self.differences.iter().filter(|difference| difference.is_looser());
        looser().next().is_some() && looser().all(Difference::is_latent)
    }
}

impl Policy {
    /// Compares `other` with this policy.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Diff {
        let mut differences = Vec::new();
        for point in Point::ALL {
            if let (Some(a), Some(b)) =
                (self.points.get(point.index()), other.points.get(point.index()))
            {
                compare(point, point.fields(), (a, b), None, &mut differences);
            }
        }
        self.diff_grants(other, &mut differences);
        Diff { differences }
    }

    fn diff_grants(&self, other: &Self, out: &mut Vec<Difference>) {
        let nothing = Rules::nothing();
        for a in &self.grants {
            // Grants of the second policy that lie inside this one each have a part of it, and are
            // compared with it. What no grant lies in is compared with nothing.
            let inside: Vec<&Grant> =
                other.grants.iter().filter(|b| a.resource.covers(&b.resource)).collect();
            for b in &inside {
                compare_grant(
                    &b.resource,
                    Some(sample_resource(&b.resource)),
                    (&a.rules, &b.rules),
                    out,
                );
            }
            if inside.iter().any(|b| b.resource == a.resource) {
                continue;
            }
            // No grant for this very resource: a wider one of the second may have it, or none has,
            // and then only a sample outside all of them shows the difference.
            match other.grants.iter().find(|b| b.resource.covers(&a.resource)) {
                Some(b) => {
                    compare_grant(
                        &a.resource,
                        Some(sample_resource(&a.resource)),
                        (&a.rules, &b.rules),
                        out,
                    );
                }
                None => {
                    let rest = outside(&a.resource, &inside);
                    compare_grant(&a.resource, rest, (&a.rules, &nothing), out);
                }
            }
        }
        for b in &other.grants {
            // Done above, from the other side.
            if self.grants.iter().any(|a| a.resource.covers(&b.resource)) {
                continue;
            }
            let inside: Vec<&Grant> =
                self.grants.iter().filter(|a| b.resource.covers(&a.resource)).collect();
            compare_grant(&b.resource, outside(&b.resource, &inside), (&nothing, &b.rules), out);
        }
    }
}

impl Rules {
    /// A grant that releases nothing: what a resource without a grant has.
    fn nothing() -> Self {
        let mut rules = Self::grant_defaults();
        for (rule, field) in rules.rules.iter_mut().zip(GRANT_FIELDS) {
            *rule = field.kind.nothing();
        }
        rules
    }
}

/// A resource of `pattern` that none of the grants covers.
fn outside(pattern: &Pattern, grants: &[&Grant]) -> Option<String> {
    let others: Vec<Pattern> = grants.iter().map(|grant| grant.resource.clone()).collect();
    resource_outside(pattern, &others)
}

fn compare_grant(
    resource: &Pattern,
    sample: Option<String>,
    (a, b): (&Rules, &Rules),
    out: &mut Vec<Difference>,
) {
    // A grant whose every name another grant covers has no resource to show a difference with.
    let Some(sample) = sample else { return };
    let from = out.len();
    compare(Point::Secrets, GRANT_FIELDS, (a, b), Some(&sample), out);
    for difference in out.iter_mut().skip(from) {
        let name = difference.rule.rsplit('.').next().unwrap_or_default();
        difference.rule = format!("secrets.{:?}.{name}", resource.to_string());
    }
}

type Pairs<'r> = Vec<(&'static Field, &'r Rule)>;

fn pairs<'r>(fields: &'static [Field], rules: &'r Rules) -> Pairs<'r> {
    fields.iter().zip(&rules.rules).collect()
}

fn compare(
    point: Point,
    fields: &'static [Field],
    (a, b): (&Rules, &Rules),
    resource: Option<&str>,
    out: &mut Vec<Difference>,
) {
    let (a, b) = (pairs(fields, a), pairs(fields, b));
    for ((field, first), (_, second)) in a.iter().zip(&b) {
        // By the lattice's order on single rules. Whether the difference can ever decide anything
        // is the witness's question.
        let relation = Relation::of(second.le(first), first.le(second));
        if relation == Relation::Equal {
            continue;
        }
        let witness = |(have, lack): (&Pairs<'_>, &Pairs<'_>), against: &Rule| {
            let facts = witness(fields, field, (have, lack), against)?;
            let facts = match resource {
                Some(resource) => facts.text(Key::SecretResource, resource),
                None => facts,
            };
            Some(Input { point: Some(point), facts })
        };
        // A setting changes what a denial does, not what is denied: no input tells the two apart.
        let setting = field.key == Key::Setting;
        let only_first = if setting { None } else { witness((&a, &b), second) };
        let only_second = if setting { None } else { witness((&b, &a), first) };
        out.push(Difference {
            rule: field.path.to_owned(),
            relation,
            first: render::brief_rule(field.kind, first),
            second: render::brief_rule(field.kind, second),
            without_effect: !setting && only_first.is_none() && only_second.is_none(),
            only_first,
            only_second,
        });
    }
}

/// Facts that all rules of `have` admit and `against`, the rule of `lack` on `field`, does not.
fn witness(
    fields: &'static [Field],
    field: &'static Field,
    (have, lack): (&Pairs<'_>, &Pairs<'_>),
    against: &Rule,
) -> Option<Facts> {
    // A rule on each device of a kind that is not admitted: nothing it says can be asked.
    if devices::without_effect(field, have.iter().copied()) {
        return None;
    }
    // A fact that one side's rules on it admit, and that the other side's single rule does not.
    let mut wanted = Wanted::of(field.key, have.iter().copied());
    wanted.refused_by = Some(against);
    let fact = wanted.find()?;
    // The witness has to tell the policies apart by this field alone, so all other facts are such
    // that both admit them.
    let alone = |facts: &Facts| {
        let fits = |rules: &Pairs<'_>, facts: &Facts| {
            rules.iter().all(|(f, r)| crate::decide::cause(f, r, facts).is_none())
        };
        fits(have, facts) && !fits(lack, facts)
    };
    let mut given = Facts::new();
    given.set(field.key, fact.clone());
    // Facts of one world where there are such: another example shows the difference, but cannot
    // happen.
    let whole = search::admitted_with(fields, have, &given).ok()?;
    if alone(&whole) {
        return Some(whole);
    }
    let mut facts = search::admitted(fields, have).ok()?;
    facts.set(field.key, fact);
    let tidy = devices::consistent(facts.clone());
    [tidy, facts].into_iter().find(alone)
}
