//! `casemate run`: start a VM and stay with it until it ends.

use crate::diagnostics::Log;
use crate::guest_flags::GuestFlags;
use crate::log_options::LogOptions;
use crate::out::{attended, errln};
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
use casemate_sandbox::Exit as ProcessEnd;
use clap::{Args, ValueEnum};
use rustix::process::Signal;
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
    /// Print when each step of the boot happened, to stderr
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "text", require_equals = true)]
    timeline: Option<TimelineFormat>,
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
  0  the guest switched itself off, says nothing of a failure, and its whole
     console was written
  1  the host failed: KVM, the sandbox, this program, a console that cannot be
     written (full disk)
  2  bad use, configuration or input; no guest was started
  3  the guest failed: its workload, a reset, a panic, a triple fault, a
     refusal of its boot code or PID 1, or a time-out
  4  ended by the user: the guest switched itself off as asked, or was ended
  5  the guest succeeded, but console bytes were lost: nobody took any for
     --console-wait
  6  the guest succeeded, but console bytes were lost: their reader closed its
     end (a pipe)
What 0 and 3 say of the workload is the guest's word.

Ending a VM:
  Ctrl-C, SIGTERM and SIGHUP press the power button; a guest that has not
  switched itself off after --grace is ended. A second one of these signals,
  or SIGQUIT (Ctrl-\\), ends it at once.

Console:
  stdio      standard input and output. A terminal gets text, colours and
             cursor movement only: nothing that sets its clipboard or title,
             or makes it answer. Files and pipes get every byte
  raw        the same, but a terminal gets every byte, too: full-screen
             programs need it
  file:PATH  appended to; at --console-limit it is set aside as PATH.1, in
             place of the one before. No input
  pty        a new pseudo-terminal, whose name is printed; its reader gets
             every byte
  Output that is not read holds the guest back; after --console-wait it is
  lost, which is said at once, and the exit status is 5. At a terminal Ctrl-A
  x ends the VM, Ctrl-A h lists more keys; Ctrl-Z stops this program.

Foreign devices:
  A vhost-user back end of another project, such as qemu-storage-daemon, that
  listens already. It is none of this program's processes: nothing here locks
  it or ends it, and it gets the guest's memory: all of it, or of a
  confidential guest what that shares, and there it can make the host hold
  pages that the guest does not use. The policy decides on it by
  `devices.*.foreign`, and the default one of confidential guests forbids it.
  Its size and whether it writes are its own word: `devices.block.read_only`,
  `resources.disk_mib` and `resources.disk_total_mib` take it for a disk that
  is written and of no known size.

Configuration file (what a comment calls the default may be left out):
  name = \"demo\"                  # default: vm-, 8 random digits
  kernel = \"vmlinuz\"             # paths are relative to the file
  initrd = \"initrd.img\"          # default: none
  cmdline = \"console=ttyS0 reboot=acpi panic=-1\"  # the default
  vcpus = 1                      # 1 to 64; the default
  memory = \"256M\"                # the default; or \"2G\"
  console = \"stdio\"              # the default; or \"raw\", \"pty\",
                                 #   { file = \"console.log\" }
  console_wait = \"5m\"            # the default; or \"forever\"
  console_limit = \"64M\"          # of a console file; the default
  escape = \"ctrl-a\"              # the default; or another key, or \"none\"
  timeout = \"10m\"                # default: none
  grace = \"15s\"                  # after the power button; the default
  protection = \"none\"            # or \"sev-snp\"; there is no default

  [[disk]]                       # each a locked process; the guest has virtio
                                 #   disks in this order. Default: none
  path = \"disk.img\"              # a raw image, or a block device
  name = \"root\"                  # in messages; default: disk0, disk1, …
  serial = \"R1\"                  # /dev/disk/by-id/virtio-R1 in the guest
  read_only = false              # the default
  direct = false                 # past the host's page cache; the default
  queues = 1                     # each a thread of its process; at most one
                                 #   for each vCPU, and 16; the default
  standby = true                 # another process goes on, once, when the
                                 #   disk's is killed or hangs; the default
  on_device_death = \"stop\"       # when none goes on; the default; or
                                 #   \"keep\": the guest runs without it

  [[vhost_user]]                 # a device that another program serves, see
                                 #   Foreign devices. Default: none
  socket = \"data.sock\"           # where it listens
  kind = \"block\"                 # the one kind that there is
  name = \"data\"                  # in messages; default: vhost_user0, …
  queues = 1                     # the default

  [vsock]                        # streams to sockets of this host, by a
                                 #   locked process. Default: none
  cid = 3                        # the guest's context id; the default
  path = \"vm.sock\"             # made here: who connects and says `CONNECT
                                 #   PORT` reaches the guest's port
  ports = [52]                   # the guest reaches who listens at
                                 #   vm.sock_52, and no other; default: none
  [[vsock.forward]]              # a socket for one port of the guest,
  port = 22                      #   without a word before; in the same
  path = \"ssh.sock\"            #   folder

  [rng]                          # /dev/hwrng: random numbers of this host, by
                                 #   a locked process. Default: none
  trust_host = false             # the default; a confidential guest has the
                                 #   device only with true: the host can
                                 #   know each number

  [sandbox]
  optional = []                  # layers of the lock that this host may lack:
                                 #   `casemate host` names them

  [snp]                          # with protection = \"sev-snp\" only
  policy = 0x30000               # guest policy; the default
  host_data = \"…\"                # 64 hexadecimal digits, in every report
  expect_digest = \"…\"            # 96 hexadecimal digits: what `casemate
                                 #   measure` printed; another is refused
  id_block = \"id-block.bin\"      # signed launch digest, 96 bytes
  id_auth = \"id-auth.bin\"        # its signature and keys, 4096 bytes
  author_key_enabled = false     # whether id_auth has an author key, too
  vcek_disabled = false          # reports may not be signed by the VCEK
  vmsa_features = 0              # bits 5 (debug swap), 9 (secure TSC)
  certs = \"certs.bin\"            # for extended requests (Linux 7.0 and
                                 #   later): `casemate attest table`
  c_bit = 51                     # the default, of every EPYC

Examples:
  casemate run vm.toml
  casemate run vm.toml --memory 1G --timeline
  casemate run app.img/ --shape 1x256M --protection none
  casemate run --protection none --kernel vmlinuz --initrd initrd.img \\
      --cmdline \"console=ttyS0 reboot=acpi panic=-1\"
  casemate run vm.toml --disk path=root.img,ro --disk path=data.img,serial=D
  casemate run vm.toml --vsock path=vm.sock,ports=52+53 \\
      --vsock-forward port=22,path=ssh.sock

  A confidential guest, whose launch digest was computed elsewhere:
  casemate run --protection sev-snp --kernel vmlinuz --initrd initrd.img \\
      --expect-digest \"$(cat digest)\"

  Under a policy, with a log of what it decided that cannot be edited unseen:
  casemate policy init policy.toml
  casemate log key log.key
  casemate run vm.toml --policy policy.toml \\
      --decision-log log.jsonl --log-key log.key
";

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
    let config = guest.config(args.config.as_deref(), vcpus)?;
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
    let attended = start_and_attend(args, &config, (&mut timeline, &mut apart), log)?;
    match args.timeline {
        Some(TimelineFormat::Text) => errln!("{}", timeline.to_text().trim_end()),
        Some(TimelineFormat::Json) => errln!("{}", timeline.to_json()),
        None => {}
    }
    report(attended)
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
    let read = [
        ("`initrd`", config.initrd.as_ref()),
        ("--policy", args.policy.as_ref()),
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
) -> Result<Attended, Failure> {
    let failure = |e: vm::VmError| {
        if e.is_bad_input() {
            Failure::BadInput(e.to_string())
        } else {
            Failure::Failed(e.to_string())
        }
    };
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
    let messages = Messages { say: &mut say, to: words, log: log.fd() };
    Ok(attend(vm, console, &signals, timeline, config.grace, messages))
}

/// The programs of a VM's processes, which build.rs has built.
const PROGRAMS: vm::Programs<'_> = vm::Programs {
    vmm: include_bytes!(env!("CASEMATE_VMM_IMAGE")),
    device: crate::device::PROGRAM,
};
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
            (GUEST_FAILED, format!("disk {device}: {why}"))
        }
        End::DeviceLost { device, why } => {
            return Err(Failure::Failed(format!("disk {device}: {why}; so the VM was ended")));
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
