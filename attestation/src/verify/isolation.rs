//! The isolation policy's word on a verified report: the decision point `attestation`.
//!
//! Principle: one document for the VMM, the verifier and the auditor. What a report shows becomes
//! the facts of that point; each rule that does not admit its fact is a failed check that names the
//! rule, its place and both values.

use super::azure::Bound;
use super::chain::VerifiedVek;
use super::{Checks, Code};
use crate::cert::{Authority, VekKind};
use crate::context::Context;
use crate::report::{Fields, Generation, Report, Tcb, Verified};
use casemate_policy::{Decision, Facts, Key, Point, Policy};

/// What the policy decided, and on which facts.
#[derive(Debug, Clone)]
pub struct PolicyDecision {
    /// The facts of the report, as they were decided on.
    pub facts: Facts,
    /// The decision, with a reason for each rule that does not admit its fact.
    pub decision: Decision,
    /// SHA-256 of the policy's canonical form.
    pub policy: [u8; 32],
}

/// Decides the facts of a verified report; every outcome goes to `checks`.
pub(super) fn check(facts: Facts, policy: &Policy, checks: &mut Checks) -> PolicyDecision {
    let decision = policy.decide(Point::Attestation, &facts);
    // Allowed is one line; denied is a failed check for each rule, so that a reader sees all that
    // would have to change.
    if decision.is_allow() {
        let rules = policy.rules(Point::Attestation).count();
        let saw = format!("{}, {rules} rules, SHA-256 {}", policy.name(), policy.hash_hex());
        checks.pass(Code::Policy, saw);
    }
    for reason in &decision.reasons {
        let found = if reason.found.is_empty() { "not known" } else { &reason.found };
        checks.fail(
            Code::Policy,
            format!("{}: {found}", reason.rule),
            format!("{} ({})", reason.admits, reason.origin),
        );
    }
    PolicyDecision { facts, decision, policy: policy.hash() }
}

/// What a verified report shows, as the facts of the decision point `attestation`.
///
/// What cannot be told is left out, which every rule but `any` denies: the age of a revocation list
/// when none was checked, and the context when neither REPORT_DATA nor, on Azure, the data that a
/// nonce went into is that of the label and nonce given.
#[must_use]
pub fn facts(
    report: &Report<Verified>,
    vek: &VerifiedVek,
    at: u64,
    context: Option<&Context>,
    azure: Option<&Bound>,
) -> Facts {
    let f = report.fields();
    // Provisional: firmware runs that is not committed, and can be taken back.
    let provisional = f.committed_tcb != f.current_tcb || f.committed_version != f.current_version;
    let (signer, provider) = match &vek.extensions.kind {
        VekKind::Vcek { .. } => ("vcek", ""),
        VekKind::Vlek { csp_id } => ("vlek", csp_id.as_str()),
    };
    let facts = Facts::new()
        .number(Key::ReportVersion, f.version.into())
        .number(Key::ReportVmpl, f.vmpl.into())
        .text(Key::ReportGeneration, &vek.generation.name().to_lowercase())
        .tcb(Key::ReportTcb, levels(f.reported_tcb, vek.generation))
        .tcb(Key::ReportLaunchTcb, levels(f.launch_tcb, vek.generation))
        .flag(Key::ReportProvisional, provisional)
        .bytes(Key::ReportChip, &f.chip_id)
        .text(Key::ReportSigner, signer)
        .text(Key::ReportCsp, provider)
        .flag(Key::ReportModelRoot, vek.authority == Authority::Model)
        .flag(Key::CrlChecked, vek.crl_checked)
        .number(Key::ReportGuestPolicy, f.policy)
        .number(Key::ReportPlatform, f.platform_info)
        .number(Key::ReportMitigations, f.launch_mitigations.unwrap_or(0));
    let facts = identity(facts, f);
    let facts = match vek.crl_issued {
        None => facts,
        // Hours, rounded up: a list just issued is of age 0, one a second older of age 1, so that a
        // limit of hours is never passed unseen.
        Some(issued) => facts.number(Key::CrlAge, at.saturating_sub(issued).div_ceil(3600)),
    };
    let facts = azure.into_iter().fold(facts, claims);
    // The same data as in `freshness`: what the nonce went into.
    let fresh = azure.map_or(Some(f.report_data), Bound::fresh_data);
    match context.filter(|context| fresh.is_some() && context.report_data() == fresh) {
        None => facts,
        Some(context) => facts.text(Key::ReportContext, &context.label),
    }
}

fn identity(facts: Facts, f: &Fields) -> Facts {
    facts
        .bytes(Key::ReportMeasurement, &f.measurement)
        .bytes(Key::ReportHostData, &f.host_data)
        .bytes(Key::ReportIdKey, &f.id_key_digest)
        .bytes(Key::ReportAuthorKey, &f.author_key_digest)
        .bytes(Key::ReportFamily, &f.family_id)
        .bytes(Key::ReportImage, &f.image_id)
        .number(Key::ReportGuestSvn, f.guest_svn.into())
}

/// What Azure's claims and the vTPM's quote show; what is not there stays out.
fn claims(facts: Facts, bound: &Bound) -> Facts {
    let mut facts = facts.bytes(Key::AzureAk, &bound.ak);
    if let Some(id) = &bound.claims.vm_unique_id {
        facts = facts.text(Key::AzureVmId, id);
    }
    if let Some(on) = bound.claims.secure_boot {
        facts = facts.flag(Key::AzureSecureBoot, on);
    }
    let Some(quote) = &bound.quote else { return facts };
    let pcrs: Vec<String> = quote
        .pcrs
        .iter()
        .map(|(index, value)| format!("{index}={}", crate::hex::encode(value)))
        .collect();
    facts.texts(Key::AzurePcrs, pcrs.iter().map(String::as_str))
}

/// The levels of a TCB in the order of [`casemate_policy::lattice::Tcb::PARTS`]; a part that the
/// generation does not have is zero.
#[must_use]
pub fn levels(tcb: Tcb, generation: Generation) -> casemate_policy::lattice::Tcb {
    let level = |wanted: &str| {
        tcb.components(generation).find(|(name, _)| *name == wanted).map_or(0, |(_, level)| level)
    };
    let levels = casemate_policy::lattice::Tcb::PARTS.map(level);
    casemate_policy::lattice::Tcb { generation: index(generation), levels }
}

/// The index of a generation in [`casemate_policy::lattice::Tcb::GENERATIONS`].
pub(super) const fn index(generation: Generation) -> u8 {
    match generation {
        Generation::Milan => 0,
        Generation::Genoa => 1,
        Generation::Turin => 2,
        Generation::Venice => 3,
    }
}
