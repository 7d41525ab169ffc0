//! What `casemate attest verify` wants of a report: the appraisal, the isolation policy,
//! REPORT_DATA; and the log of what the policy decided.

use crate::files::{keep_apart, read_file, write_file};
use crate::log_options::{self, LogOptions};
use crate::{Failure, Outcome};
use casemate_attestation::context::Context;
use casemate_attestation::document::Document;
use casemate_attestation::hex;
use casemate_attestation::record::Inputs;
use casemate_attestation::verify::{Demand, Verdict};
use casemate_policy::{Input, Point};
use clap::Args;
use std::path::{Path, PathBuf};

/// Options about what a report must say.
#[derive(Debug, Args)]
pub struct Wanted {
    /// What REPORT_DATA must be: 128 hexadecimal digits. Every value that is demanded, here, by
    /// --nonce or by the appraisal, must hold.
    #[arg(long, value_name = "HEX")]
    report_data: Option<String>,
    /// File whose 1 to 64 bytes, padded with zeros, REPORT_DATA must be (on Azure: the nonce of the
    /// vTPM's quote or, without a quote, the user data of the claims); with --context up to 64 KiB
    /// that it was made of.
    #[arg(long, value_name = "FILE")]
    nonce: Option<PathBuf>,
    /// What the report must have been made for: REPORT_DATA is that of `casemate attest
    /// report-data` for this label and the nonce.
    #[arg(long, value_name = "LABEL", requires = "nonce")]
    context: Option<String>,
    /// What the report must say: an isolation policy (it has `schema_version`; its section
    /// `attestation` decides) or an appraisal (TOML with at least one rule); without it VMPL 0,
    /// debug off, migration off.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    log: LogOptions,
    /// Write what a verified report shows as an input for `casemate policy explain` and `why-not`.
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
}

/// Puts what the document at this path demands into the inputs.
pub(crate) fn document(path: &Path, inputs: &mut Inputs) -> Outcome {
    let text = String::from_utf8(read_file(path)?)
        .map_err(|_| Failure::BadInput(format!("{}: not text", path.display())))?;
    let name = path.display().to_string();
    match Document::read(&text, &name)
        .map_err(|error| Failure::BadInput(format!("{name}: {error}")))?
    {
        Document::Isolation(policy) => inputs.policy = Some(policy),
        Document::Appraisal(appraisal) => inputs.appraisal = *appraisal,
    }
    Ok(())
}

/// Puts what is wanted into the inputs of the verification.
pub(super) fn gather(args: &Wanted, inputs: &mut Inputs) -> Outcome {
    if let Some(path) = &args.policy {
        document(path, inputs)?;
    }
    if args.log.decision_log.is_some() && inputs.policy.is_none() {
        let message = "--decision-log: an appraisal makes no decision of an isolation policy";
        return Err(Failure::BadInput(message.into()));
    }
    report_data(args, inputs)
}

fn report_data(args: &Wanted, inputs: &mut Inputs) -> Outcome {
    if let Some(text) = &args.report_data {
        let bytes = hex::from_people(text).and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        let bytes = bytes.ok_or_else(|| {
            Failure::BadInput("--report-data: not 64 bytes of hexadecimal".to_owned())
        })?;
        inputs.report_data.push(Demand { by: "--report-data".to_owned(), value: bytes });
    }
    let Some(path) = &args.nonce else { return Ok(()) };
    let mut nonce = read_file(path)?;
    if let Some(label) = &args.context {
        inputs.context = Some(context(label, nonce, path)?);
        return Ok(());
    }
    if nonce.is_empty() || nonce.len() > 64 {
        let fault = format!("{}: a nonce has 1 to 64 bytes", path.display());
        return Err(Failure::BadInput(fault));
    }
    nonce.resize(64, 0);
    let value = nonce.try_into().map_err(|_| Failure::BadInput("--nonce: not 64 bytes".into()))?;
    inputs.report_data.push(Demand { by: "--nonce".to_owned(), value });
    Ok(())
}

/// A context that has a REPORT_DATA.
pub(super) fn context(label: &str, nonce: Vec<u8>, path: &Path) -> Result<Context, Failure> {
    let context = Context { label: label.to_owned(), nonce };
    if context.report_data().is_none() {
        let path = path.display();
        let fault = format!(
            "--context {label:?}, {path}: a label has 1 to 255 bytes, its nonce 1 byte to 64 KiB"
        );
        return Err(Failure::BadInput(fault));
    }
    Ok(context)
}

/// Refuses a decision log that is another of this command's files, once all that it reads is read
/// and before it writes anything.
pub(super) fn keep_log_apart(args: &Wanted) -> Outcome {
    keep_apart(|used| args.log.apart(used))
}

/// Logs what the isolation policy decided and writes the facts, when asked for.
///
/// # Errors
/// When the log cannot be written: then nothing may rely on the verdict.
pub(super) fn log(args: &Wanted, verdict: &Verdict) -> Outcome {
    let Some(made) = verdict.policy() else { return Ok(()) };
    if let Some(path) = &args.facts {
        let input = Input { point: Some(Point::Attestation), facts: made.facts.clone() };
        write_file(path, format!("{}\n", input.to_json()).as_bytes())?;
    }
    let Some(file) = args.log.file()? else { return Ok(()) };
    let mut log = log_options::open(file)?;
    log.decision(made.policy, Point::Attestation, &made.facts, &made.decision)
        .and_then(|()| log.close())
        .map_err(|error| Failure::Failed(error.to_string()))
}
