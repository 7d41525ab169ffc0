//! A decision as it is kept: with its input, so that another policy can be asked about it later.

use super::redact::{self, Redacted};
use crate::decide::{Decision, Reason, Verdict};
use crate::document::ENGINE_VERSION;
use crate::fact::Fact;
use crate::facts::Facts;
use crate::fields::{Key, Point};
use crate::input::{Input, facts_json};
use crate::render;
use std::borrow::Cow;

/// Longest input kept, in bytes of JSON. Of a longer one the longest facts are left out.
const MAX_INPUT: usize = 12 << 10;
/// Most reasons kept of one decision.
const MAX_REASONS: usize = 16;
/// Longest reason kept, in bytes; so is the id of its rule.
const MAX_REASON: usize = 400;

/// A decision as it is logged.
///
/// Its line is bounded: at most 12 KiB of input and 16 times 800 bytes of reasons, each of which
/// JSON can make twice as long (both have no control characters left to escape longer), are less
/// than [`super::MAX_LINE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRecord {
    /// SHA-256 of the policy's canonical form.
    pub policy: [u8; 32],
    /// Version of the engine that decided.
    pub engine: Cow<'static, str>,
    /// The decision point that was asked.
    pub point: Point,
    /// The facts that were decided, as an input document, less what is redacted and what was
    /// invalid.
    pub input: String,
    /// Facts of which not all is in `input`: see [`super::REDACTION`].
    pub redacted: Vec<Key>,
    /// Facts that were there but not valid. No rule admits one.
    pub invalid: Vec<Key>,
    /// The verdict that was given.
    pub verdict: Verdict,
    /// Ids of the rules that denied, at most 16.
    pub rules: Vec<String>,
    /// What each of them said, shortened; what is redacted is redacted here, too.
    pub reasons: Vec<String>,
    /// How many more rules denied than are kept.
    pub more_reasons: u64,
}

impl DecisionRecord {
    /// The record of a decision by the policy with this hash.
    #[must_use]
    pub fn new(policy: [u8; 32], point: Point, facts: &Facts, decision: &Decision) -> Self {
        // Redaction comes first: nothing below, bounds included, ever sees what is not to be kept.
        let Redacted { mut facts, mut redacted } = redact::redact(facts);
        let invalid = take_invalid(&mut facts);
        let input = bounded_json(point, &mut facts, &mut redacted);
        let kept = || decision.reasons.iter().take(MAX_REASONS);
        let more = decision.reasons.len().saturating_sub(MAX_REASONS);
        Self {
            policy,
            engine: ENGINE_VERSION.into(),
            point,
            input,
            rules: kept().map(|reason| shorten(&reason.rule)).collect(),
            reasons: kept().map(|r| shorten(&redacted_reason(r, &redacted, &facts))).collect(),
            redacted,
            invalid,
            verdict: decision.verdict,
            more_reasons: u64::try_from(more).unwrap_or(u64::MAX),
        }
    }

    /// The facts that were decided, less what is redacted.
    ///
    /// # Errors
    /// When the input is none that this engine reads.
    pub fn facts(&self) -> Result<Facts, crate::LoadError> {
        // The record is read by the loader that reads inputs, so that what is judged again is
        // judged as any input.
        let mut facts = Input::load(&self.input, "input")?.facts;
        for key in &self.invalid {
            // Invalid facts are told by their names only; that they were there and invalid is what
            // a rule needs.
            facts.set(*key, Fact::Invalid("it was not valid when it was decided".into()));
        }
        Ok(facts)
    }
}

/// Takes out what is not valid: as text it would read back as if it were.
fn take_invalid(facts: &mut Facts) -> Vec<Key> {
    let invalid = |fact: &Fact| match fact {
        Fact::Invalid(_) => true,
        Fact::List(items) => items.iter().any(|item| matches!(item, Fact::Invalid(_))),
        _ => false,
    };
    let keys: Vec<Key> =
        facts.iter().filter(|(_, fact)| invalid(fact)).map(|(key, _)| key).collect();
    for key in &keys {
        facts.remove(*key);
    }
    keys
}

/// The facts as JSON; while it is too long, its longest fact goes.
fn bounded_json(point: Point, facts: &mut Facts, redacted: &mut Vec<Key>) -> String {
    loop {
        let json = facts_json(Some(point), facts);
        if json.len() <= MAX_INPUT {
            redacted.sort_unstable();
            redacted.dedup();
            return json;
        }
        // The longest goes first, so that the fewest go. Each turn removes a fact, so the loop
        // ends.
        let length = |key: Key, fact: &Fact| render::fact(key.kind(), fact).len();
        let longest = facts.iter().max_by_key(|(key, fact)| length(*key, fact));
        let Some((key, _)) = longest else { return json };
        facts.remove(key);
        redacted.push(key);
    }
}

/// What a rule said. Its words on a redacted fact are made anew from what is left of that.
fn redacted_reason(reason: &Reason, redacted: &[Key], facts: &Facts) -> String {
    let fields = Point::ALL.iter().flat_map(|point| point.fields());
    let field = fields.into_iter().find(|field| field.path == reason.rule);
    // Rules on other facts say what they said.
    let Some(field) = field.filter(|field| redacted.contains(&field.key)) else {
        return reason.to_string();
    };
    let left = facts.get(field.key).map(|fact| render::brief_fact(field.kind, fact));
    let found = left.unwrap_or_else(|| "a redacted fact".into());
    Reason { found, ..reason.clone() }.to_string()
}

pub(super) fn shorten(text: &str) -> String {
    // What JSON writes in more than two bytes for one is not worth keeping in a message.
    let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let end = (0..=MAX_REASON.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}
