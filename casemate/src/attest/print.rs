//! A verdict as a table for people and as JSON for programs.

use super::show;
use crate::out::outln;
use casemate_attestation::hex::encode;
use casemate_attestation::selection::addresses;
use casemate_attestation::verify::{
    Bound, CHAIN_CHECKS, Check, Code, Conclusion, Property, REVOCATION_CHECKS, Seen, Status,
    Verdict,
};
use serde_json::{Value, json};

pub(crate) fn word(status: Status) -> &'static str {
    match status {
        Status::Passed => "passed",
        Status::Warning => "WARNING",
        Status::Failed => "FAILED",
        Status::NotChecked => "not checked",
    }
}

/// What the columns of [`check_rows`] are.
pub(crate) const CHECKS: [&str; 5] =
    ["code", "result", "what is checked", "seen", "wanted, where it failed"];

/// Whether a check looks at the report alone, before anything vouches for what it says.
pub(crate) fn is_of_report(code: Code) -> bool {
    code <= Code::ReportSignature
        && !CHAIN_CHECKS.contains(&code)
        && !REVOCATION_CHECKS.contains(&code)
}

/// Every check of a verdict, for a page: what an unsigned report says is not on one, but for what a
/// check that failed has to name.
pub(crate) fn check_rows(verdict: &Verdict) -> Vec<Vec<String>> {
    let signed = matches!(verdict.report(), Seen::Verified(_));
    let row = |check: &Check| {
        let Check { code, status, saw, wanted } = check;
        let hidden = !signed && *status != Status::Failed && is_of_report(*code);
        let saw = if hidden { "(not shown: nobody vouches for it)" } else { saw };
        let cells = [code.as_str(), word(*status), code.title(), saw, wanted];
        cells.map(str::to_owned).to_vec()
    };
    verdict.checks().iter().map(row).collect()
}

/// One line of a failed check: field, both values, remedy.
pub(super) fn line(check: &Check) -> String {
    let Check { code, saw, wanted, .. } = check;
    format!("{code}: {}: {saw}, wanted {wanted}; {}", code.title(), code.remedy())
}

/// Evidence that cannot be read, as a verdict is told: no check could be made.
pub(super) fn unreadable(why: &str, at: u64) -> Value {
    json!({
        "verdict": "REFUSED",
        "conclusion": Conclusion::Refused,
        "accepted": false,
        "authentic": false,
        "error": why,
        "at": casemate_attestation::time::format(at),
        "checks": [],
        "addresses": [],
        "verified-report": null,
    })
}

pub(super) fn print_table(verdict: &Verdict, form: &str, at: u64, report: &[u8]) {
    outln!("{form}, judged at {}", casemate_attestation::time::format(at));
    for check in verdict.checks() {
        outln!("  {:<24} {:<11}  {}", check.code.as_str(), word(check.status), check.saw);
        if check.status == Status::Failed {
            outln!("  {:<24} {:<11}  wanted: {}", "", "", check.wanted);
            outln!("  {:<24} {:<11}  remedy: {}", "", "", check.code.remedy());
        }
    }
    if let Some(bound) = verdict.azure() {
        print_azure(bound);
    }
    for address in addresses(verdict, report) {
        outln!("What is wanted is at {address}");
    }
    let count = |status| verdict.checks().iter().filter(|check| check.status == status).count();
    outln!(
        "{} passed, {} warnings, {} failed, {} not checked",
        count(Status::Passed),
        count(Status::Warning),
        count(Status::Failed),
        count(Status::NotChecked)
    );
    if let Some(open) = verdict.not_proven_line() {
        outln!("{open}");
    }
    outln!("{}", verdict.headline());
}

/// What the paravisor and the vTPM said under the verified report.
fn print_azure(bound: &Bound) {
    outln!("Azure, bound to the report:");
    let row = |name: &str, value: &str| outln!("  {name:<24} {value}");
    show::claim_rows(&bound.claims, &row);
    if let Some(quote) = &bound.quote {
        row("quote nonce", &encode(&quote.attested.nonce));
        let (resets, restarts) = (quote.attested.resets, quote.attested.restarts);
        row("TPM", &format!("{resets} resets, {restarts} restarts"));
        for (index, value) in &quote.pcrs {
            row(&format!("PCR {index}"), &encode(value));
        }
    }
}

pub(super) fn to_json(verdict: &Verdict, form: &str, at: u64, bytes: &[u8]) -> Value {
    let checks: Vec<Value> = verdict
        .checks()
        .iter()
        .map(|check| {
            let mut value = json!(check);
            if let Some(object) = value.as_object_mut() {
                object.insert("title".to_owned(), check.code.title().into());
                if check.status == Status::Failed {
                    object.insert("remedy".to_owned(), check.code.remedy().into());
                }
            }
            value
        })
        .collect();
    let report = match verdict.report() {
        Seen::Verified(report) => show::to_json(report.fields(), report.fields().generation()),
        Seen::Unverified(_) | Seen::Nothing => Value::Null,
    };
    let not_proven: Vec<_> = verdict.not_proven().iter().map(|one: &Property| json!(one)).collect();
    json!({
        "verdict": verdict.headline(),
        "conclusion": verdict.conclusion(),
        "accepted": verdict.accepted(),
        "authentic": verdict.authentic(),
        "not-proven": not_proven,
        "model": verdict.is_model(),
        "form": form,
        "at": casemate_attestation::time::format(at),
        "checks": checks,
        "addresses": addresses(verdict, bytes),
        "verified-report": report,
        "azure": verdict.azure().map(azure_json),
    })
}

fn azure_json(bound: &Bound) -> Value {
    let mut value = show::claims_json(&bound.claims);
    let quote = bound.quote.as_ref().map(|quote| {
        let pcrs: serde_json::Map<_, _> = quote
            .pcrs
            .iter()
            .map(|(index, value)| (index.to_string(), encode(value).into()))
            .collect();
        json!({
            "nonce": encode(&quote.attested.nonce),
            "resets": quote.attested.resets,
            "restarts": quote.attested.restarts,
            "pcrs": pcrs,
        })
    });
    if let Some(object) = value.as_object_mut() {
        object.insert("quote".to_owned(), quote.into());
    }
    value
}
