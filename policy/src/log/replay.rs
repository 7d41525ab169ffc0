//! A logged decision, asked of another policy.

use super::decision::DecisionRecord;
use super::redact;
use crate::decide::Decision;
use crate::fact::Fact;
use crate::fields::{Key, Point};
use crate::lattice::Bytes;
use crate::policy::Policy;

/// What another policy says of a logged decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// The verdict is the one that was logged.
    Same,
    /// The verdict is another one: this.
    Changed(Decision),
    /// What the log does not keep decides: the rules that hang on it, or why nothing can be asked.
    Undecidable(Vec<String>),
}

impl DecisionRecord {
    /// Decides the input of this record by another policy. Where something was redacted, a rule on
    /// it decides only if it would decide so whatever stood there.
    #[must_use]
    pub fn replay(&self, policy: &Policy) -> Replayed {
        let facts = match self.facts() {
            Ok(facts) => facts,
            Err(error) => return Replayed::Undecidable(vec![error.to_string()]),
        };
        // As if what is left were all: a starting point, which is corrected below for every rule on
        // a redacted fact.
        let mut decision = policy.decide(self.point, &facts);
        let mut redacted = self.redacted.clone();
        // "The initdata holds the document that is asked" was said of another document: what this
        // one would be told, the hash of that initdata, is not in the log.
        let held = facts.get(Key::LaunchHostData) == Some(&Fact::Bytes(Bytes::INITDATA));
        if held && policy.hash() != self.policy {
            redacted.push(Key::LaunchHostData);
        }
        if !redacted.is_empty() {
            if self.point == Point::Secrets {
                // Which grant is asked hangs on the facts, too.
                return Replayed::Undecidable(vec!["secrets".into()]);
            }
            let mut open = Vec::new();
            for (field, rule, _) in policy.rules(self.point) {
                if !redacted.contains(&field.key) {
                    continue;
                }
                // A redacted fact is judged by all it could have been. A rule that refuses them all
                // still refuses; one that admits them all loses its reason; one that depends makes
                // the question open.
                let said = redact::admits(rule, facts.get(field.key));
                if said.is_none() {
                    open.push(field.path.to_owned());
                }
                if said != Some(false) {
                    decision.reasons.retain(|reason| reason.rule != field.path);
                }
            }
            // A refusal by any other rule stands whatever was redacted. Only when nothing refuses
            // any more does what is open matter.
            if decision.reasons.is_empty() {
                if !open.is_empty() {
                    return Replayed::Undecidable(open);
                }
                decision.verdict = crate::Verdict::Allow;
            }
        }
        if decision.verdict == self.verdict { Replayed::Same } else { Replayed::Changed(decision) }
    }
}
