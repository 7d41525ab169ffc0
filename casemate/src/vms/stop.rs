//! `casemate stop`: ends a running VM.

use super::{failure, session};
use crate::out::errln;
use crate::{Failure, Outcome};
use casemate_hypervisor::vm::manage::Ending;
use clap::Args;
use std::time::Duration;

/// End a running VM
///
/// Presses its power button, as Ctrl-C and SIGTERM do for `casemate run`: a guest that has not
/// switched itself off after its grace is ended. Returns when every process of the VM has ended;
/// its `casemate run` may still wait for a reader of the console.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  the VM has ended; without --force, as its guest wanted it
  1  it could not be asked, or has not ended
  2  no VM of this user has the name
  3  the guest did not switch itself off within its grace, and was ended

Examples:
  casemate stop demo
  casemate stop demo --force    end it at once; what the guest has not
                                written to its disks is lost
")]
pub struct StopArgs {
    /// Name of the VM
    name: String,
    /// End it at once, without asking the guest
    #[arg(long)]
    force: bool,
}

/// How long each process of an ended VM may take to end; a disk's may be in its storage, a
/// recorder may wait for another that writes the same log.
const PATIENCE: Duration = Duration::from_secs(60);
/// The guest did not listen.
const GRACE_OVER: u8 = 3;

/// Runs the subcommand.
///
/// # Errors
/// [`Failure`], with the exit status that `--help` documents.
pub(crate) fn run(args: &StopArgs) -> Outcome {
    let session = session(&args.name)?;
    let grace = if args.force { session.end().map(|()| Duration::ZERO) } else { session.stop() };
    let patience = grace.map_err(failure)?.saturating_add(PATIENCE);
    match session.wait_for_end(patience).map_err(failure)? {
        Some(Ending::GraceOver) if !args.force => {
            errln!("casemate: the guest did not switch itself off and was ended");
            Err(Failure::Status(GRACE_OVER))
        }
        _ => Ok(()),
    }
}
