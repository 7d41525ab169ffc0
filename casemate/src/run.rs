//! `casemate run`: start a VM and stay with it until it ends.

use crate::guest_flags::GuestFlags;
use crate::log_options::LogOptions;
use crate::out::errln;
use crate::{Failure, Outcome};
use casemate_hypervisor::vm::{self, End};
use casemate_sandbox::Exit as ProcessEnd;
use clap::{Args, ValueEnum};
use signal_hook::consts::SIGKILL;
use std::path::PathBuf;

/// Start a VM and stay with it until it ends
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct RunArgs {
    /// Configuration file (TOML); flags win over it
    config: Option<PathBuf>,
    #[command(flatten)]
    guest: GuestFlags,
    /// Virtual processors, 1 to 64
    #[arg(long, value_name = "N")]
    vcpus: Option<u32>,
    /// Policy that must admit the VM; without one a built-in policy for its protection decides
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    log: LogOptions,
    /// Print when each step of the boot happened, to stderr
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "text", require_equals = true)]
    timeline: Option<TimelineFormat>,
}

/// How the timeline is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TimelineFormat {
    /// A table
    Text,
    /// One JSON object
    Json,
}

const HELP: &str = "\
Exit status:
  0  the guest switched itself off and its workload succeeded
  1  the host failed: KVM, the sandbox, or this program
  2  bad use, configuration or input; nothing was started
  3  the guest failed: its workload, a reset, a panic, a triple fault, the boot code's refusal, a time-out
  4  ended by the user: Ctrl-C or SIGTERM presses the power button, and the guest switched itself off; a second one
     ends it at once

Configuration file:
  name = \"demo\"
  kernel = \"vmlinuz\"            # paths are relative to the file
  initrd = \"initrd.img\"
  cmdline = \"console=ttyS0 reboot=acpi panic=-1\"  # the default
  vcpus = 2
  memory = \"512M\"
  console = \"stdio\"             # or \"pty\", or { file = \"console.log\" }
  timeout = \"10m\"
  protection = \"none\"           # or \"sev-snp\"
  [sandbox]
  optional = []                 # layers this host may lack, see `casemate host`
  [snp]                         # with protection = \"sev-snp\"
  policy = 0x30000              # guest policy, the default
  host_data = \"64 digits\"     # goes into every report
  expect_digest = \"96 digits\" # what `casemate measure` printed
  id_block = \"id-block.bin\"   # with id_auth = \"id-auth.bin\", and author_key_enabled
  vcek_disabled = false         # reports may not be signed by the VCEK
  vmsa_features = 0             # bits 5 (debug swap), 9 (secure TSC)
  certs = \"certs.bin\"         # certificates for extended requests (Linux 7.0): `casemate attest table`
  c_bit = 51                    # of every EPYC

Examples:
  casemate run vm.toml
  casemate run vm.toml --memory 1G --timeline
  casemate run --protection none --kernel vmlinuz --initrd initrd.img --cmdline \"console=ttyS0 reboot=acpi panic=-1\"
";

/// Runs the VM.
///
/// # Errors
/// [`Failure`], with the exit status that `--help` documents.
pub fn run(args: &RunArgs) -> Outcome {
    let mut timeline = vm::timeline::Timeline::start();
    let config = args.guest.config(args.config.as_deref(), args.vcpus)?;
    let config = config.validate().map_err(|e| Failure::BadInput(e.to_string()))?;
    timeline.record("configuration");
    let (end, timeline) = vm::run(&config, args.policy.as_deref(), args.log.file()?, timeline)
        .map_err(|e| {
            if e.is_bad_input() {
                Failure::BadInput(e.to_string())
            } else {
                Failure::Failed(e.to_string())
            }
        })?;
    match args.timeline {
        Some(TimelineFormat::Text) => errln!("{}", timeline.to_text().trim_end()),
        Some(TimelineFormat::Json) => errln!("{}", timeline.to_json()),
        None => {}
    }
    report(end)
}

const GUEST_FAILED: u8 = 3;
const ENDED_BY_USER: u8 = 4;

fn report(end: End) -> Outcome {
    let (status, text) = match end {
        End::Stopped(stop) if stop.is_success() => return Ok(()),
        End::Stopped(stop) if !stop.is_hosts_fault() => (GUEST_FAILED, stop.to_string()),
        End::Stopped(stop) => return Err(Failure::Failed(stop.to_string())),
        End::LaunchFailed(reason) => return Err(Failure::Failed(reason)),
        End::TimedOut(after) => {
            (GUEST_FAILED, format!("the guest did not end within {after:?} and was ended"))
        }
        End::PoweredOffAsAsked => (ENDED_BY_USER, "the guest switched itself off as asked".into()),
        End::Killed => (ENDED_BY_USER, "the VM was ended as asked".into()),
        End::VmmDied(Some(ProcessEnd::Signal(SIGKILL))) => {
            return Err(Failure::Failed(
                "the vmm process was killed from outside (signal 9): most likely memory ran out, of the host or of this \
                 program's cgroup (`dmesg` says so); give the guest less (`memory`) or them more"
                    .into(),
            ));
        }
        End::VmmDied(how) => {
            let how = how.map_or_else(|| "for an unknown reason".into(), |how| how.to_string());
            return Err(Failure::Failed(format!("the vmm process ended without a word: {how}")));
        }
        End::VmmLied(what) => {
            return Err(Failure::Failed(format!("the vmm process was ended: {what}")));
        }
    };
    errln!("casemate: {text}");
    Err(Failure::Status(status))
}
