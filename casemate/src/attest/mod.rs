//! `casemate attest`: verify, show and keep evidence of SEV-SNP guests.

mod certs;
mod fetch;
pub(crate) mod outcome;
pub(crate) mod policy;
pub(crate) mod print;
mod replay;
mod report_data;
mod show;
mod table;
mod terms;
pub(crate) mod trust;
pub(crate) mod verify;

use crate::{Failure, Outcome};
use clap::{Args, Subcommand};

/// Verify, show and keep evidence of SEV-SNP guests.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate attest verify report.bin --cert vcek.der
  casemate attest verify report.bin --certs-dir certs --policy policy.toml
  casemate attest show report.bin
")]
pub struct Attest {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // Without doc comments: these would hide what each struct says of itself, exit statuses
    // included.
    Verify(Box<verify::Verify>),
    Show(show::Show),
    Certs(certs::Certs),
    Table(table::Table),
    Replay(Box<replay::Replay>),
    ReportData(report_data::ReportData),
}

/// Runs the subcommand.
///
/// # Errors
/// [`crate::Failure`] with the exit status.
pub fn run(attest: &Attest) -> Outcome {
    let outcome = match &attest.command {
        Command::Verify(verify) => verify::run(verify),
        Command::Show(show) => show::run(show),
        Command::Certs(certs) => certs::run(certs),
        Command::Table(table) => table::run(table),
        Command::Replay(replay) => replay::run(replay),
        Command::ReportData(data) => report_data::run(data),
    };
    outcome.map_err(Failure::on_one_line)
}
