//! `casemate attest replay`: evidence on record, judged again.

use super::outcome::{Telling, status, tell};
use super::terms::Terms;
use crate::files::read_file;
use crate::out::{errln, outln};
use crate::{Failure, Outcome};
use casemate_attestation::evidence::{Evidence, Form};
use casemate_attestation::record::{Record, Replay as Repeated};
use casemate_foreign_text::value;
use clap::Args;
use std::path::PathBuf;

/// Judge evidence on record under YOUR terms: roots, time, policy and expected values are those
/// given here, as for `verify`. The record must also be consistent: its own verification is made
/// again and compared.
///
/// A record is a file that anyone may have written. Only with --own-terms is it judged under the
/// roots, time and policy that stand in it: that shows that it is consistent, and nothing about the
/// evidence.
///
/// Exit status: that of the verdict, as for `verify`; 1 when the record's own outcome differs or it
/// was altered.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate attest replay record.json --certs-dir certs
  casemate attest replay record.json --own-terms
")]
pub struct Replay {
    /// Record that `casemate attest verify --record` wrote.
    record: PathBuf,
    #[command(flatten)]
    terms: Terms,
    /// Judge under the record's own roots, time, policy and expected values. Proves that the record
    /// is consistent, no more.
    #[arg(long, conflicts_with_all = [
        "certs_dir", "crl", "vlek_crl", "report_data", "nonce", "policy", "at", "allow_newer", "allow_broken_root",
        "accept_model_root", "decision_log", "facts",
    ])]
    own_terms: bool,
    #[command(flatten)]
    told: Telling,
}

pub(super) fn run(args: &Replay) -> Outcome {
    let record = Record::from_json(&read_file(&args.record)?)
        .map_err(|error| Failure::BadInput(format!("{}: {error}", args.record.display())))?;
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    let repeated = record.repeat().map_err(|error| failed(&error))?;
    if !repeated.same {
        return Err(Failure::Failed(format!(
            "the replay differs from the record of {}: recorded {}, now {}",
            value(&record.tool),
            record.conclusion.word(),
            repeated.verdict.headline()
        )));
    }
    if !args.told.json && !args.told.quiet {
        outln!("The replay equals the record of {}.", value(&record.tool));
    }
    if args.own_terms {
        return own_terms(args, &record, &repeated);
    }
    let mut inputs = record.evidence(args.terms.inputs()?).map_err(|error| failed(&error))?;
    let evidence = Evidence {
        veks: inputs.vek.take().into_iter().collect(),
        azure: inputs.azure.take(),
        ..Evidence::of_report(Form::Raw, &inputs.report)
    };
    args.terms.complete(&mut inputs, &[], &evidence)?;
    let verdict = inputs.verify().map_err(|error| Failure::BadInput(error.to_string()))?;
    args.terms.log(&verdict)?;
    args.terms.conclude(&verdict, args.told, "evidence record", &inputs)
}

/// The record's own verdict, with what it is worth.
fn own_terms(args: &Replay, record: &Record, repeated: &Repeated) -> Outcome {
    let verdict = &repeated.verdict;
    let word = verdict.headline();
    let worth =
        "judged under the record's own roots, time and policy: it is consistent, no more is shown";
    errln!("casemate: {word}; {worth}");
    tell(verdict, args.told, "evidence record, its own terms", record.at(), &[]);
    status(verdict, args.told.quiet, args.terms.authenticity_only, &[])
}
