//! A guest proves what it is.

use crate::answer::{Answer, Event, Refusal};
use crate::challenge::Challenge;
use crate::config::Basis;
use crate::session::Session;
use crate::stores::Stores;
use casemate_attestation::context::{Context, KEY_BROKER};
use casemate_attestation::evidence::{Evidence, Form};
use casemate_attestation::record::Inputs;
use casemate_attestation::verify::{Check, Code, Seen, Status, Verdict};
use casemate_initdata::Initdata;
use casemate_kbs::{Attestation, InitData, KbsError, TokenAnswer, What, set_cookie};
use casemate_policy::log::DecisionRecord;
use casemate_policy::{Decision, Facts, Point};

/// Failed checks that are told; a report that is damaged fails them by the dozen.
const MOST_TOLD: usize = 8;

pub(crate) fn attest(
    basis: &Basis,
    challenge: &Challenge,
    body: &[u8],
    now: u64,
    stores: &Stores<'_>,
) -> Result<Answer, Refusal> {
    let attestation = Attestation::read(body)?;
    // REPORT_DATA is computed with our own nonce in any case; the guest's copy is compared so that
    // one that answers an older challenge hears this and not of a wrong REPORT_DATA.
    if attestation.runtime.nonce != challenge.nonce {
        return Err(Refusal::attest_first("the nonce is not that of the cookie's challenge"));
    }
    let Attestation { init_data, runtime, evidence } = attestation;
    let verdict = verify(basis, evidence.get(), &runtime.canonical(), now, stores)?;
    let (facts, decision) = genuine(&verdict)?;
    let record = DecisionRecord::new(basis.policy_hash, Point::Attestation, facts, decision);
    if !decision.is_allow() && !basis.takes_unadmitted {
        return Err(Refusal::denied(decision, record));
    }
    if let Err(refusal) = launched_with(init_data.as_ref(), &verdict) {
        return Err(refusal.decided(record));
    }
    let session = Session {
        key: runtime.tee_pubkey,
        since: challenge.since,
        until: challenge.since.saturating_add(basis.lifetimes.session),
        admitted: decision.is_allow(),
        facts: Session::facts_for_grants(facts),
    };
    let token = session.token(&basis.key, &basis.policy_hash)?;
    let cookie = set_cookie(&token, session.until.saturating_sub(now));
    let event = Event::Attested { session: session.id(), admitted: session.admitted };
    let answer = Answer::given(TokenAnswer { token }.to_json(), event);
    Ok(answer.with("Set-Cookie", cookie).decided(vec![record]))
}

fn verify(
    basis: &Basis,
    evidence: &str,
    runtime_data: &str,
    now: u64,
    stores: &Stores<'_>,
) -> Result<Verdict, Refusal> {
    let evidence = Evidence::read(evidence.as_bytes())
        .ok()
        .filter(|evidence| evidence.form == Form::CocoJson)
        .ok_or(KbsError::Value { what: What::Attestation, why: "not evidence of SEV-SNP" })?;
    let context = Context { label: KEY_BROKER.to_owned(), nonce: runtime_data.into() };
    let mut inputs = Inputs { at: now, context: Some(context), ..basis.terms.clone() };
    stores.certificates.complete(&mut inputs, &evidence)?;
    let mut verifier = inputs.verifier().map_err(|error| Refusal::failed(error.to_string()))?;
    // Parsed once, when the broker was made, and not from a text for each report.
    verifier.policy = Some(basis.policy.clone());
    Ok(verifier.verify(&inputs.report, inputs.vek.as_deref()))
}

/// What the policy decided of a report that is its processor's and made for this session; a refusal
/// when it is not.
fn genuine(verdict: &Verdict) -> Result<(&Facts, &Decision), Refusal> {
    // The policy's own word is looked at by the caller: a grant may take guests that the section
    // `attestation` does not admit, but no guest whose report is not genuine.
    let faults: Vec<String> = verdict
        .failures()
        .filter(|check| check.code != Code::Policy)
        .map(|check| match check.wanted.is_empty() {
            true => format!("{}: {}", check.code, check.saw),
            false => format!("{}: {}, not {}", check.code, check.saw, check.wanted),
        })
        .collect();
    if !faults.is_empty() {
        let more = faults.len().saturating_sub(MOST_TOLD);
        let more = if more > 0 { format!("; {more} more") } else { String::new() };
        let told: Vec<_> = faults.into_iter().take(MOST_TOLD).collect();
        return Err(Refusal::not_proven(format!("evidence refused: {}{more}", told.join("; "))));
    }
    // That no check failed is not enough: this one has to have been made.
    let fresh = |check: &Check| check.code == Code::ReportData && check.status == Status::Passed;
    match verdict.policy() {
        Some(policy) if verdict.checks().iter().any(fresh) => Ok((&policy.facts, &policy.decision)),
        _ => Err(Refusal::not_proven("evidence refused: it is not of this session")),
    }
}

/// Initdata that comes along has to be what the guest was launched with. Nothing follows from it:
/// the policy asks for HOST_DATA itself.
fn launched_with(init_data: Option<&InitData>, verdict: &Verdict) -> Result<(), Refusal> {
    let (Some(init_data), Seen::Verified(report)) = (init_data, verdict.report()) else {
        return Ok(());
    };
    Initdata::proven(&init_data.body, &report.fields().host_data)
        .map(drop)
        .map_err(|error| Refusal::not_proven(format!("evidence refused: {error}")))
}
