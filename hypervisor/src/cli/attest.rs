//! `casemate attest`: verify, show and keep evidence of SEV-SNP guests.

use super::{
    Failure, Outcome, attest_certs, attest_replay, attest_report_data, attest_show, attest_table,
    attest_verify,
};
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
    Verify(Box<attest_verify::Verify>),
    /// Decode every field of a report. Proves nothing.
    Show(attest_show::Show),
    /// Keep certificates and revocation lists on disk.
    Certs(attest_certs::Certs),
    /// Make the certificate table that a host gives to its guests.
    Table(attest_table::Table),
    /// Judge evidence on record under your own terms.
    Replay(Box<attest_replay::Replay>),
    /// Print the REPORT_DATA of a purpose and a nonce.
    ReportData(attest_report_data::ReportData),
}

/// Runs the subcommand.
///
/// # Errors
/// [`Failure`] with the exit status.
pub fn run(attest: &Attest) -> Outcome {
    let outcome = match &attest.command {
        Command::Verify(verify) => attest_verify::run(verify),
        Command::Show(show) => attest_show::run(show),
        Command::Certs(certs) => attest_certs::run(certs),
        Command::Table(table) => attest_table::run(table),
        Command::Replay(replay) => attest_replay::run(replay),
        Command::ReportData(data) => attest_report_data::run(data),
    };
    outcome.map_err(Failure::on_one_line)
}
