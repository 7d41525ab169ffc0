//! `casemate attest verify`: every check of a report, and a verdict.

use super::outcome::Telling;
use super::print;
use super::show;
use super::terms::Terms;
use crate::files::{print_json, read_file, write_file};
use crate::{Failure, Outcome};
use casemate_attestation::cert::{Object, objects_in};
use casemate_attestation::ear;
use casemate_attestation::evidence::{Evidence, EvidenceError, Form, veks_in};
use casemate_attestation::idblock::OwnerKey;
use casemate_attestation::record::{Inputs, Record};
use casemate_attestation::time::now;
use casemate_attestation::verify::Seen;
use clap::Args;
use serde_json::Value;
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
  casemate attest verify report.bin --certs-dir certs --nonce nonce.bin \\
      --policy policy.toml --ear result.jwt --ear-key ear.pem
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
    /// Write the verdict as an EAT Attestation Result (draft-ietf-rats-ear-04), a JWT signed with
    /// ES384: status "affirming" for ACCEPTED, "warning" for AUTHENTIC, "contraindicated" for
    /// REFUSED, and for a MODEL or a guest that may be debugged.
    #[arg(long, value_name = "FILE", requires = "ear_key")]
    ear: Option<PathBuf>,
    /// P-384 key that signs it, PEM or DER.
    #[arg(long, value_name = "FILE", requires = "ear")]
    ear_key: Option<PathBuf>,
    #[command(flatten)]
    told: Telling,
}

pub(super) fn run(args: &Verify) -> Outcome {
    let ear = Ear::asked(args)?;
    let (inputs, form) = match gather(args) {
        // Evidence that cannot be read is refused, in the forms that were asked for.
        Err(Failure::Failed(why)) if args.told.json || ear.is_some() => {
            let refused = why.strip_prefix("refused: ");
            let told = refused.unwrap_or(&why);
            // A file that could not be read says nothing of the evidence.
            if let (Some(ear), Some(_)) = (&ear, refused) {
                ear.write(&ear::unreadable(told, args.terms.at()?, now()))?;
            }
            if args.told.json {
                print_json(&print::unreadable(told, args.terms.at()?));
            }
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
    // Before a token that others would believe: a verdict that cannot be logged is none.
    args.terms.log(&verdict)?;
    if let Some(ear) = &ear {
        let report = match verdict.report() {
            Seen::Verified(seen) => {
                let fields = seen.fields();
                Some(show::to_json(fields, fields.generation()))
            }
            Seen::Unverified(_) | Seen::Nothing => None,
        };
        ear.write(&ear::claims(&verdict, report, inputs.at, now()))?;
    }
    args.terms.conclude(&verdict, args.told, form, &inputs)
}

/// Where the attestation result goes, and what signs it.
struct Ear<'a> {
    path: &'a Path,
    key: OwnerKey,
}

impl<'a> Ear<'a> {
    /// Reads the key before anything is judged: a verdict whose token cannot be signed must not be
    /// told as one that was.
    fn asked(args: &'a Verify) -> Result<Option<Self>, Failure> {
        let Some((path, key)) = args.ear.as_deref().zip(args.ear_key.as_deref()) else {
            return Ok(None);
        };
        let key = crate::signing::key(key)?;
        Ok(Some(Self { path, key }))
    }

    fn write(&self, claims: &Value) -> Outcome {
        let token = ear::sign(claims, &self.key);
        let token = token.map_err(|error| Failure::Failed(error.to_string()))?;
        write_file(self.path, token.as_bytes())
    }
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
pub(crate) fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
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
