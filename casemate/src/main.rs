//! The command line: one file per subcommand.
//!
//! A subcommand is a `clap::Args` struct and a `run` function that returns [`Outcome`]. It prints
//! its result to stdout; a failure is one line on stderr, printed here, and an exit status: 0
//! success, 1 the thing failed or was refused, 2 bad use or bad input, 3 the guest failed or, of
//! `attest verify` and `replay`, the evidence is authentic and not accepted.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod attest;
#[cfg(feature = "vm")]
mod boot_code;
#[cfg(feature = "vm")]
mod device;
mod diagnostics;
mod files;
mod guest_flags;
#[cfg(test)]
mod help_tests;
#[cfg(feature = "vm")]
mod host;
#[cfg(feature = "image")]
mod image;
mod log;
mod log_options;
mod log_read;
mod log_replay;
mod measure;
mod numbers;
mod out;
#[cfg(feature = "vm")]
mod packed;
mod policy;
#[cfg(feature = "vm")]
mod run;
#[cfg(feature = "vm")]
mod sandbox;
#[cfg(feature = "vm")]
mod sandbox_check;
#[cfg(feature = "vm")]
mod vms;

use casemate_diagnostics::event;
use clap::{Parser, Subcommand};
use out::errln;
use std::process::ExitCode;
use std::sync::Arc;

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
    /// Verify, show and keep evidence of SEV-SNP guests.
    Attest(attest::Attest),
    /// Compute the launch digest that a guest must report.
    Measure(Box<measure::Measure>),
    #[cfg(feature = "vm")]
    BootCode(boot_code::BootCodeArgs),
    #[cfg(feature = "image")]
    Image(image::ImageArgs),
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
fn parse(words: impl Iterator<Item = std::ffi::OsString>) -> Result<Cli, clap::Error> {
    let words: Vec<_> = words.collect();
    #[cfg(feature = "vm")]
    if words.get(1).is_some_and(|first| first == "run") {
        let RunCli { command: RunCommand::Run(args), log } = RunCli::try_parse_from(words)?;
        return Ok(Cli { command: Command::Run(args), log });
    }
    Cli::try_parse_from(words)
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
            Self::Attest(_) => "attest",
            Self::Measure(_) => "measure",
            #[cfg(feature = "vm")]
            Self::BootCode(_) => "boot-code",
            #[cfg(feature = "image")]
            Self::Image(_) => "image",
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
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(e) => {
            if e.use_stderr() {
                // It repeats arguments, which a pattern of the shell may have taken from file
                // names.
                out::write_error(format_args!("{}", e.render()));
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
