//! `casemate run`: start a VM and stay with it until it ends.

use crate::out::errln;
use crate::{Failure, Outcome};
use casemate_hypervisor::config::{RawConfig, RawConsole};
use casemate_hypervisor::vm::{self, End};
use casemate_policy_log::{DecisionLog, HeadPolicy, LogError, read_key};
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
    /// Name, unique among your running VMs
    #[arg(long)]
    name: Option<String>,
    /// Kernel: a bzImage or an ELF vmlinux
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Initial RAM file system
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// Kernel command line
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    cmdline: Option<String>,
    /// Virtual processors, 1 to 64
    #[arg(long, value_name = "N")]
    vcpus: Option<u32>,
    /// RAM, such as 256M or 2G
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Serial console: stdio, pty or file:PATH
    #[arg(long, value_name = "WHERE")]
    console: Option<String>,
    /// End the VM after this time, such as 90s or 10m
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// Memory protection: sev-snp, or none for development
    #[arg(long, value_name = "KIND")]
    protection: Option<String>,
    /// Policy that must admit the VM; without one a built-in policy for its protection decides
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Log the policy's decisions to this file, see `casemate log`
    #[arg(long, value_name = "FILE")]
    decision_log: Option<PathBuf>,
    /// Sign the heads of the decision log with this key, see `casemate log key`
    #[arg(long, value_name = "FILE", requires = "decision_log")]
    log_key: Option<PathBuf>,
    /// Keep the newest head of the decision log in this file, too: best where nobody who can write the log can write
    #[arg(long, value_name = "FILE", requires = "decision_log")]
    log_head: Option<PathBuf>,
    /// Refuse to start when the launch digest is another one (sev-snp)
    #[arg(long, value_name = "HEX")]
    expect_digest: Option<String>,
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

impl RunArgs {
    /// The configuration: the file, overridden by flags.
    fn config(&self) -> Result<RawConfig, Failure> {
        let bad = |e: casemate_hypervisor::config::ConfigError| Failure::BadInput(e.to_string());
        let file = self.config.as_deref().map(RawConfig::from_file).transpose().map_err(bad)?;
        let console =
            self.console.as_deref().map(RawConsole::from_flag).transpose().map_err(bad)?;
        let mut file = file.unwrap_or_default();
        if let Some(digest) = &self.expect_digest {
            file.snp.get_or_insert_default().expect_digest = Some(digest.clone());
        }
        Ok(file.overridden_by(RawConfig {
            name: self.name.clone(),
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            cmdline: self.cmdline.clone(),
            vcpus: self.vcpus,
            memory: self.memory.clone(),
            console,
            timeout: self.timeout.clone(),
            protection: self.protection.clone(),
            snp: None,
            sandbox: None,
        }))
    }
}

impl RunArgs {
    /// The decision log, opened.
    fn log(&self) -> Result<Option<DecisionLog>, Failure> {
        let Some(path) = &self.decision_log else { return Ok(None) };
        let bad = |e: LogError| Failure::BadInput(e.to_string());
        let key = self.log_key.as_deref().map(read_key).transpose().map_err(bad)?;
        let (mut log, found) = DecisionLog::open(path, key, HeadPolicy::default()).map_err(bad)?;
        if let Some(head) = &self.log_head {
            log.keep_head(head).map_err(bad)?;
        }
        if found.dropped > 0 {
            let path = path.display();
            errln!("casemate: {path}: a torn last line of {} bytes was removed", found.dropped);
        }
        Ok(Some(log))
    }
}

/// Runs the VM.
///
/// # Errors
/// [`Failure`], with the exit status that `--help` documents.
pub fn run(args: &RunArgs) -> Outcome {
    let mut timeline = vm::timeline::Timeline::start();
    let config = args.config()?;
    let config = config.validate().map_err(|e| Failure::BadInput(e.to_string()))?;
    timeline.record("configuration");
    let (end, timeline) =
        vm::run(&config, args.policy.as_deref(), args.log()?, timeline).map_err(|e| {
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
