//! The command line: one file per subcommand.
//!
//! A subcommand is a `clap::Args` struct and a `run` function that returns [`Outcome`]. It prints
//! its result to stdout; a failure is one line on stderr, printed here, and an exit status: 0
//! success, 1 the thing failed or was refused, 2 bad use or bad input, 3 the guest failed or, of
//! `attest verify` and `replay`, the evidence is authentic and not accepted.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod attest;
#[cfg(feature = "vm")]
mod audit;
#[cfg(feature = "vm")]
mod boot_code;
#[cfg(feature = "containerd")]
mod containerd;
#[cfg(feature = "vm")]
mod device;
mod diagnostics;
#[cfg(feature = "vm")]
mod dry_run;
#[cfg(feature = "vm")]
mod exchange;
mod files;
mod guest_flags;
#[cfg(test)]
mod help_tests;
#[cfg(feature = "vm")]
mod host;
mod html;
#[cfg(feature = "image")]
mod image;
#[cfg(feature = "broker")]
mod kbs;
#[cfg(feature = "image")]
mod layer;
mod log;
mod log_options;
mod log_read;
mod log_replay;
mod measure;
#[cfg(feature = "vm")]
mod not_started;
mod numbers;
mod open;
mod out;
#[cfg(feature = "vm")]
mod packed;
#[cfg(test)]
mod pages;
#[cfg(feature = "pod")]
mod pod;
mod policy;
mod result_key;
#[cfg(feature = "vm")]
mod run;
#[cfg(feature = "vm")]
mod run_broker;
#[cfg(feature = "vm")]
mod run_help;
mod run_inputs;
#[cfg(feature = "vm")]
mod sandbox;
#[cfg(feature = "vm")]
mod sandbox_check;
mod signing;
#[cfg(feature = "vm")]
mod vms;

use casemate_diagnostics::event;
#[cfg(feature = "vm")]
use casemate_sandbox::Heap;
use clap::{Parser, Subcommand};
use out::errln;
use std::process::ExitCode;
use std::sync::Arc;

/// What the supervisor has locked must not grow, which glibc's malloc can be told and musl's
/// cannot: so the program has the heap of its images, whatever it is linked with.
#[cfg(feature = "vm")]
#[global_allocator]
static HEAP: Heap = Heap::new();

/// Why a subcommand did not succeed; decides the exit status.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Bad use or bad input: exit status 2.
    #[error("{0}")]
    BadInput(String),
    /// The operation failed, or its answer is "no": exit status 1.
    #[error("{0}")]
    Failed(String),
    /// Already reported on stdout; only the exit status is left to set.
    #[error("exit status {0}")]
    Status(u8),
}

impl Failure {
    /// The same with a message that is one bounded line, whatever evidence, records and documents
    /// put into it.
    fn on_one_line(self) -> Self {
        let line = |text: String| casemate_foreign_text::line(text).to_string();
        match self {
            Self::BadInput(text) => Self::BadInput(line(text)),
            Self::Failed(text) => Self::Failed(line(text)),
            Self::Status(status) => Self::Status(status),
        }
    }
}

/// What a subcommand returns.
pub type Outcome = Result<(), Failure>;

/// Casemate, a small KVM hypervisor for SEV-SNP confidential VMs.
#[derive(Debug, Parser)]
#[command(name = "casemate", version, arg_required_else_help = true, after_help = EXAMPLES)]
// Narrower than any terminal that is split in two; what is written by hand keeps to it, too.
#[command(max_term_width = 78)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: diagnostics::LogFlags,
}

const EXAMPLES: &str = "\
Examples:
  casemate host                            what this machine can do
  casemate run vm.toml                     see `casemate run --help`
  casemate ps                              the running VMs of this user
  casemate measure vm.toml --explain       the launch digest it will have
  casemate attest verify report.bin --cert vcek.der
  casemate policy init policy.toml         a strict policy to start from
  casemate image root app.tar -o root.img  a read-only disk of a workload
";

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "vm")]
    Host(host::HostArgs),
    #[cfg(feature = "vm")]
    Run(Box<run::RunArgs>),
    #[cfg(feature = "vm")]
    Ps(vms::PsArgs),
    #[cfg(feature = "vm")]
    Inspect(vms::InspectArgs),
    #[cfg(feature = "vm")]
    Stop(vms::StopArgs),
    #[cfg(feature = "vm")]
    Logs(vms::LogsArgs),
    #[cfg(feature = "vm")]
    Limit(vms::LimitArgs),
    #[cfg(feature = "vm")]
    Sandbox(sandbox::SandboxArgs),
    #[cfg(feature = "vm")]
    Device(device::DeviceArgs),
    #[cfg(feature = "vm")]
    Audit(audit::AuditArgs),
    /// Verify, show and keep evidence of SEV-SNP guests.
    Attest(attest::Attest),
    /// Compute the launch digest that a guest must report.
    Measure(Box<measure::Measure>),
    #[cfg(feature = "vm")]
    BootCode(boot_code::BootCodeArgs),
    #[cfg(feature = "image")]
    Image(image::ImageArgs),
    #[cfg(feature = "image")]
    Layer(layer::LayerArgs),
    #[cfg(feature = "broker")]
    Kbs(kbs::KbsArgs),
    Open(Box<open::Open>),
    ResultKey(result_key::ResultKey),
    #[cfg(feature = "pod")]
    Pod(pod::PodArgs),
    Policy(policy::PolicyArgs),
    Log(log::LogArgs),
}

/// The same with `run` alone.
#[cfg(feature = "vm")]
#[derive(Debug, Parser)]
#[command(name = "casemate", version, max_term_width = 78)]
struct RunCli {
    #[command(subcommand)]
    command: RunCommand,
    #[command(flatten)]
    log: diagnostics::LogFlags,
}

#[cfg(feature = "vm")]
#[derive(Debug, Subcommand)]
enum RunCommand {
    Run(Box<run::RunArgs>),
}

/// Reads a command line.
///
/// To describe every subcommand to clap takes 0.3 ms of a start of 6, and of all of them only `run`
/// is waited for with a guest: so it alone is described when it is what was written first.
fn parse(words: Vec<std::ffi::OsString>) -> Result<Cli, clap::Error> {
    #[cfg(feature = "vm")]
    if is_run(&words) {
        let RunCli { command: RunCommand::Run(args), log } = RunCli::try_parse_from(words)?;
        return Ok(Cli { command: Command::Run(args), log });
    }
    Cli::try_parse_from(words)
}

/// Whether a VM is to be run.
#[cfg(feature = "vm")]
fn is_run(words: &[std::ffi::OsString]) -> bool {
    // A dry run starts nothing. Where the word is something else's value, a start is slower.
    words.get(1).is_some_and(|first| first == "run") && words.iter().all(|w| w != "--dry-run")
}

/// Says what is wrong with the command line.
///
/// It repeats arguments, which a pattern of the shell may have taken from file names, and has lines
/// of its own, so that a line feed in an argument could not be told from those any more. So the
/// arguments are made fit first and read again: what is wrong with them still is, and where it is
/// not, the whole message is one line.
fn write_misuse(error: &clap::Error) {
    let fit = |word: std::ffi::OsString| {
        casemate_foreign_text::line(word.to_string_lossy()).to_string().into()
    };
    match parse(std::env::args_os().map(fit).collect()) {
        Err(again) if again.use_stderr() => out::write_error(format_args!("{}", again.render())),
        _ => errln!("{}", casemate_foreign_text::line(error.render())),
    }
}

impl Command {
    const fn name(&self) -> &'static str {
        match self {
            #[cfg(feature = "vm")]
            Self::Host(_) => "host",
            #[cfg(feature = "vm")]
            Self::Run(_) => "run",
            #[cfg(feature = "vm")]
            Self::Ps(_) => "ps",
            #[cfg(feature = "vm")]
            Self::Inspect(_) => "inspect",
            #[cfg(feature = "vm")]
            Self::Stop(_) => "stop",
            #[cfg(feature = "vm")]
            Self::Logs(_) => "logs",
            #[cfg(feature = "vm")]
            Self::Limit(_) => "limit",
            #[cfg(feature = "vm")]
            Self::Sandbox(_) => "sandbox",
            #[cfg(feature = "vm")]
            Self::Device(_) => "device",
            #[cfg(feature = "vm")]
            Self::Audit(_) => "audit",
            Self::Attest(_) => "attest",
            Self::Measure(_) => "measure",
            #[cfg(feature = "vm")]
            Self::BootCode(_) => "boot-code",
            #[cfg(feature = "image")]
            Self::Image(_) => "image",
            #[cfg(feature = "image")]
            Self::Layer(_) => "layer",
            #[cfg(feature = "broker")]
            Self::Kbs(_) => "kbs",
            Self::Open(_) => "open",
            Self::ResultKey(_) => "result-key",
            #[cfg(feature = "pod")]
            Self::Pod(_) => "pod",
            Self::Policy(_) => "policy",
            Self::Log(_) => "log",
        }
    }
}

/// Parses the command line, runs the subcommand, reports its failure.
fn main() -> ExitCode {
    // A file that grows beyond `ulimit -f` is an error with words, not the end of the process by
    // SIGXFSZ: a handler, whatever it does, makes the write return EFBIG. Without one nothing is
    // lost but the words.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let words: Vec<_> = std::env::args_os().collect();
    #[cfg(feature = "containerd")]
    if containerd::is_called(&words) {
        return report(containerd::run(&words));
    }
    // Reading them takes as long as that.
    #[cfg(feature = "vm")]
    let _begun = is_run(&words).then(run::begin);
    let cli = match parse(words) {
        Ok(cli) => cli,
        Err(e) => {
            if e.use_stderr() {
                write_misuse(&e);
                return ExitCode::from(2);
            }
            let _ = e.print();
            return ExitCode::SUCCESS;
        }
    };
    let log = match cli.log.begin() {
        Ok(log) => log,
        Err(failure) => return report(Err(failure)),
    };
    #[cfg(not(feature = "vm"))]
    let _ = &log;
    event!(
        DEBUG,
        Program,
        "a command begins",
        version = env!("CARGO_PKG_VERSION"),
        command = cli.command.name()
    );
    report(match &cli.command {
        #[cfg(feature = "vm")]
        Command::Host(args) => host::run(args),
        #[cfg(feature = "vm")]
        Command::Audit(args) => audit::run(args),
        Command::Attest(attest) => attest::run(attest),
        Command::Measure(measure) => measure::run(measure),
        #[cfg(feature = "vm")]
        Command::Run(args) => run::run(args, &log),
        #[cfg(feature = "vm")]
        Command::Ps(args) => vms::ps(args),
        #[cfg(feature = "vm")]
        Command::Inspect(args) => vms::inspect(args),
        #[cfg(feature = "vm")]
        Command::Stop(args) => vms::stop(args),
        #[cfg(feature = "vm")]
        Command::Logs(args) => vms::logs(args),
        #[cfg(feature = "vm")]
        Command::Limit(args) => vms::limit(args),
        #[cfg(feature = "vm")]
        Command::Sandbox(args) => sandbox::run(args),
        #[cfg(feature = "vm")]
        Command::Device(args) => device::run(args),
        #[cfg(feature = "vm")]
        Command::BootCode(args) => boot_code::run(args),
        #[cfg(feature = "image")]
        Command::Image(args) => image::run(args),
        #[cfg(feature = "image")]
        Command::Layer(args) => layer::run(args),
        #[cfg(feature = "broker")]
        Command::Kbs(args) => kbs::run(args, &log),
        Command::Open(args) => open::run(args),
        Command::ResultKey(args) => result_key::run(args),
        #[cfg(feature = "pod")]
        Command::Pod(args) => pod::run(args),
        Command::Policy(args) => policy::run(args),
        Command::Log(args) => log::run(args),
    })
}

fn report(outcome: Outcome) -> ExitCode {
    let status = match outcome.and_then(|()| out::finish()) {
        Ok(()) => 0,
        Err(Failure::Status(status)) => status,
        Err(failure) => {
            errln!("casemate: {failure}");
            // Why is for the user: a message may quote a configuration, in which there are secrets.
            event!(ERROR, Program, "the command has failed: standard error says why");
            if matches!(failure, Failure::BadInput(_)) { 2 } else { 1 }
        }
    };
    #[cfg(feature = "vm")]
    out::attended::finish();
    event!(DEBUG, Program, "the command ends", status = status);
    ExitCode::from(status)
}
