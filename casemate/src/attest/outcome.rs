//! What is said of a verdict, and the exit status that it has.

use super::print;
use crate::files::print_json;
use crate::out::errln;
use crate::{Failure, Outcome};
use casemate_attestation::selection::addresses;
use casemate_attestation::verify::{Conclusion, Verdict};
use clap::Args;

/// How a verdict is told.
#[derive(Debug, Clone, Copy, Args)]
pub struct Telling {
    /// Print JSON.
    #[arg(long, conflicts_with = "quiet")]
    pub(super) json: bool,
    /// Print nothing but, on standard error, why the verdict is not ACCEPTED, or that it is a
    /// MODEL's.
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// Prints a verdict.
pub(super) fn tell(verdict: &Verdict, told: Telling, form: &str, at: u64, report: &[u8]) {
    if told.json {
        print_json(&print::to_json(verdict, form, at, report));
    } else if !told.quiet {
        print::print_table(verdict, form, at, report);
    }
}

/// The exit status of a verdict: 0 accepted, 1 refused, 3 authentic. A quiet one says on standard
/// error why it is not 0, and that it is a MODEL's: no such verdict passes without a word.
pub(crate) fn status(
    verdict: &Verdict,
    quiet: bool,
    authenticity_only: bool,
    report: &[u8],
) -> Outcome {
    if quiet && verdict.authentic() && verdict.is_model() {
        errln!("casemate: {}", verdict.headline());
    }
    match verdict.conclusion() {
        Conclusion::Accepted => Ok(()),
        Conclusion::Authentic if authenticity_only => Ok(()),
        Conclusion::Authentic => {
            if quiet {
                let open = verdict.not_proven_line().unwrap_or_default();
                errln!("casemate: AUTHENTIC, not accepted; {open}");
            }
            Err(Failure::Status(3))
        }
        Conclusion::Refused => Err(match verdict.first_failure() {
            Some(check) if quiet => {
                let at = addresses(verdict, report).into_iter().map(|at| format!("; {at}"));
                let at: String = at.collect();
                Failure::Failed(format!("refused: {}{at}", print::line(check)))
            }
            _ => Failure::Status(1),
        }),
    }
}
