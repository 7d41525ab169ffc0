//! `casemate pod`: what a tenant of a pod makes and looks at before the pod is anybody's.

mod annotate;
mod check;
mod explain;
mod images;
mod manifest;
mod measure;
mod source;

use crate::Outcome;
use clap::{Args, Subcommand, ValueEnum};

/// Bind a pod of Kubernetes to what may run in its guest.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate pod explain pod.yaml --image web:1=web.tar
  casemate pod manifest pod.yaml --image web:1=web.tar --annotate > bound.yaml
")]
pub struct PodArgs {
    #[command(subcommand)]
    command: PodCommand,
}

#[derive(Debug, Subcommand)]
enum PodCommand {
    Manifest(manifest::ManifestArgs),
    Explain(explain::ExplainArgs),
    Check(check::CheckArgs),
    Measure(measure::MeasureArgs),
    Policy(measure::PolicyArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for people
    Text,
    /// One JSON object
    Json,
}

/// Runs the subcommand.
///
/// # Errors
/// [`crate::Failure`] with the exit status.
pub fn run(args: &PodArgs) -> Outcome {
    match &args.command {
        PodCommand::Manifest(args) => manifest::run(args),
        PodCommand::Explain(args) => explain::run(args),
        PodCommand::Check(args) => check::run(args),
        PodCommand::Measure(args) => measure::run(args),
        PodCommand::Policy(args) => measure::policy(args),
    }
}
