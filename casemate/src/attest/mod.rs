//! `casemate attest`: verify, show and keep evidence of SEV-SNP guests.

mod certs;
mod fetch;
mod policy;
mod print;
mod replay;
mod report_data;
mod show;
mod table;
mod terms;
mod verify;

use crate::{Failure, Outcome};
use clap::{Args, Subcommand};

/// Verify, show and keep evidence of SEV-SNP guests.
#[derive(Debug, Args)]
pub struct Attest {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify a report and its certificate chain; appraise what it says.
    Verify(Box<verify::Verify>),
    /// Decode every field of a report. Proves nothing.
    Show(show::Show),
    /// Keep certificates and revocation lists on disk.
    Certs(certs::Certs),
    /// Make the certificate table that a host gives to its guests.
    Table(table::Table),
    /// Judge evidence on record under your own terms.
    Replay(Box<replay::Replay>),
    /// Print the REPORT_DATA of a purpose and a nonce.
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
