//! What a verification proved beyond signature and chain: see [`Property`].
//!
//! Asked only when every check that was made holds, so a rule that is there was met. The question
//! left is whether a rule demands anything: an allow list of all zeros names no signer, a floor of
//! zero is no floor, and a policy's rule that would admit anything else as well singles nothing
//! out. The engine is asked, not the spelling of the rule.

use super::chain::VerifiedVek;
use super::freshness::Freshness;
use super::{Appraisal, Property};
use crate::report::Fields;
use casemate_policy::lattice::{self, Bytes};
use casemate_policy::{Fact, Policy};

/// What is not proven of a report that passed every check.
pub(super) fn not_proven(
    fields: &Fields,
    vek: &VerifiedVek,
    appraisal: &Appraisal,
    policy: Option<&Policy>,
    freshness: Freshness,
) -> Vec<Property> {
    let proven = |property| match property {
        Property::Measurement => software(fields, appraisal, policy),
        Property::Freshness => freshness == Freshness::Proven,
        Property::Revocation => vek.crl_checked,
        Property::TcbFloor => floor(fields, vek, appraisal, policy),
    };
    Property::ALL.into_iter().filter(|property| !proven(*property)).collect()
}

/// A measurement or a signer was demanded, and it is one: all zero is what the firmware reports for
/// none.
fn software(f: &Fields, appraisal: &Appraisal, policy: Option<&Policy>) -> bool {
    [
        (&f.measurement, appraisal.measurements.is_some(), "attestation.measurement"),
        (&f.id_key_digest, appraisal.id_key_digests.is_some(), "attestation.id_key"),
        (&f.author_key_digest, appraisal.author_key_digests.is_some(), "attestation.author_key"),
    ]
    .into_iter()
    .any(|(seen, demanded, rule)| {
        let by_policy = policy.is_some_and(|policy| singles_out(policy, rule));
        seen.iter().any(|byte| *byte != 0) && (demanded || by_policy)
    })
}

/// Whether the rule refuses a digest that nobody has: SHA-384 of nothing in particular.
fn singles_out(policy: &Policy, rule: &str) -> bool {
    // What the engine would say to a digest that no rule can have been written for: a rule that
    // admits it admits anything.
    let nobodys = ring::digest::digest(&ring::digest::SHA384, b"a digest that nobody allows");
    let probe = Bytes::new(nobodys.as_ref()).map(Fact::Bytes);
    probe.is_some_and(|probe| policy.rule(rule).is_some_and(|rule| !rule.admits(&probe)))
}

/// A floor under the *reported* TCB: the report's key is derived from it, so an older firmware
/// whose holes gave its key away can sign any committed, current or launch TCB.
fn floor(f: &Fields, vek: &VerifiedVek, appraisal: &Appraisal, policy: Option<&Policy>) -> bool {
    // `floors_for` gives the reported TCB first.
    let [(_, _, reported), ..] = appraisal.floors_for(f, vek.generation);
    let by_appraisal = reported.floors.iter().any(|floor| floor.is_above_zero(vek.generation));
    let lowest = Fact::Tcb(lattice::Tcb {
        generation: super::isolation::index(vek.generation),
        levels: [0; 5],
    });
    let rule = policy.and_then(|policy| policy.rule("attestation.reported_tcb"));
    by_appraisal || rule.is_some_and(|rule| !rule.admits(&lowest))
}
