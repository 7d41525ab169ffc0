//! Evidence on the page: a record of `attest verify --record`, and its verification made again.

use crate::attest::print::{CHECKS, check_rows};
use crate::files::read_file;
use crate::html::Page;
use crate::{Failure, Outcome};
use casemate_attestation::hex::encode;
use casemate_attestation::record::Record;
use casemate_attestation::time::format as time;
use casemate_attestation::verify::Seen;
use casemate_foreign_text::value;
use std::path::Path;

/// What a reader must know of all that follows: whose word it is.
const WORTH: &str = "A verification on record, made again under the record's own roots, time and \
    policy. That shows that the record is consistent. Whether the evidence is acceptable under \
    your terms, `casemate attest replay` tells.";

/// Shows it beside the launch digest of this page's VM, if it has one.
///
/// # Errors
/// Status 2 for what is no record, 1 for one whose verification has another outcome now.
pub(super) fn show(page: &mut Page, path: &Path, digest: Option<String>) -> Outcome {
    let shown = value(path.display()).to_string();
    let record = Record::from_json(&read_file(path)?)
        .map_err(|error| Failure::BadInput(format!("{shown}: {error}")))?;
    let again = record.repeat().map_err(|error| Failure::Failed(format!("{shown}: {error}")))?;
    if !again.same {
        let text = "the verification has another outcome than the record says";
        return Err(Failure::Failed(format!("{shown}: {text}")));
    }
    let verdict = &again.verdict;
    page.section("Evidence", WORTH);
    let mut rows = vec![
        vec!["verdict".to_owned(), verdict.headline()],
        vec!["judged as of".into(), time(record.at())],
        vec!["recorded by".into(), record.tool.clone()],
    ];
    rows.extend(verdict.not_proven_line().map(|open| vec!["open".into(), open]));
    if let Seen::Verified(report) = verdict.report() {
        let measured = encode(&report.fields().measurement);
        if let Some(digest) = digest {
            let same = if digest == measured { "yes" } else { "NO" };
            rows.push(vec!["it is of this page's launch".into(), same.into()]);
        }
        rows.push(vec!["launch digest of the report".into(), measured]);
    }
    page.table("The verdict", &["what", "is"], &rows);
    page.table("Every check, from the report up to the root", &CHECKS, &check_rows(verdict));
    Ok(())
}
