//! What a policy refused a running guest, counted, as it is kept.
//!
//! A guest can be refused at will, millions of times a second. So its denials are counted, and a
//! record has the count so far; when one is written is the writer's business, see
//! `casemate_policy_log`. A record names the VM and the number of the record with the last decision
//! of its start, so that who the guest was is found in the same log.

use super::decision::shorten;
use super::replay::Replayed;
use crate::decide::{Decision, Verdict};
use crate::fields::{Key, Point};
use crate::policy::Policy;
use crate::render;
use crate::runtime_rule::RuntimeRule;

/// Most limits of one point that are kept.
const MAX_LIMITS: usize = 16;

/// Denials by one rule of a policy, of one running guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenialsRecord {
    /// The name of the VM.
    pub vm: String,
    /// Number of the record with the last decision before the VM was started.
    pub start: u64,
    /// SHA-256 of the policy's canonical form.
    pub policy: [u8; 32],
    /// The decision point.
    pub point: Point,
    /// The rule that denied: the path of its field.
    pub rule: String,
    /// Every limit of the point as it was in force, `PATH: RULE`: the denials hang on all of them.
    pub limits: Vec<String>,
    /// What a denial was.
    pub verdict: Verdict,
    /// How many requests were denied from the start of the VM until now.
    pub times: u64,
    /// How much they asked for together: pages; of network traffic as many as times.
    pub amount: u64,
    /// Whether this is the last record of the VM. Then `times` and `amount` are exact if the VM
    /// ended by itself; if it was ended from outside, there may have been up to twice as many; and
    /// of network traffic however it ended.
    pub ended: bool,
}

impl DenialsRecord {
    /// The record of what this rule of a policy denies a VM: none yet.
    #[must_use]
    pub fn none_yet(policy: &Policy, rule: impl Into<RuntimeRule>, vm: &str) -> Self {
        let rule = rule.into();
        let point = rule.point();
        Self {
            vm: shorten(vm),
            start: 0,
            policy: policy.hash(),
            point,
            rule: rule.path().to_owned(),
            limits: limits(policy, point),
            verdict: policy.on_denied(point),
            times: 0,
            amount: 0,
            ended: false,
        }
    }

    /// What another policy would have done. Requests were counted, not kept, so this can be said
    /// where the limits are the same, and where there are none.
    #[must_use]
    pub fn replay(&self, policy: &Policy) -> Replayed {
        let same = limits(policy, self.point) == self.limits;
        if same && policy.on_denied(self.point) == self.verdict {
            return Replayed::Same;
        }
        let mut rules = policy.rules(self.point).filter(|(field, ..)| field.key != Key::Setting);
        if rules.all(|(_, rule, _)| rule.is_any()) {
            return Replayed::Changed(Decision { verdict: Verdict::Allow, reasons: Vec::new() });
        }
        Replayed::Undecidable(vec![self.rule.clone()])
    }
}

fn limits(policy: &Policy, point: Point) -> Vec<String> {
    let rules = policy.rules(point).filter(|(field, ..)| field.key != Key::Setting);
    let text = rules.map(|(field, rule, _)| {
        shorten(&format!("{}: {}", field.path, render::brief_rule(field.kind, rule)))
    });
    text.take(MAX_LIMITS).collect()
}
