//! `casemate host`: what this host can do.

use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_hypervisor::host::{Capability, Survey};
use clap::Args;

/// What this host can do, what it lacks, and why it matters
///
/// Exit status: 0 when it can run what --require names, 1 when it cannot.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct HostArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// What the host must be able to run
    #[arg(long, value_enum, default_value = "plain")]
    require: Required,
}

const EXAMPLES: &str = "\
Examples:
  casemate host                     what this host can and cannot do
  casemate host --require sev-snp   for scripts: status 1 without SEV-SNP
";

/// What `--require` can ask for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Required {
    /// A VM that runs Linux, `protection = "none"`
    Plain,
    /// A confidential VM, `protection = "sev-snp"`
    SevSnp,
}

impl From<Required> for Capability {
    fn from(required: Required) -> Self {
        match required {
            Required::Plain => Self::Plain,
            Required::SevSnp => Self::SevSnp,
        }
    }
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
    if survey.can(args.require.into()) { Ok(()) } else { Err(Failure::Status(1)) }
}
