//! The decision: does this policy admit these facts at this point?
//!
//! A point admits its input when every rule of the point admits the fact it constrains. A fact that
//! is missing or not valid is denied by every rule that is not `any`; an invalid one even then.
//! Nothing else can happen: there is no undefined result, and no order between rules decides.

use crate::fact::Fact;
use crate::facts::Facts;
use crate::fields::{Field, Key, Kind, Point, resource_fault};
use crate::policy::Policy;
use crate::render;
use crate::rule::Rule;
use crate::rules::{Grant, Origin, Rules};

/// The answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Go ahead; no rule of the point has a reason against it.
    Allow,
    /// Not now: repeat later.
    Throttle,
    /// No; the guest goes on without it.
    Deny,
    /// No, and the guest is stopped.
    Kill,
}

impl Verdict {
    /// The name in logs and outputs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Throttle => "throttle",
            Self::Deny => "deny",
            Self::Kill => "kill",
        }
    }

    /// The verdict with this name, exactly.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Allow, Self::Throttle, Self::Deny, Self::Kill].into_iter().find(|v| v.name() == name)
    }

    /// Whether the request may go ahead.
    #[must_use]
    pub const fn is_allow(self) -> bool {
        matches!(self, Self::Allow)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a rule did not admit its fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The fact is not among those the rule admits.
    NotAdmitted,
    /// The fact is not in the input, which no rule but `any` admits.
    Missing,
    /// The fact is not valid: it has no value that a rule could admit.
    Invalid,
    /// No grant covers the resource, so nothing is asked further.
    NoGrant,
}

/// One rule that denies, with what it admits and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The path of the field: the id of the rule.
    pub rule: String,
    /// Where the rule is stated.
    pub origin: Origin,
    /// Why it denies: the fact is outside the rule, missing or invalid, or no grant covers it.
    pub cause: Cause,
    /// What the rule admits, shortened, after the word that says how.
    pub admits: String,
    /// The fact that was asked about, as documents write it, shortened.
    pub found: String,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rule, origin, admits, found, .. } = self;
        match self.cause {
            Cause::NotAdmitted => write!(f, "{rule}: found {found}, admitted {admits} ({origin})"),
            Cause::Missing => write!(f, "{rule}: not in the input, admitted {admits} ({origin})"),
            Cause::Invalid => write!(f, "{rule}: {found} ({origin})"),
            Cause::NoGrant => write!(f, "{rule}: no grant covers {found}"),
        }
    }
}

/// A verdict with the rules that led to it; none for [`Verdict::Allow`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The answer to the request.
    pub verdict: Verdict,
    /// Every rule that denies, in the order of the fields.
    pub reasons: Vec<Reason>,
}

impl Decision {
    const ALLOW: Self = Self { verdict: Verdict::Allow, reasons: Vec::new() };

    /// Whether the request may go ahead.
    #[must_use]
    pub const fn is_allow(&self) -> bool {
        self.verdict.is_allow()
    }
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.verdict)?;
        for (index, reason) in self.reasons.iter().enumerate() {
            write!(f, "{} {reason}", if index == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

/// Why the rule does not admit the fact, or `None` when it does.
#[inline(never)]
pub(crate) fn cause(field: &Field, rule: &Rule, facts: &Facts) -> Option<Cause> {
    // What a denial does is no question to the input.
    if matches!(field.key, Key::Setting) {
        return None;
    }
    // The order of the arms is the order of what can be said: admitted; not valid, which `any` does
    // not help; `any`; not admitted; missing.
    match facts.get(field.key) {
        Some(fact) if rule.admits(fact) => None,
        Some(fact) if is_invalid(fact) => Some(Cause::Invalid),
        // `any` also admits what a later engine would know how to write.
        Some(_) if rule.is_any() => None,
        Some(_) => Some(Cause::NotAdmitted),
        None if rule.is_any() => None,
        None => Some(Cause::Missing),
    }
}

fn is_invalid(fact: &Fact) -> bool {
    match fact {
        Fact::Invalid(_) => true,
        Fact::List(elements) => elements.iter().any(is_invalid),
        _ => false,
    }
}

fn admits(rules: &Rules, fields: &'static [Field], facts: &Facts) -> bool {
    fields.iter().zip(&rules.rules).all(|(field, rule)| {
        // Nearly every rule is decided by the first half; the second makes the exceptions.
        facts.get(field.key).is_some_and(|fact| rule.admits(fact))
            || cause(field, rule, facts).is_none()
    })
}

impl Policy {
    /// Decides one request: allowed if every rule of the point admits its fact.
    #[must_use]
    pub fn decide(&self, point: Point, facts: &Facts) -> Decision {
        if point == Point::Secrets {
            return self.decide_secret(facts);
        }
        match self.points.get(point.index()) {
            // Two ways: all rules at once, without a single allocation, for what is allowed; and
            // reasons only for what is not.
            Some(rules) if admits(rules, point.fields(), facts) => Decision::ALLOW,
            _ => self.deny(point, facts),
        }
    }

    #[cold]
    fn deny(&self, point: Point, facts: &Facts) -> Decision {
        let reasons = self
            .rules(point)
            .filter_map(|(field, rule, origin)| {
                reason(field.path.to_owned(), field, rule, origin, facts)
            })
            .collect();
        Decision { verdict: self.on_denied(point), reasons }
    }

    fn decide_secret(&self, facts: &Facts) -> Decision {
        // A name that is none, and a name without a grant, are two different answers: the first is
        // a fault of the asker.
        let name = match facts.get(Key::SecretResource) {
            Some(Fact::Text(text)) => match resource_fault(text) {
                // However it came into the facts: what is no name is not looked up.
                Some(fault) => {
                    Err((Cause::Invalid, format!("{:?}: {fault}", render::shorten(text))))
                }
                None => Ok(&**text),
            },
            Some(Fact::Invalid(why)) => Err((Cause::Invalid, why.to_string())),
            _ => Err((Cause::NoGrant, "a request that names no resource".into())),
        };
        let none = |name: &str| (Cause::NoGrant, format!("{:?}", render::shorten(name)));
        let (cause, found) = match name.and_then(|n| self.grant(n).ok_or_else(|| none(n))) {
            Ok(grant) => return grant.decide(facts),
            Err(fault) => fault,
        };
        let rule = if cause == Cause::Invalid { Key::SecretResource.path() } else { "secrets" };
        let (rule, admits) = (rule.to_owned(), String::new());
        let reason = Reason { rule, origin: Origin::Default, cause, admits, found };
        Decision { verdict: Verdict::Deny, reasons: vec![reason] }
    }

    /// What a denial at this point does.
    #[must_use]
    pub fn on_denied(&self, point: Point) -> Verdict {
        let setting = self.rules(point).find(|(field, _, _)| matches!(field.kind, Kind::Action(_)));
        match setting {
            // The setting is a level of action among the field's names; a range that is empty, or
            // an index without a name, is a plain denial.
            Some((Field { kind: Kind::Action(names), .. }, Rule::Range(range), _)) => {
                let index = usize::try_from(range.max()).unwrap_or(usize::MAX);
                let name = if range.min() > range.max() { None } else { names.get(index) };
                name.and_then(|name| Verdict::from_name(name)).unwrap_or(Verdict::Deny)
            }
            _ => Verdict::Deny,
        }
    }
}

impl Grant {
    fn decide(&self, facts: &Facts) -> Decision {
        let denied = |(field, rule, origin): (&'static Field, &Rule, &Origin)| {
            reason(self.path(field), field, rule, origin, facts)
        };
        let reasons: Vec<Reason> = self.rules().filter_map(denied).collect();
        let verdict = if reasons.is_empty() { Verdict::Allow } else { Verdict::Deny };
        Decision { verdict, reasons }
    }
}

fn reason(
    path: String,
    field: &'static Field,
    rule: &Rule,
    origin: &Origin,
    facts: &Facts,
) -> Option<Reason> {
    // The cause first: for an admitted fact nothing is rendered.
    let cause = cause(field, rule, facts)?;
    let (operator, admitted) = (render::operator(field.kind), render::brief_rule(field.kind, rule));
    Some(Reason {
        rule: path,
        origin: origin.clone(),
        cause,
        admits: format!("{operator} {admitted}"),
        found: facts
            .get(field.key)
            .map_or_else(String::new, |fact| render::brief_found(field.kind, rule, fact)),
    })
}
