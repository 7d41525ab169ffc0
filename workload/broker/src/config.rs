//! What a broker is made of.

use crate::key::BrokerKey;
use casemate_attestation::record::Inputs;
use casemate_policy::{Fact, Grant, Key, Policy};
use std::sync::Arc;

/// How long things last, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// A challenge.
    pub challenge: u64,
    /// A session, from its challenge on.
    pub session: u64,
}

impl Default for Lifetimes {
    /// Trustee's: five minutes each.
    fn default() -> Self {
        Self { challenge: 300, session: 300 }
    }
}

/// What a broker is made of.
#[derive(Debug)]
pub struct Config {
    /// What authenticates challenges and sessions.
    pub key: BrokerKey,
    /// What is admitted: sections `attestation` and `secrets`.
    pub policy: Policy,
    /// What evidence is judged with beside the policy and what the stores bring: the appraisal, CA
    /// certificates and lists at hand, and MODEL roots, if any is trusted. Time, context, policy
    /// and evidence in it are of no meaning.
    pub terms: Inputs,
    /// How long things last.
    pub lifetimes: Lifetimes,
}

/// What every answer rests on: the configuration, and what follows from it once and for all.
#[derive(Debug)]
pub(crate) struct Basis {
    pub(crate) key: BrokerKey,
    pub(crate) policy: Arc<Policy>,
    pub(crate) policy_hash: [u8; 32],
    pub(crate) terms: Inputs,
    pub(crate) lifetimes: Lifetimes,
    /// Whether some grant takes guests that the section `attestation` does not admit.
    pub(crate) takes_unadmitted: bool,
}

impl From<Config> for Basis {
    fn from(config: Config) -> Self {
        let Config { key, policy, terms, lifetimes } = config;
        // Nobody's evidence, and nobody's rules but the policy's, may hide in the terms.
        let terms = Inputs {
            report: Vec::new(),
            azure: None,
            vek: None,
            policy: None,
            context: None,
            report_data: Vec::new(),
            ..terms
        };
        let takes_unadmitted = takes_unadmitted(&policy);
        let policy_hash = policy.hash();
        let policy = Arc::new(policy);
        Self { key, policy, policy_hash, terms, lifetimes, takes_unadmitted }
    }
}

/// Whether some grant takes guests that the section `attestation` does not admit: it says
/// `attested = "any"`.
fn takes_unadmitted(policy: &Policy) -> bool {
    let rules = policy.grants().iter().flat_map(Grant::rules);
    let mut attested = rules.filter(|(field, _, _)| field.key == Key::SecretAttested);
    attested.any(|(_, rule, _)| rule.admits(&Fact::Number(0)))
}
