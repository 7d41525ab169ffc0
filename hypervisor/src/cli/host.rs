//! `casemate host`: what this host can do.

use super::out::outln;
use super::{Failure, Outcome};
use crate::host::{Capability, Survey};
use clap::Args;

/// What this host can do, what it lacks, and why it matters
///
/// Exit status: 0 when it can run what --require names, 1 when it cannot.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
    /// What the host must be able to run
    #[arg(long, value_enum, default_value = "plain")]
    require: Capability,
}

/// Surveys the host and prints the result.
///
/// # Errors
/// [`Failure::Status`] 1 when the host lacks something that is required.
pub fn run(args: &HostArgs) -> Outcome {
    let survey = Survey::take();
    if args.json {
        outln!("{:#}", survey.to_json());
    } else {
        outln!("{}", survey.to_string().trim_end());
    }
    if survey.can(args.require) { Ok(()) } else { Err(Failure::Status(1)) }
}
