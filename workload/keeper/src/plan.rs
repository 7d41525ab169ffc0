//! What a keeper is told, in a file in memory: all but its keys, which it reads from their files.
//!
//! It believes its supervisor, who could do worse than lie to it; it reads within a bound and
//! refuses what it does not know all the same.

use base64ct::{Base64, Encoding};
use casemate_attestation::cert::KeyKind;
use casemate_attestation::report::Generation;
use casemate_attestation::store::Snapshot;
use casemate_broker::Lifetimes;
use serde::{Deserialize, Serialize};

/// Longest plan, in bytes: a policy, and the certificates of some ten thousand processors.
pub(crate) const MAX_PLAN: u64 = 32 << 20;

/// What a keeper is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Name of the policy's file, and its text.
    pub policy: (String, String),
    /// Certificates and lists at hand.
    pub certificates: Snapshot,
    /// MODEL roots that are trusted, in DER.
    pub model_roots: Vec<Vec<u8>>,
    /// Generations whose root is broken and that are taken all the same.
    pub broken_roots: Vec<Generation>,
    /// How long things last.
    pub lifetimes: Lifetimes,
    /// Threads that answer.
    pub workers: u32,
    /// The public key that guests will be shown.
    pub spki: Vec<u8>,
    /// What its files are called, for messages.
    pub names: Names,
}

/// What a keeper's files are called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// The store's folder.
    pub store: String,
    /// The decision log.
    pub log: String,
    /// The file of its newest head.
    pub log_head: Option<String>,
    /// The file of its key.
    pub log_key: Option<String>,
    /// Take over records that no head vouches for.
    pub adopt: bool,
    /// The file of the TLS key.
    pub tls_key: String,
    /// The file of the key of challenges and sessions.
    pub broker_key: String,
    /// The file of the key-encryption key.
    pub kek: String,
}

/// A plan whose form is known, and of which nothing but names was looked at: what is in it comes
/// from files that may be anybody's work, and is read by a process that is locked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    policy_name: String,
    policy: String,
    veks: Vec<String>,
    intermediates: Vec<String>,
    lists: Vec<(String, bool, String)>,
    model_roots: Vec<String>,
    broken_roots: Vec<String>,
    challenge: u64,
    session: u64,
    pub(crate) workers: u32,
    spki: String,
    pub(crate) names: Names,
}

fn text(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    Base64::decode_vec(text).ok()
}

fn all(texts: &[String]) -> Option<Vec<Vec<u8>>> {
    texts.iter().map(|text| bytes(text)).collect()
}

fn generation(name: &str) -> Option<Generation> {
    Generation::ALL.into_iter().find(|one| one.name() == name)
}

impl Plan {
    /// As it is written.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { certificates, lifetimes, .. } = self;
        let list = |(of, kind, crl): &(Generation, KeyKind, casemate_attestation::cert::Crl)| {
            (of.name().to_owned(), *kind == KeyKind::Vlek, text(crl.der()))
        };
        let raw = Raw {
            policy_name: self.policy.0.clone(),
            policy: self.policy.1.clone(),
            veks: certificates.veks.iter().map(|one| text(one.der())).collect(),
            intermediates: certificates.intermediates.iter().map(|one| text(one.der())).collect(),
            lists: certificates.lists.iter().map(list).collect(),
            model_roots: self.model_roots.iter().map(|one| text(one)).collect(),
            broken_roots: self.broken_roots.iter().map(|one| one.name().to_owned()).collect(),
            challenge: lifetimes.challenge,
            session: lifetimes.session,
            workers: self.workers,
            spki: text(&self.spki),
            names: self.names.clone(),
        };
        serde_json::to_vec(&raw).unwrap_or_default()
    }

    /// The plan of these bytes.
    #[must_use]
    pub fn decode(plan: &[u8]) -> Option<Self> {
        Raw::read(plan)?.plan()
    }
}

impl Raw {
    /// The form of a plan.
    pub(crate) fn read(plan: &[u8]) -> Option<Self> {
        serde_json::from_slice(plan).ok()
    }

    /// All of it, certificates and lists read.
    pub(crate) fn plan(self) -> Option<Plan> {
        let raw = self;
        let list = |(of, is_vlek, der): &(String, bool, String)| {
            let kind = if *is_vlek { KeyKind::Vlek } else { KeyKind::Vcek };
            Some((generation(of)?, kind, bytes(der)?))
        };
        let lists: Vec<_> = raw.lists.iter().map(list).collect::<Option<_>>()?;
        let certificates =
            Snapshot::of_der(&all(&raw.veks)?, &all(&raw.intermediates)?, &lists).ok()?;
        Some(Plan {
            policy: (raw.policy_name, raw.policy),
            certificates,
            model_roots: all(&raw.model_roots)?,
            broken_roots: raw.broken_roots.iter().map(|n| generation(n)).collect::<Option<_>>()?,
            lifetimes: Lifetimes { challenge: raw.challenge, session: raw.session },
            workers: raw.workers,
            spki: bytes(&raw.spki)?,
            names: raw.names,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Names, Plan};
    use casemate_attestation::report::Generation;
    use casemate_attestation::store::Snapshot;
    use casemate_broker::Lifetimes;

    pub(crate) fn plan() -> Plan {
        Plan {
            policy: ("policy.toml".into(), "a = \"\u{1b}\"\n".into()),
            certificates: Snapshot::default(),
            model_roots: vec![vec![0, 255], vec![]],
            broken_roots: vec![Generation::Milan],
            lifetimes: Lifetimes { challenge: 1, session: u64::MAX },
            workers: 3,
            spki: vec![7; 91],
            names: Names {
                store: "store".into(),
                log: "log".into(),
                log_head: None,
                log_key: Some("key".into()),
                adopt: true,
                tls_key: "t".into(),
                broker_key: "b".into(),
                kek: "k".into(),
            },
        }
    }

    #[test]
    fn a_plan_survives_the_trip_and_no_part_of_it_is_a_plan() {
        let bytes = plan().encode();
        assert_eq!(Plan::decode(&bytes), Some(plan()));
        for length in 0..bytes.len() {
            assert_eq!(Plan::decode(&bytes[..length]), None, "{length}");
        }
    }
}
