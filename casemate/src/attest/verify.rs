//! `casemate attest verify`: every check of a report, and a verdict.

use super::outcome::Telling;
use super::print;
use super::terms::Terms;
use crate::files::{print_json, read_file, write_file};
use crate::{Failure, Outcome};
use casemate_attestation::cert::{Object, objects_in};
use casemate_attestation::evidence::{Evidence, EvidenceError, Form, veks_in};
use casemate_attestation::record::{Inputs, Record};
use clap::Args;
use std::path::{Path, PathBuf};

/// Verify a report and its certificate chain; appraise what it says.
///
/// Exit status: 0 ACCEPTED, 1 REFUSED, 2 bad use or bad input, 3 AUTHENTIC: signature and chain
/// hold, but the line "not proven" names what no rule demanded or no list showed (measurement or
/// signer, freshness, revocation, TCB floor).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate attest verify report.bin --cert vcek.der --crl milan.crl
  casemate attest verify report.bin --certs-dir certs --nonce nonce.bin \\
      --policy policy.toml --decision-log log.jsonl
  casemate attest verify evidence.json --certs-dir certs --record record.json
")]
pub struct Verify {
    /// Report (1184 bytes; `-` for standard input), extended report, configfs-tsm outblob or JSON
    /// pair, Azure HCL blob, go-sev-guest attestation, or JSON of Confidential Containers:
    /// SnpEvidence, az-snp-vtpm evidence of version 0, 1 or 2, a request to the attestation
    /// service. Each also in hexadecimal or base64.
    report: PathBuf,
    /// VCEK or VLEK certificate, DER or PEM; tried before those that the evidence carries and the
    /// store has.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Certificate table that belongs to the report (configfs-tsm auxblob).
    #[arg(long, value_name = "FILE")]
    aux: Option<PathBuf>,
    #[command(flatten)]
    terms: Terms,
    /// Write an evidence record that can be replayed.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    told: Telling,
}

pub(super) fn run(args: &Verify) -> Outcome {
    let (inputs, form) = match gather(args) {
        // Evidence that cannot be read is refused, in the form that was asked for.
        Err(Failure::Failed(why)) if args.told.json => {
            let told = why.strip_prefix("refused: ").unwrap_or(&why);
            print_json(&print::unreadable(told, args.terms.at()?));
            return Err(Failure::Failed(why));
        }
        gathered => gathered?,
    };
    let verdict = inputs.verify().map_err(|error| Failure::BadInput(error.to_string()))?;
    if let Some(path) = &args.record {
        let record = Record::new(&inputs, &verdict)
            .and_then(|record| serde_json::to_vec_pretty(&record))
            .map_err(|error| Failure::Failed(error.to_string()))?;
        write_file(path, &record)?;
    }
    args.terms.conclude(&verdict, args.told, form, &inputs)
}

fn gather(args: &Verify) -> Result<(Inputs, &'static str), Failure> {
    let bytes = read_file(&args.report)?;
    let mut evidence = match Evidence::read(&bytes) {
        Ok(evidence) => evidence,
        // Neither form: the verifier refuses it for its length, with all that goes with a verdict.
        Err(EvidenceError::UnknownForm(_)) => Evidence::of_report(Form::Raw, &bytes),
        Err(error) => return Err(refused(&error)),
    };
    if let Some(path) = &args.aux {
        evidence = evidence.with_table(&read_file(path)?).map_err(|error| refused(&error))?;
    }
    let given = args.cert.as_deref().map(certificates).transpose()?.unwrap_or_default();
    let mut inputs = args.terms.inputs()?;
    args.terms.complete(&mut inputs, &given, &evidence)?;
    Ok((inputs, evidence.form.name()))
}

/// The endorsement certificates of a file. One that holds none goes to the verifier as it is, which
/// says why it refuses it; but for lists, which are at the wrong option.
fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = read_file(path)?;
    let only_lists = objects_in(&bytes)
        .is_ok_and(|all| all.iter().all(|object| matches!(object, Object::Crl(_))));
    if only_lists {
        let text = "a revocation list, not a certificate; give it with --crl";
        return Err(Failure::BadInput(format!("{}: {text}", path.display())));
    }
    Ok(veks_in(&bytes))
}

fn refused(error: &EvidenceError) -> Failure {
    Failure::Failed(format!("refused: {error}"))
}
