//! `casemate run`: start a VM and stay with it until it ends.

use crate::diagnostics::Log;
use crate::exchange::{Exchange, ExchangeArgs};
use crate::guest_flags::GuestFlags;
use crate::log_options::LogOptions;
use crate::not_started::failure;
use crate::out::{attended, errln};
use crate::packed::Packed;
use crate::run_broker::{self, BrokerArgs};
use crate::run_help::HELP;
use crate::{Failure, Outcome};
use casemate_console::{
    Attended, BoundedFile, Cause, ConsoleError, HostConsole, Messages, Signals, Timeline, attend,
};
use casemate_diagnostics::event;
use casemate_files::{Apart, SameFile};
use casemate_foreign_text::line;
use casemate_hypervisor::config::{ConsoleTo, Protection, RawSnp, VmConfig};
use casemate_hypervisor::vm::recorder::Logging;
use casemate_hypervisor::vm::{self, End};
use casemate_sandbox::{Exit as ProcessEnd, Program};
use clap::{Args, ValueEnum};
use rustix::process::Signal;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

/// Start a VM and stay with it until it ends
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct RunArgs {
    /// Configuration file (TOML), or the folder of an image that `casemate image
    /// build` made; flags win over it
    config: Option<PathBuf>,
    #[command(flatten)]
    guest: GuestFlags,
    /// Virtual processors, 1 to 64 [default: 1]
    #[arg(long, value_name = "N")]
    vcpus: Option<u32>,
    /// Both at once: virtual processors and RAM, such as 2x4G
    #[arg(long, value_name = "NxSIZE", conflicts_with_all = ["vcpus", "memory"])]
    shape: Option<Shape>,
    /// Policy that must admit the VM; without one a built-in policy for its protection decides
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    log: LogOptions,
    #[command(flatten)]
    exchange: ExchangeArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Print when each step of the boot happened, to stderr
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "text", require_equals = true)]
    timeline: Option<TimelineFormat>,
    /// Go the way of a start up to its first process, and print what it would do: decisions, plan,
    /// digest, processes; exit status as `run` for bad input, denial and a host that lacks
    /// something
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
}

/// Virtual processors and RAM, as written.
#[derive(Debug, Clone)]
struct Shape {
    vcpus: u32,
    memory: String,
}

impl std::str::FromStr for Shape {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write the number of vCPUs, an x and a size, such as 2x4G";
        let (vcpus, memory) = text.split_once('x').ok_or(wrong)?;
        let digits = !vcpus.is_empty() && vcpus.bytes().all(|byte| byte.is_ascii_digit());
        let vcpus = vcpus.parse().ok().filter(|_| digits && !memory.is_empty()).ok_or(wrong)?;
        Ok(Self { vcpus, memory: memory.to_owned() })
    }
}

/// Begins what a run needs whatever its arguments are, for as long as they are being read: the
/// program of its vmm process is put into memory. To be held until the program ends.
pub fn begin() -> casemate_sandbox::Beginning<'static> {
    VMM.begin()
}

/// How the timeline is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TimelineFormat {
    /// A table
    Text,
    /// One JSON object
    Json,
}

/// Runs the VM.
///
/// # Errors
/// [`Failure`], with the exit status that `--help` documents.
pub fn run(args: &RunArgs, log: &Log) -> Outcome {
    let mut timeline = Timeline::start();
    let mut guest = args.guest.clone();
    let mut vcpus = args.vcpus;
    if let Some(shape) = &args.shape {
        (vcpus, guest.memory) = (Some(shape.vcpus), Some(shape.memory.clone()));
    }
    let file = args.config.as_deref();
    let image = file.map(Packed::open).transpose()?.flatten();
    let mut config = guest.config_of(image.as_ref(), file, vcpus)?;
    // Alive until the VM has ended: it is what the guest's disk is of.
    let broker = image.as_ref().and_then(Packed::broker);
    let _handed = run_broker::hand(&args.broker, broker, args.policy.as_deref(), &mut config)?;
    let exchange = Exchange::of(&args.exchange, image.is_some_and(|image| image.seals()))?;
    config.disk.extend(exchange.as_ref().map(Exchange::disk));
    let raw_snp = config.snp.clone();
    let config = config.validate().map_err(|e| Failure::BadInput(e.to_string()))?;
    timeline.record("configuration");
    if config.protection == Protection::None {
        errln!(
            "casemate: warning: protection = \"none\": the host can read and change this guest's memory"
        );
    }
    let mut apart = files_apart(args, &config, raw_snp.as_ref(), log)
        .map_err(|e| Failure::BadInput(e.to_string()))?;
    if args.dry_run {
        let logged = args.log.place_and_key()?.is_some();
        return crate::dry_run::run(&config, args.policy.as_deref(), logged, args.json);
    }
    let results = exchange.as_ref().map(Exchange::file);
    let attended = start_and_attend(args, &config, (&mut timeline, &mut apart), log, results)?;
    match args.timeline {
        Some(TimelineFormat::Text) => errln!("{}", timeline.to_text().trim_end()),
        Some(TimelineFormat::Json) => errln!("{}", timeline.to_json()),
        None => {}
    }
    let collected = exchange.map_or(Ok(()), Exchange::collect);
    match (report(attended), collected) {
        (Ok(()), collected) => collected,
        // What was said of the console is no reason for what is wrong with the results.
        (Err(Failure::Status(READER_TOO_SLOW | READER_GONE | HOST_FAILED)), Err(lost)) => Err(lost),
        // How the guest ended says why there are none.
        (ended, _) => ended,
    }
}

/// Every file of a run, by what its user calls it, before any is opened to be written to: none of
/// those is another one of them.
fn files_apart(
    args: &RunArgs,
    config: &VmConfig,
    snp: Option<&RawSnp>,
    log: &Log,
) -> Result<Apart, SameFile> {
    let mut apart = Apart::default();
    if let Some(path) = &args.config {
        apart.read("the configuration file", path)?;
    }
    apart.read("`kernel`", &config.kernel)?;
    for path in &args.exchange.input {
        apart.read("--input", path)?;
    }
    let read = [
        ("`initrd`", config.initrd.as_ref()),
        ("--policy", args.policy.as_ref()),
        ("`snp.initdata`", snp.and_then(|snp| snp.initdata.as_ref())),
        ("`snp.id_block`", snp.and_then(|snp| snp.id_block.as_ref())),
        ("`snp.id_auth`", snp.and_then(|snp| snp.id_auth.as_ref())),
        ("`snp.certs`", snp.and_then(|snp| snp.certs.as_ref())),
    ];
    for (key, path) in read {
        path.map_or(Ok(()), |path| apart.read(key, path))?;
    }
    if let Some(log) = log.file() {
        apart.opened("--log-file", log)?;
    }
    args.log.apart(&mut apart)?;
    for disk in &config.disks {
        let key = format!("the disk `{}`", disk.name);
        if disk.read_only { apart.read(key, &disk.path) } else { apart.written(key, &disk.path) }?;
    }
    if let ConsoleTo::File(path) = &config.console.to {
        apart.written("`console`", path)?;
        apart.written(SET_ASIDE, &BoundedFile::set_aside_as(path))?;
    }
    Ok(apart)
}

/// What a user may call the file to which a full console file goes.
const SET_ASIDE: &str = "the file beside `console` whose name ends in .1";

fn start_and_attend(
    args: &RunArgs,
    config: &VmConfig,
    (timeline, apart): (&mut Timeline, &mut Apart),
    log: &Log,
    results: Option<BorrowedFd<'_>>,
) -> Result<Attended, Failure> {
    let logging = args.log.place_and_key()?;
    let logging = logging.map(|(file, key)| Logging { file, key, image: RECORDER });
    let prepared =
        vm::prepare(config, args.policy.as_deref(), logging, PROGRAMS).map_err(failure)?;
    // Until here a signal ends this program; from here on it ends the VM.
    let signals = Signals::take_over()
        .map_err(|e| Failure::Failed(format!("cannot take over signals: {e}")))?;
    // And nothing that only this program's messages go to may keep it from them.
    let words = attended::begin()
        .map_err(|e| Failure::Failed(format!("cannot open standard error: {e}")))?;
    let console = HostConsole::open(&config.console).map_err(|e| match e {
        ConsoleError::File { .. } => Failure::BadInput(e.to_string()),
        ConsoleError::Pty(_) | ConsoleError::Stdio(_) => Failure::Failed(e.to_string()),
    })?;
    // Again, of what was opened: a name may lead elsewhere by now.
    for (key, file) in ["`console`", SET_ASIDE].into_iter().zip(console.outside().files) {
        apart.opened(key, file).map_err(|e| Failure::BadInput(e.to_string()))?;
    }
    let vm = prepared.start().map_err(failure)?;
    let mut say = |text: &str| errln!("casemate: {text}");
    let messages = Messages { say: &mut say, to: words, log: log.fd(), results };
    Ok(attend(vm, console, &signals, timeline, config.grace, messages))
}

static VMM: Program = Program::new("casemate-vmm", include_bytes!(env!("CASEMATE_VMM_IMAGE")));
/// The programs of a VM's processes, which build.rs has built.
static PROGRAMS: vm::Programs<'_> = vm::Programs { vmm: &VMM, device: crate::device::PROGRAM };
static RECORDER: &[u8] = include_bytes!(env!("CASEMATE_RECORDER_IMAGE"));

const GUEST_FAILED: u8 = 3;
const ENDED_BY_USER: u8 = 4;
const READER_TOO_SLOW: u8 = 5;
const READER_GONE: u8 = 6;

/// Says how the VM ended, and sets the exit status. A loss of console bytes is always said; it
/// decides the status only of a run that would have succeeded.
fn report(attended: Attended) -> Outcome {
    let Attended { end, loss } = attended;
    if let Some(loss) = &loss {
        errln!("casemate: {loss}");
        event!(
            WARN,
            Vm,
            "bytes of the console are lost",
            bytes = loss.bytes,
            why = line(&loss.cause)
        );
    }
    match (outcome(end), loss.map(|loss| loss.cause)) {
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(Cause::TooSlow(_) | Cause::Ended)) => Err(Failure::Status(READER_TOO_SLOW)),
        (Ok(()), Some(Cause::ReaderGone)) => Err(Failure::Status(READER_GONE)),
        (Ok(()), Some(Cause::CannotWrite { .. })) => Err(Failure::Status(HOST_FAILED)),
        (failed, _) => failed,
    }
}

/// The host cannot write the console: what 1 says of every other failure of the host.
const HOST_FAILED: u8 = 1;
/// What the kernel sends when memory runs out.
const SIGKILL: i32 = Signal::KILL.as_raw();
/// What a device gets that touches a page which its guest does not share.
const SIGBUS: i32 = Signal::BUS.as_raw();

fn outcome(end: End) -> Outcome {
    let (status, text) = match end {
        End::Stopped(stop) if stop.is_success() => return Ok(()),
        End::Stopped(stop) if !stop.is_hosts_fault() => (GUEST_FAILED, stop.to_string()),
        End::Stopped(stop) => return Err(Failure::Failed(stop.to_string())),
        End::LaunchFailed(reason) => return Err(Failure::Failed(reason)),
        End::TimedOut(after) => {
            (GUEST_FAILED, format!("the guest did not end within {after:?} and was ended"))
        }
        End::PoweredOffAsAsked => (ENDED_BY_USER, "the guest switched itself off as asked".into()),
        End::GraceOver(after) => {
            let text =
                format!("the guest did not switch itself off within {after:?} and was ended");
            (ENDED_BY_USER, text)
        }
        End::Killed => (ENDED_BY_USER, "the VM was ended as asked".into()),
        End::ProcessDied { kind, how: Some(ProcessEnd::Signal(SIGKILL)) } => {
            return Err(Failure::Failed(format!(
                "the {kind} process was killed from outside (signal 9): most likely memory ran out, of the host or of \
                 this program's cgroup (`dmesg` says so); give the guest less (`memory`) or them more"
            )));
        }
        End::OutOfMemory { kind, ran_out } => {
            return Err(Failure::Failed(format!(
                "the {kind} process was killed by the kernel: {ran_out}; give it more, or the \
                 guest less (`memory`)"
            )));
        }
        // A device loads and stores through no other pointer that could be to a hole.
        End::ProcessDied { kind, how: Some(ProcessEnd::Signal(SIGBUS)) } if kind.is_device() => {
            let text = format!("the guest took back memory that its {kind} device was using");
            (GUEST_FAILED, text)
        }
        End::ProcessDied { kind, how } => {
            let how = how.map_or_else(|| "for an unknown reason".into(), |how| how.to_string());
            return Err(Failure::Failed(format!("the {kind} process ended without a word: {how}")));
        }
        End::DeviceFailed { kind, reason } => {
            return Err(Failure::Failed(format!("the {kind} process ended: {reason}")));
        }
        End::DeviceLost { device, why } if why.is_guests_fault() => {
            (GUEST_FAILED, format!("device {device}: {why}"))
        }
        End::DeviceLost { device, why } => {
            return Err(Failure::Failed(format!("device {device}: {why}; so the VM was ended")));
        }
        End::DeniedByPolicy { rule } => {
            let rule = rule.path();
            (GUEST_FAILED, format!("the guest went beyond the policy's `{rule}` and was ended"))
        }
        End::NotLogged { why, end } => {
            let text = format!("what the policy denies this VM cannot be logged: {why}");
            return match end {
                None => Err(Failure::Failed(format!("{text}; so the VM was ended"))),
                Some(end) => {
                    // What it would have been is said, too; the status is the log's.
                    if let Err(Failure::Failed(how) | Failure::BadInput(how)) = outcome(*end) {
                        errln!("casemate: {how}");
                    }
                    Err(Failure::Failed(text))
                }
            };
        }
        End::ProcessLied { kind, what } => {
            return Err(Failure::Failed(format!("the {kind} process was ended: {what}")));
        }
    };
    errln!("casemate: {text}");
    Err(Failure::Status(status))
}

#[cfg(test)]
mod tests {
    use super::{Attended, Cause, End, Failure, report};
    use casemate_console::Loss;
    use casemate_hypervisor::exits::Stop;
    use std::time::Duration;

    const OFF: End = End::Stopped(Stop::PowerOff { status: None });

    #[test]
    fn a_shape_is_a_number_an_x_and_a_size() {
        let shape = |text: &str| text.parse::<super::Shape>().map(|s| (s.vcpus, s.memory));
        assert_eq!(shape("2x4G"), Ok((2, "4G".to_owned())));
        for bad in ["", "x", "2", "2x", "x4G", "+2x4G", "2 x4G", "99999999999x1G"] {
            assert!(shape(bad).is_err(), "{bad}");
        }
    }

    fn status(end: End, cause: Option<Cause>) -> u8 {
        let loss = cause.map(|cause| Loss { cause, bytes: 1 });
        match report(Attended { end, loss }) {
            Ok(()) => 0,
            Err(Failure::Failed(_)) => 1,
            Err(Failure::BadInput(_)) => 2,
            Err(Failure::Status(status)) => status,
        }
    }

    /// Protects scripts: results come back by the console alone, so a run that lost a byte is no
    /// success, and a guest that failed stays one that failed.
    #[test]
    fn a_loss_is_no_success() {
        let full = || Cause::CannotWrite { to: "x".into(), error: std::io::Error::other("full") };
        let slow = || Cause::TooSlow(Duration::from_secs(1));
        assert_eq!(status(OFF, None), 0);
        assert_eq!(status(OFF, Some(full())), 1);
        assert_eq!(status(OFF, Some(slow())), 5);
        assert_eq!(status(OFF, Some(Cause::Ended)), 5);
        assert_eq!(status(OFF, Some(Cause::ReaderGone)), 6);
        let failed = End::Stopped(Stop::PowerOff { status: Some(7) });
        assert_eq!(status(failed, Some(slow())), 3);
        assert_eq!(status(End::Killed, Some(Cause::Ended)), 4);
        assert_eq!(status(End::GraceOver(Duration::from_secs(1)), None), 4);
    }
}
