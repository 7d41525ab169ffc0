//! `casemate kbs`: a key broker, and what its owner asks of it.

mod broker;
mod init;
mod log;
mod prepare;
mod secrets;
mod serve;
mod watch;

use crate::Outcome;
use crate::diagnostics::Log;
use clap::{Args, Subcommand};

/// A key broker: gives secrets to guests that prove what they are
///
/// It speaks the key broker protocol of Trustee, version 0.4.0. What is proven is judged by the
/// policy's section `attestation`, what is released by its section `secrets`; each decision is in
/// the decision log before its answer leaves. Guests know the broker by the hash of its key.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate kbs init broker/              a new broker, in a folder of its own
  casemate kbs put acme/db/key --file key.bin --config broker/
  casemate kbs serve --config broker/
")]
pub struct KbsArgs {
    #[command(subcommand)]
    command: KbsCommand,
}

#[derive(Debug, Subcommand)]
enum KbsCommand {
    Init(init::InitArgs),
    Pin(init::PinArgs),
    Serve(serve::ServeArgs),
    Put(secrets::PutArgs),
    Get(secrets::GetArgs),
    List(secrets::ListArgs),
    Versions(secrets::VersionsArgs),
    Revoke(secrets::RevokeArgs),
    Log(log::KbsLogArgs),
}

/// Runs the subcommand.
///
/// # Errors
/// As the subcommand says.
pub fn run(args: &KbsArgs, log: &Log) -> Outcome {
    match &args.command {
        KbsCommand::Init(args) => init::run(args),
        KbsCommand::Pin(args) => init::pin(args),
        KbsCommand::Serve(args) => serve::run(args, log),
        KbsCommand::Put(args) => secrets::put(args),
        KbsCommand::Get(args) => secrets::get(args),
        KbsCommand::List(args) => secrets::list(args),
        KbsCommand::Versions(args) => secrets::versions(args),
        KbsCommand::Revoke(args) => secrets::revoke(args),
        KbsCommand::Log(args) => log::run(args),
    }
}
