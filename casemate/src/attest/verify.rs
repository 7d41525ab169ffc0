//! `casemate attest verify`: every check of a report, and a verdict.

use super::terms::{Telling, Terms};
use crate::files::{read_file, write_file};
use crate::{Failure, Outcome};
use casemate_attestation::evidence::{Evidence, EvidenceError, Form, vek_in};
use casemate_attestation::record::{Inputs, Record};
use casemate_attestation::report::Report;
use casemate_attestation::store::Store;
use clap::Args;
use std::path::PathBuf;

/// Verify a report and its certificate chain; appraise what it says.
///
/// Exit status: 0 ACCEPTED, 1 REFUSED, 2 bad use or bad input, 3 AUTHENTIC: signature and chain
/// hold, but the line "not proven" names what no rule demanded or no list showed (measurement or
/// signer, freshness, revocation, TCB floor).
#[derive(Debug, Args)]
pub struct Verify {
    /// Report (1184 bytes; /dev/stdin for standard input), extended report, configfs-tsm outblob or
    /// JSON pair, Azure HCL blob, or JSON of Confidential Containers: SnpEvidence, or az-snp-vtpm
    /// evidence of version 0, 1 or 2.
    report: PathBuf,
    /// VCEK or VLEK certificate, DER or PEM; goes before any that the evidence carries.
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
    let (inputs, form) = gather(args)?;
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
    if let Some(path) = &args.cert {
        evidence.vek = Some(vek_in(&read_file(path)?));
    }
    let mut inputs = Inputs {
        report: evidence.report,
        azure: evidence.azure,
        vek: evidence.vek,
        ..args.terms.inputs()?
    };
    if let Some(path) = &args.terms.certs_dir {
        from_store(&Store::new(path), &mut inputs);
    }
    Ok((inputs, evidence.form.name()))
}

fn refused(error: &EvidenceError) -> Failure {
    Failure::Failed(format!("refused: {error}"))
}

/// Takes from the store what is not given otherwise.
pub(super) fn from_store(store: &Store, inputs: &mut Inputs) {
    let Ok(report) = Report::parse(&inputs.report) else { return };
    let fields = report.unverified_fields();
    if inputs.vek.is_none() {
        inputs.vek = store.find_vek(fields);
    }
    inputs.intermediates = store.intermediates().iter().map(|one| one.der().to_vec()).collect();
    if inputs.crls.is_empty() {
        // The issuer of the VEK names the generation; a report of version 2 does not.
        let generation = inputs
            .vek
            .as_ref()
            .and_then(|der| casemate_attestation::cert::Certificate::from_der(der).ok())
            .and_then(|vek| casemate_attestation::cert::recognise_name(&vek.issuer))
            .and_then(|(_, role)| role.generation());
        let ours = store.crls().into_iter().filter(|(of, _)| Some(*of) == generation);
        inputs.crls = ours.map(|(_, crl)| crl.der().to_vec()).collect();
    }
}
