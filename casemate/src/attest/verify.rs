//! `casemate attest verify`: every check of a report, and a verdict.

use super::policy::{self, Wanted};
use super::{certs, show};
use crate::files::{print_json, read_file, write_file};
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_attestation::cert::{builtin, certificates_in, crls_in};
use casemate_attestation::evidence::{Evidence, EvidenceError, Form, veks_in};
use casemate_attestation::record::{Inputs, Record};
use casemate_attestation::resolve::{ResolveError, addresses, complete};
use casemate_attestation::store::Store;
use casemate_attestation::verify::{Check, Seen, Status, Verdict};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Verify a report and its certificate chain; appraise what it says.
///
/// Exit status: 0 accepted, 1 refused, 2 bad use.
#[derive(Debug, Args)]
pub struct Verify {
    /// Report (1184 bytes; /dev/stdin for standard input), extended report, configfs-tsm outblob or JSON pair, Azure HCL blob, or CoCo
    /// SnpEvidence JSON.
    report: PathBuf,
    /// VCEK or VLEK certificate, DER or PEM; tried before those that the evidence carries and the
    /// store has.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Certificate table that belongs to the report (configfs-tsm auxblob).
    #[arg(long, value_name = "FILE")]
    aux: Option<PathBuf>,
    /// Directory with certificates, as `casemate attest certs` keeps it.
    #[arg(long, value_name = "DIR")]
    certs_dir: Option<PathBuf>,
    /// Revocation list for VCEK chains, DER or PEM; may be given several times.
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    /// Revocation list for VLEK chains: what the ASVK's address gives, which is another list.
    #[arg(long, value_name = "FILE")]
    vlek_crl: Vec<PathBuf>,
    #[command(flatten)]
    wanted: Wanted,
    /// Time of judgement, `YYYY-MM-DD`, `YYYY-MM-DDThh:mm:ssZ` or seconds since 1970; default now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Accept report versions after 5; relaxes the rules about reserved zeros only.
    #[arg(long)]
    allow_newer: bool,
    /// Trust the MODEL root in this file. The verdict then says MODEL and proves nothing about hardware.
    #[arg(long, value_name = "FILE")]
    accept_model_root: Option<PathBuf>,
    /// Write an evidence record that can be replayed.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print nothing but the reason of a refusal.
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(args: &Verify) -> Outcome {
    let (inputs, form) = match gather(args) {
        // Evidence that cannot be read is refused, in the form that was asked for.
        Err(Failure::Failed(why)) if args.json => {
            let at = casemate_attestation::time::format(time(args.at.as_deref())?);
            print_json(&json!({
                "verdict": "REFUSED",
                "accepted": false,
                "error": why.strip_prefix("refused: ").unwrap_or(&why),
                "at": at,
                "checks": [],
                "addresses": [],
                "verified-report": null,
            }));
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
    policy::log(&args.wanted, &verdict)?;
    conclude(&verdict, form, inputs.at, args.json, args.quiet, &inputs.report)
}

/// Prints a verdict and turns it into an exit status.
pub(super) fn conclude(
    verdict: &Verdict,
    form: &str,
    at: u64,
    json: bool,
    quiet: bool,
    report: &[u8],
) -> Outcome {
    if json {
        print_json(&to_json(verdict, form, at, report));
    } else if !quiet {
        print_table(verdict, form, at, report);
    }
    match verdict.first_failure() {
        None if verdict.accepted() => Ok(()),
        Some(check) if quiet => {
            let at = addresses(verdict, report).into_iter().map(|address| format!("; {address}"));
            Err(Failure::Failed(format!("refused: {}{}", line(check), at.collect::<String>())))
        }
        _ => Err(Failure::Status(1)),
    }
}

fn gather(args: &Verify) -> Result<(Inputs, &'static str), Failure> {
    let bad = |path: &PathBuf, error: &dyn std::fmt::Display| {
        Failure::BadInput(format!("{}: {error}", path.display()))
    };
    let bytes = read_file(&args.report)?;
    let mut evidence = match Evidence::read(&bytes) {
        Ok(evidence) => evidence,
        // Neither form: the verifier refuses it for its length, with all that goes with a verdict.
        Err(EvidenceError::UnknownForm(_)) => {
            Evidence { form: Form::Raw, report: bytes, veks: Vec::new() }
        }
        Err(error) => return Err(refused(&error)),
    };
    if let Some(path) = &args.aux {
        evidence = evidence.with_table(&read_file(path)?).map_err(|error| refused(&error))?;
    }
    let given = args.cert.as_deref().map(read_file).transpose()?;
    let given = given.map(|bytes| veks_in(&bytes)).unwrap_or_default();
    let mut inputs = Inputs {
        at: time(args.at.as_deref())?,
        allow_newer: args.allow_newer,
        ..Inputs::default()
    };
    policy::gather(&args.wanted, &mut inputs)?;
    for path in &args.crl {
        inputs.crls.extend(lists_in(path)?);
    }
    for path in &args.vlek_crl {
        inputs.vlek_crls.extend(lists_in(path)?);
    }
    let mut roots = builtin();
    if let Some(path) = &args.accept_model_root {
        let bundle = certificates_in(&read_file(path)?).map_err(|error| bad(path, &error))?;
        roots.accept_model(bundle.clone()).map_err(|error| bad(path, &error))?;
        inputs.model_roots = bundle.iter().map(|one| one.der().to_vec()).collect();
    }
    if let Some(path) = &args.certs_dir
        && !path.is_dir()
    {
        return Err(bad(path, &"not a directory"));
    }
    let store = args.certs_dir.as_ref().map(|path| Store::under(path, roots));
    complete(&mut inputs, &given, &evidence, store.as_ref()).map_err(|error| match error {
        ResolveError::Store(error) => certs::failure(&error),
        ResolveError::Input(error) => Failure::BadInput(error.to_string()),
    })?;
    Ok((inputs, evidence.form.name()))
}

/// The lists of a file. One that holds none goes to the verifier as it is, which says why it
/// refuses it.
fn lists_in(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = read_file(path)?;
    Ok(match crls_in(&bytes) {
        Ok(lists) => lists.iter().map(|crl| crl.der().to_vec()).collect(),
        Err(_) => vec![bytes],
    })
}

fn refused(error: &EvidenceError) -> Failure {
    Failure::Failed(format!("refused: {error}"))
}

pub(super) fn time(text: Option<&str>) -> Result<u64, Failure> {
    match text {
        None => Ok(casemate_attestation::time::now()),
        Some(text) => casemate_attestation::time::parse(text)
            .ok_or_else(|| Failure::BadInput(format!("--at {text}: not a time; write YYYY-MM-DD, YYYY-MM-DDThh:mm:ssZ or seconds since 1970"))),
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Passed => "passed",
        Status::Warning => "WARNING",
        Status::Failed => "FAILED",
        Status::NotChecked => "not checked",
    }
}

/// One line of a failed check: field, both values, remedy.
fn line(check: &Check) -> String {
    let Check { code, saw, wanted, .. } = check;
    format!("{code}: {}: {saw}, wanted {wanted}; {}", code.title(), code.remedy())
}

fn print_table(verdict: &Verdict, form: &str, at: u64, report: &[u8]) {
    outln!("{form}, judged at {}", casemate_attestation::time::format(at));
    for check in verdict.checks() {
        outln!("  {:<24} {:<11}  {}", check.code.as_str(), word(check.status), check.saw);
        if check.status == Status::Failed {
            outln!("  {:<24} {:<11}  wanted: {}", "", "", check.wanted);
            outln!("  {:<24} {:<11}  remedy: {}", "", "", check.code.remedy());
        }
    }
    for address in addresses(verdict, report) {
        outln!("What is wanted is at {address}");
    }
    let count = |status| verdict.checks().iter().filter(|check| check.status == status).count();
    outln!(
        "{} passed, {} warnings, {} failed, {} not checked",
        count(Status::Passed),
        count(Status::Warning),
        count(Status::Failed),
        count(Status::NotChecked)
    );
    outln!("{}", verdict.headline());
}

fn to_json(verdict: &Verdict, form: &str, at: u64, bytes: &[u8]) -> Value {
    let checks: Vec<Value> = verdict
        .checks()
        .iter()
        .map(|check| {
            let mut value = json!(check);
            if let Some(object) = value.as_object_mut() {
                object.insert("title".to_owned(), check.code.title().into());
                if check.status == Status::Failed {
                    object.insert("remedy".to_owned(), check.code.remedy().into());
                }
            }
            value
        })
        .collect();
    let report = match verdict.report() {
        Seen::Verified(report) => show::to_json(report.fields(), report.fields().generation()),
        Seen::Unverified(_) | Seen::Nothing => Value::Null,
    };
    json!({
        "verdict": verdict.headline(),
        "accepted": verdict.accepted(),
        "model": verdict.is_model(),
        "form": form,
        "at": casemate_attestation::time::format(at),
        "checks": checks,
        "addresses": addresses(verdict, bytes),
        "verified-report": report,
    })
}
