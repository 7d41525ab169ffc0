//! `casemate attest replay`: a verification on record, made again.

use super::verify::conclude;
use crate::files::read_file;
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_attestation::record::Record;
use clap::Args;
use std::path::PathBuf;

/// Repeat a verification on record and compare every outcome.
///
/// Exit status: that of the verdict; 1 when the outcome differs or the record was altered.
#[derive(Debug, Args)]
pub struct Replay {
    /// Record that `casemate attest verify --record` wrote.
    record: PathBuf,
    /// Print JSON.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print nothing but the reason of a refusal.
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(args: &Replay) -> Outcome {
    let record = Record::from_json(&read_file(&args.record)?)
        .map_err(|error| Failure::BadInput(format!("{}: {error}", args.record.display())))?;
    let replay = record.replay().map_err(|error| Failure::Failed(error.to_string()))?;
    if !replay.same {
        return Err(Failure::Failed(format!(
            "the replay differs from the record of {}: recorded {}, now {}",
            record.tool,
            if record.accepted { "ACCEPTED" } else { "REFUSED" },
            replay.verdict.headline()
        )));
    }
    if !args.json && !args.quiet {
        outln!("The replay equals the record of {}.", record.tool);
    }
    conclude(&replay.verdict, "evidence record", record.at(), args.json, args.quiet, &[])
}
