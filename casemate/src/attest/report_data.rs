//! `casemate attest report-data`: the REPORT_DATA that a guest must ask for.

use super::policy::context;
use crate::files::read_file;
use crate::out::outln;
use crate::{Failure, Outcome};
use clap::Args;
use std::path::PathBuf;

/// Print the REPORT_DATA of a purpose and a nonce, for `verify --context LABEL --nonce FILE`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate attest report-data --context my-service --nonce nonce.bin
")]
pub struct ReportData {
    /// What the report is made for, 1 to 255 bytes.
    #[arg(long, value_name = "LABEL")]
    context: String,
    /// File with the verifier's nonce, 1 byte to 64 KiB.
    #[arg(long, value_name = "FILE")]
    nonce: PathBuf,
}

pub(super) fn run(args: &ReportData) -> Outcome {
    let context = context(&args.context, read_file(&args.nonce)?, &args.nonce)?;
    let data = context
        .report_data()
        .ok_or_else(|| Failure::BadInput("no label or nonce to make report data of".into()))?;
    outln!("{}", casemate_attestation::hex::encode(&data));
    Ok(())
}
