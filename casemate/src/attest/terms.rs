//! The terms under which `casemate attest verify` and `replay` judge evidence: what is trusted, and
//! what a report must say.

use super::outcome::{Telling, status, tell};
use super::policy::{self, Wanted};
use super::trust::Trust;
use crate::{Failure, Outcome};
use casemate_attestation::evidence::Evidence;
use casemate_attestation::record::Inputs;
use casemate_attestation::verify::Verdict;
use casemate_diagnostics::event;
use casemate_foreign_text::value;
use clap::Args;

/// Under what evidence is judged.
#[derive(Debug, Args)]
pub struct Terms {
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    wanted: Wanted,
    /// Exit with 0 for AUTHENTIC, too: who speaks is asked, not what runs, when, or under which
    /// firmware.
    #[arg(long)]
    pub(super) authenticity_only: bool,
}

impl Terms {
    /// The time of judgement.
    pub(super) fn at(&self) -> Result<u64, Failure> {
        self.trust.at()
    }

    /// The caller's part of a verification; the evidence is still missing.
    pub(super) fn inputs(&self) -> Result<Inputs, Failure> {
        self.trust.inputs(|inputs| policy::gather(&self.wanted, inputs))
    }

    /// As [`Trust::complete`].
    pub(super) fn complete(
        &self,
        inputs: &mut Inputs,
        given: &[Vec<u8>],
        evidence: &Evidence,
    ) -> Outcome {
        policy::keep_log_apart(&self.wanted)?;
        self.trust.complete(inputs, given, evidence)
    }

    /// Logs a verdict, if it is to be: before anything else is made of it.
    ///
    /// # Errors
    /// [`Failure`] when the log cannot be written.
    pub(super) fn log(&self, verdict: &Verdict) -> Outcome {
        policy::log(&self.wanted, verdict)
    }

    /// Tells a verdict, and turns it into an exit status.
    pub(super) fn conclude(
        &self,
        verdict: &Verdict,
        told: Telling,
        form: &str,
        inputs: &Inputs,
    ) -> Outcome {
        for check in verdict.failures() {
            event!(DEBUG, Evidence, "a check has failed", check = check.code.as_str());
        }
        let word = verdict.conclusion().word();
        event!(INFO, Evidence, "a verdict", verdict = word, form = value(form));
        tell(verdict, told, form, inputs.at, &inputs.report);
        status(verdict, told.quiet, self.authenticity_only, &inputs.report)
    }
}
