//! REPORT_DATA against everyone who demands a value of it.
//!
//! Principle: demands add up. A command line, an appraisal and a context may each demand a value;
//! the report must meet all of them, and two that differ are a conflict that no report can meet,
//! named as such. None replaces another.
//!
//! On Azure the paravisor asks for the report, and REPORT_DATA is the hash of its runtime claims.
//! What the verifier's nonce went into is then the nonce of the vTPM's quote or, without a quote,
//! the claims' user data; both are bound to the report. A demanded value may be found there or in
//! REPORT_DATA itself, but a hash of claims, the same in every report of a boot, says nothing about
//! freshness.

use super::azure::Bound;
use super::{Checks, Code};
use crate::context::Context;
use crate::hex::{self, Hex};
use crate::report::Fields;

/// A value that REPORT_DATA must have, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// Who demands it, for messages: an option or a document.
    pub by: String,
    /// The value, all 64 bytes.
    pub value: [u8; 64],
}

/// Whether the report was shown to be made for this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    Proven,
    Open,
}

/// Compares every demanded value.
pub(super) fn check(
    f: &Fields,
    demands: &[Demand],
    appraisal: Option<Hex<64>>,
    context: Option<&Context>,
    azure: Option<&Bound>,
    checks: &mut Checks,
) -> Freshness {
    let Some(wanted) = one_demand(demands, appraisal, context, checks) else {
        return Freshness::Open;
    };
    // On Azure freshness is asked of the data that a nonce goes into. REPORT_DATA itself is
    // compared as well, for callers who demand the hash of the claims, and then proves nothing
    // about freshness.
    let fresh = azure.map_or(Some(f.report_data), Bound::fresh_data);
    let is_fresh = fresh.is_some_and(|fresh| constant_time_equal(&fresh, &wanted.value));
    let holds = is_fresh || constant_time_equal(&f.report_data, &wanted.value);
    let saw = match fresh {
        Some(fresh) if azure.is_some() => format!("{} ({})", hex::encode(&fresh), SOURCE),
        _ => hex::encode(&f.report_data),
    };
    if !holds {
        checks.fail(
            Code::ReportData,
            saw,
            format!("{} ({})", hex::encode(&wanted.value), wanted.by),
        );
    } else if wanted.value == [0; 64] {
        // A guest that was asked nothing leaves zeros: a demand of zeros is met by every such
        // report.
        checks.warn(
            Code::ReportData,
            "all zero, as demanded: what a guest says that was asked nothing",
        );
    } else if is_fresh {
        checks.pass(Code::ReportData, saw);
    } else {
        checks
            .warn(Code::ReportData, "the hash of the Azure claims, as demanded: not fresh by that");
    }
    if is_fresh { Freshness::Proven } else { Freshness::Open }
}

/// The value that everybody who demands one demands.
fn one_demand(
    demands: &[Demand],
    appraisal: Option<Hex<64>>,
    context: Option<&Context>,
    checks: &mut Checks,
) -> Option<Demand> {
    let mut all = demands.to_vec();
    all.extend(appraisal.map(|Hex(value)| Demand { by: "the appraisal".to_owned(), value }));
    if let Some(context) = context {
        let by = format!("context {}", context.label);
        match context.report_data() {
            // A context that has no report data cannot be met, and must not be passed over: it was
            // demanded.
            None => checks.fail(Code::ReportData, "no label or nonce to compare with", "both"),
            Some(value) => all.push(Demand { by, value }),
        }
    }
    let Some(first) = all.first() else {
        checks
            .skip_missing(&[Code::ReportData], "no expected value given: freshness is not proven");
        return None;
    };
    // Before anything is compared with the report: of two values one could be met by chance of
    // order, and the other be forgotten.
    if let Some(other) = all.iter().find(|other| other.value != first.value) {
        let saw = format!("two values are demanded: {} by {}", short(&first.value), first.by);
        let wanted = format!("one; {} demands {}", other.by, short(&other.value));
        checks.fail(Code::ReportData, saw, wanted);
        return None;
    }
    Some(first.clone())
}

const SOURCE: &str = "nonce of the vTPM quote, or user data of the Azure claims";

fn short(value: &[u8; 64]) -> String {
    let (head, _) = value.split_at(8);
    format!("{}…", hex::encode(head))
}

/// Compares all 64 bytes, whatever differs first: how long it takes says nothing about a value that
/// a caller may want to keep secret.
fn constant_time_equal(a: &[u8; 64], b: &[u8; 64]) -> bool {
    let difference = a.iter().zip(b).fold(0u8, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}
