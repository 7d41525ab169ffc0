//! `casemate limit`: how much of a disk or a network device the guest of a running VM gets.

use super::{failure, session};
use crate::{Failure, Outcome};
use casemate_hypervisor::config::RawLimits;
use clap::Args;

/// Change how much of a disk or a network device a running guest gets
///
/// The limits are those that are given, and no others: what is left out has no limit any more. They
/// hold from the next request on; bursts begin full. A request goes when anything is left of each
/// burst, whatever it costs, and the next waits until that is paid: in the long run exactly so much
/// goes. The configuration's keys of `[[disk]]` and
/// `[[net]]` have the same names. Of a network device both directions count together.
#[derive(Debug, Args)]
#[command(after_help = "\
Limits:
  bandwidth=SIZE        bytes in a second, such as 50M: of a disk those that
                        requests carry, with 17 for what each is and how it
                        went; of a network device those of frames
  bandwidth_burst=SIZE  bytes at once; default: as many as in a second
  iops=N                of a disk: requests in a second
  iops_burst=N          requests at once; default: as many as in a second
  packets=N             of a network device: frames in a second
  packets_burst=N       frames at once; default: as many as in a second
  none                  no limit

Examples:
  casemate limit demo disk0 iops=500 bandwidth=20M
  casemate limit demo disk0 bandwidth=20M bandwidth_burst=1G
  casemate limit demo net0 bandwidth=10M packets=20000
  casemate limit demo disk0 none
")]
pub struct LimitArgs {
    /// Name of the VM
    name: String,
    /// Name of the disk or network device
    device: String,
    /// The limits, or `none`
    #[arg(required = true)]
    limits: Vec<String>,
}

/// Runs the subcommand.
///
/// # Errors
/// [`Failure`]: 2 for limits that contradict each other, or a name that no VM has; 1 when the VM
/// has no such device, is not believed or does not answer.
pub(crate) fn run(args: &LimitArgs) -> Outcome {
    let limits = RawLimits::from_words(&args.limits).and_then(|limits| limits.check());
    let limits = limits.map_err(|e| Failure::BadInput(e.to_string()))?;
    if !casemate_hypervisor::config::is_name(&args.device) {
        return Err(Failure::BadInput("a device has no such name: see `casemate inspect`".into()));
    }
    session(&args.name)?.limit(&args.device, limits).map_err(failure)
}
