//! `casemate image`: disks and whole images of workloads.

#[cfg(feature = "vm")]
mod build;
#[cfg(feature = "vm")]
pub mod identity;
#[cfg(feature = "vm")]
mod initdata;
#[cfg(feature = "vm")]
pub(crate) mod launches;
pub(crate) mod place;
pub(crate) mod root;
#[cfg(feature = "vm")]
mod secrets;
#[cfg(feature = "vm")]
mod show;
#[cfg(feature = "vm")]
mod verify;

use crate::Outcome;
use clap::{Args, Subcommand};

/// Make images of workloads from container images, tar files and folders.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate image build app.tar -o app.img/ --kernel-package linux-image.deb
  casemate image show app.img/               its manifest and digests
  casemate image initdata app.img/           what HOST_DATA its guests have
  casemate image root app.tar -o root.img    a disk of it alone
")]
pub struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    #[cfg(feature = "vm")]
    Build(Box<build::Build>),
    #[cfg(feature = "vm")]
    Initdata(initdata::Initdata),
    Root(root::Root),
    #[cfg(feature = "vm")]
    Show(show::Show),
    #[cfg(feature = "vm")]
    Verify(verify::Verify),
}

/// Runs the subcommand.
pub fn run(args: &ImageArgs) -> Outcome {
    match &args.command {
        #[cfg(feature = "vm")]
        ImageCommand::Build(args) => build::run(args),
        #[cfg(feature = "vm")]
        ImageCommand::Initdata(args) => initdata::run(args),
        ImageCommand::Root(args) => root::run(args),
        #[cfg(feature = "vm")]
        ImageCommand::Show(args) => show::run(args),
        #[cfg(feature = "vm")]
        ImageCommand::Verify(args) => verify::run(args),
    }
}
