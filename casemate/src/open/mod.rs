//! `casemate open`: the results of a workload, for their owner.

mod files;
mod proof;
mod stop;

use crate::attest::outcome::status;
use crate::attest::trust::Trust;
use crate::attest::{policy, verify};
use crate::files::{may_write, put_file};
use crate::out::errln;
use crate::run_inputs::{self, Nonce};
use crate::{Failure, Outcome};
use casemate_attestation::context::Context;
use casemate_attestation::evidence::Evidence;
use casemate_attestation::hex::encode;
use casemate_attestation::record::{Inputs, Record};
use casemate_attestation::verify::Verdict;
use casemate_files::SecretFile;
use casemate_foreign_text::value;
use casemate_result::{Ending, LABEL, Opener, ResultError, SecretKey, Survey, survey};
use clap::Args;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

/// Open the sealed results of a workload.
///
/// Sealing says nothing of who sealed. So the report that comes with them is verified first, under
/// the policy, and must have been made for exactly these bytes, inputs and nonce; nothing is
/// written before.
///
/// Exit status: 0 the policy accepts and all is written; 1 refused, and nothing is written; 2 bad
/// use or bad input; 3 not proven who made this: without --policy it is written all the same, with
/// one the verdict is AUTHENTIC and nothing is written; 4 as 0, but the workload failed: what is
/// written may be a part.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate image show app.img/ --policy > release.toml
  casemate open results.sealed -o results/ --key owner.key \\
      --policy release.toml --certs-dir certs --input readings.csv \\
      --nonce=7c1e0d6b5a4f39288170f6e5d4c3b2a19f8e7d6c5b4a39281706f5e4d3c2b1a0
  casemate open results.sealed -o results/ --key owner.key \\
      --policy release.toml --certs-dir certs --evidence evidence.json \\
      --evidence-page evidence.html --image app.img/ \\
      --launch-policy launch.toml
")]
pub struct Open {
    /// The sealed results, as `casemate run --output` wrote them.
    file: PathBuf,
    /// The folder to make.
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// The key that opens them, as `casemate result-key` made it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What a report must say to be believed: an isolation policy or an appraisal.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The nonce that you gave the run; results of another run are refused.
    #[arg(long, value_name = "HEX")]
    nonce: Option<Nonce>,
    /// An input that you gave the run, in the same order; results of other inputs are refused.
    #[arg(long, value_name = "FILE", conflicts_with = "no_input")]
    input: Vec<PathBuf>,
    /// The run was given no input.
    #[arg(long)]
    no_input: bool,
    /// VCEK or VLEK certificate, DER or PEM.
    #[arg(long, value_name = "FILE", requires = "policy")]
    cert: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
    /// Keep the evidence and its verification, whatever the verdict is, for `casemate attest
    /// replay`.
    #[arg(long, value_name = "FILE", requires = "policy")]
    evidence: Option<PathBuf>,
    /// Write a page that shows what the evidence proves, link by link, whatever the verdict is: one
    /// file, without network or script.
    #[arg(long, value_name = "FILE", requires = "policy")]
    evidence_page: Option<PathBuf>,
    #[cfg(all(feature = "vm", feature = "image"))]
    #[command(flatten)]
    of_image: proof::image::OfImage,
    /// Take AUTHENTIC for enough, too.
    #[arg(long, requires = "policy")]
    authenticity_only: bool,
}

/// Longest file of a key.
const MAX_KEY: usize = 4096;

/// Exit status for results of a workload that failed. Whose they are is proven, so nothing is
/// refused; but a script that looks at the status alone must not take a part for all of it.
const FAILED: u8 = 4;

/// Runs the subcommand.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &Open) -> Outcome {
    opened(args).map_err(Failure::on_one_line)
}

fn opened(args: &Open) -> Outcome {
    let key = key(args)?;
    let place = files::Place::new(&args.output)?;
    let mut file =
        casemate_files::open(&args.file).map_err(|e| Failure::BadInput(e.to_string()))?;
    let found = survey(&mut BufReader::with_capacity(1 << 20, &file)).map_err(|e| bad(args, &e))?;
    compare(args, &found)?;
    // Whether it is for this key is known without a policy; nothing is written by asking.
    let behind = u64::try_from(casemate_result::Cover::SIZE).unwrap_or(u64::MAX);
    let seeked = file.seek(SeekFrom::Start(behind));
    seeked.map_err(|e| run_inputs::failed(&args.file, &e))?;
    let part: std::io::Take<BufReader<File>> = BufReader::new(file).take(found.cover.sealed);
    let opener = Opener::new(part, &found.cover, &key).map_err(|e| bad(args, &e))?;
    let proven = match &args.policy {
        Some(path) => {
            judge(args, path, &found)?;
            Ok(())
        }
        None => Err(Failure::Status(3)),
    };
    // Read again from the file: what is written is what was judged, or gets no name.
    let ending = place.fill(opener, &found.sealed).map_err(|e| match e {
        files::FillError::Result(e) => bad(args, &e),
        files::FillError::Failed(failure) => failure,
    })?;
    if ending != Ending::GOOD {
        errln!("casemate: the workload {ending}: its results may be a part of what it would make");
    }
    if proven.is_err() {
        errln!("casemate: not proven who made this: no --policy was given");
    }
    proven?;
    if ending == Ending::GOOD { Ok(()) } else { Err(Failure::Status(FAILED)) }
}

fn bad(args: &Open, error: &ResultError) -> Failure {
    let text = format!("{}: {error}", value(args.file.display()));
    match error {
        ResultError::Io(_) => Failure::Failed(text),
        // Refused, not misused: somebody changed it, or it is somebody else's.
        ResultError::Changed | ResultError::OtherKey => Failure::Failed(text),
        _ => Failure::BadInput(text),
    }
}

fn key(args: &Open) -> Result<SecretKey, Failure> {
    let text = SecretFile::open(&args.key).and_then(|file| file.read(MAX_KEY));
    let text = text.map_err(|e| Failure::BadInput(e.to_string()))?;
    let failed = |e: &dyn std::fmt::Display| {
        Failure::BadInput(format!("{}: {e}", value(args.key.display())))
    };
    let text = std::str::from_utf8(&text).map_err(|e| failed(&e))?;
    SecretKey::from_text(text).map_err(|e| failed(&e))
}

/// What the owner knows of the run, and the result says of itself. Nothing of it is proven yet.
fn compare(args: &Open, found: &Survey) -> Outcome {
    let refused = |why: String| Err(Failure::Failed(format!("refused: {why}")));
    match args.nonce {
        Some(Nonce(nonce)) if nonce != found.cover.nonce => {
            return refused(format!(
                "it is of another run: its nonce is {}, not {}",
                encode(&found.cover.nonce),
                encode(&nonce)
            ));
        }
        Some(_) => {}
        None => errln!(
            "casemate: note: it may be of any run: --nonce says which was meant; its nonce is {}",
            encode(&found.cover.nonce)
        ),
    }
    if args.input.is_empty() && !args.no_input {
        errln!("casemate: note: its inputs were not compared: name them by --input, or --no-input");
    } else if run_inputs::digest(&args.input)? != found.cover.inputs {
        return refused("it was made of other inputs, or of these in another order".into());
    }
    Ok(())
}

/// Verifies the report, under the policy, and that it was made for this result.
fn judge(args: &Open, policy: &std::path::Path, found: &Survey) -> Outcome {
    if found.evidence.is_empty() {
        let why = "refused: it has no report, so nothing proves who made it";
        return Err(Failure::Failed(why.into()));
    }
    let evidence = Evidence::read(&found.evidence);
    let evidence = evidence.map_err(|e| Failure::Failed(format!("refused: {e}")))?;
    let given = args.cert.as_deref().map(verify::certificates).transpose()?.unwrap_or_default();
    let mut inputs = args.trust.inputs(|inputs| policy::document(policy, inputs))?;
    let nonce = found.cover.binding(&found.sealed);
    inputs.context = Some(Context { label: LABEL.to_owned(), nonce });
    args.trust.complete(&mut inputs, &given, &evidence)?;
    // What is at hand to compare with is read before anything is said of the evidence.
    let compared = compared(args)?;
    let verdict = inputs.verify().map_err(|error| Failure::BadInput(error.to_string()))?;
    keep(args, &inputs, &verdict, found, &*compared)?;
    status(&verdict, true, args.authenticity_only, &inputs.report)
}

#[cfg(all(feature = "vm", feature = "image"))]
fn compared(args: &Open) -> Result<Box<dyn proof::Compared>, Failure> {
    Ok(match args.of_image.read()? {
        Some(image) => Box::new(image),
        None => Box::new(proof::Nothing),
    })
}

/// Without what computes launch digests.
#[cfg(not(all(feature = "vm", feature = "image")))]
fn compared(_: &Open) -> Result<Box<dyn proof::Compared>, Failure> {
    Ok(Box::new(proof::Nothing))
}

/// Writes what was asked for of the evidence: a refused one is of as much use to who looks for the
/// reason.
fn keep(
    args: &Open,
    inputs: &Inputs,
    verdict: &Verdict,
    found: &Survey,
    compared: &dyn proof::Compared,
) -> Outcome {
    // Where the results are to be, too: there is nothing yet.
    [Some(&args.file), Some(&args.key), args.policy.as_ref(), Some(&args.output)]
        .into_iter()
        .flatten()
        .chain(&args.input)
        .for_each(|path| crate::files::was_read(path));
    for (flag, path) in [("--evidence", &args.evidence), ("--evidence-page", &args.evidence_page)] {
        path.as_ref().map_or(Ok(()), |path| may_write(flag, path))?;
    }
    if let Some(path) = &args.evidence {
        let record = Record::new(inputs, verdict);
        let record = record.and_then(|record| serde_json::to_vec_pretty(&record));
        put_file(path, &record.map_err(|error| Failure::Failed(error.to_string()))?)?;
    }
    if let Some(path) = &args.evidence_page {
        let links = proof::chain(verdict, &found.cover.nonce, compared);
        put_file(path, proof::page(verdict, inputs.at, &links).as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use casemate_attestation::context;
    use casemate_result::{LABEL, report_data};

    /// The guest computes REPORT_DATA by itself, the verifier by its own rule.
    #[test]
    fn guest_and_verifier_have_one_rule_for_report_data() {
        for binding in [&[0; 96][..], &[0x5a; 96]] {
            assert_eq!(context::report_data(LABEL, binding), Some(report_data(binding)));
        }
    }
}
