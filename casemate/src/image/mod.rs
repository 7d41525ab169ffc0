//! `casemate image`: disks and whole images of workloads.

#[cfg(feature = "vm")]
mod build;
#[cfg(feature = "vm")]
mod launches;
mod place;
mod root;

use crate::Outcome;
use clap::{Args, Subcommand};

/// Make images of workloads from container images, tar files and folders.
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
    #[cfg(feature = "vm")]
    Build(Box<build::Build>),
    Root(root::Root),
}

/// Runs the subcommand.
pub fn run(args: &ImageArgs) -> Outcome {
    match &args.command {
        #[cfg(feature = "vm")]
        ImageCommand::Build(args) => build::run(args),
        ImageCommand::Root(args) => root::run(args),
    }
}
