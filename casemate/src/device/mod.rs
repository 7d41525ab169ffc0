//! `casemate device`: a device process of ours for any VMM that speaks vhost-user.

mod block;
mod console;
mod net;
mod rng;
mod serve;
mod vsock;

pub use serve::PROGRAM;
#[cfg(feature = "broker")]
pub(crate) use serve::signals;

use crate::Outcome;
use casemate_sandbox::Layer;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Serve a device to any VMM that speaks vhost-user, from a locked process
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DeviceArgs {
    #[command(subcommand)]
    command: DeviceCommand,
}

const EXAMPLES: &str = "\
Examples:
  casemate device block --socket disk.sock --file disk.img
  casemate device rng --socket rng.sock
";

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    Block(block::BlockArgs),
    Console(console::ConsoleArgs),
    Rng(rng::RngArgs),
    Vsock(vsock::VsockArgs),
    Net(net::NetArgs),
}

/// What all devices have in common.
#[derive(Debug, Args)]
struct Common {
    /// Where front ends connect: a socket that is made here, for this user only, and removed at the
    /// end
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// End with the first front end, not at a signal
    #[arg(long)]
    once: bool,
    /// The front end's guest is confidential: of its memory only pages that are there are reached
    #[arg(long)]
    fence: bool,
    /// A layer of the lock that this host may lack, see `casemate host`; can be repeated
    #[arg(long, value_name = "LAYER", value_parser = layer)]
    optional: Vec<Layer>,
}

pub(crate) fn layer(name: &str) -> Result<Layer, String> {
    let known = || Layer::ALL.map(Layer::name).join(", ");
    Layer::from_name(name).ok_or_else(|| format!("there is no such layer; use some of {}", known()))
}

/// Runs the subcommand.
///
/// # Errors
/// [`crate::Failure`] with the exit status.
pub fn run(args: &DeviceArgs) -> Outcome {
    match &args.command {
        DeviceCommand::Block(args) => block::run(args),
        DeviceCommand::Console(args) => console::run(args),
        DeviceCommand::Rng(args) => rng::run(args),
        DeviceCommand::Vsock(args) => vsock::run(args),
        DeviceCommand::Net(args) => net::run(args),
    }
}
