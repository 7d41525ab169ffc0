//! `casemate image`: disks for workloads.

mod root;

use crate::Outcome;
use clap::{Args, Subcommand};

/// Make the read-only disk of a workload from a container image, a tar file or a folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate image root app.tar -o root.img    of `docker save`
")]
pub struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    Root(root::Root),
}

/// Runs the subcommand.
pub fn run(args: &ImageArgs) -> Outcome {
    match &args.command {
        ImageCommand::Root(args) => root::run(args),
    }
}
