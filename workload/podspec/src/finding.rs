//! What is said of the lines of a pod.

use casemate_foreign_text as foreign;

/// Who decides what a line of a pod says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The manifest: another value is another HOST_DATA.
    Bound,
    /// The host, within what the manifest says; the guest takes nothing else.
    Open,
    /// The host alone, and nothing in the guest follows from it.
    Outside,
    /// Nobody: it cannot be bound, so no manifest is made.
    Refused,
}

impl Verdict {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Open => "open",
            Self::Outside => "outside",
            Self::Refused => "refused",
        }
    }
}

/// What is said of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The line, from 1; 0 for what the pod does not say.
    pub line: usize,
    /// The field, such as `spec.containers[web].image`.
    pub field: String,
    /// Who decides.
    pub verdict: Verdict,
    /// A sentence.
    pub why: String,
}

/// All that was said, in the order in which it was found.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

/// Most findings: of a pod that is written to be long, the rest says nothing new.
const MOST: usize = 8192;

impl Findings {
    pub(crate) fn say(
        &mut self,
        verdict: Verdict,
        line: usize,
        field: &str,
        why: impl Into<String>,
    ) {
        if self.0.len() < MOST || verdict == Verdict::Refused && self.0.len() < 2 * MOST {
            let field = foreign::line(field).at_most(200).to_string();
            let why = foreign::line(why.into()).at_most(400).to_string();
            self.0.push(Finding { line, field, verdict, why });
        }
    }

    pub(crate) fn refuse(&mut self, line: usize, field: &str, why: impl Into<String>) {
        self.say(Verdict::Refused, line, field, why);
    }

    pub(crate) fn bound(&mut self, line: usize, field: &str, why: impl Into<String>) {
        self.say(Verdict::Bound, line, field, why);
    }

    pub(crate) fn open(&mut self, line: usize, field: &str, why: impl Into<String>) {
        self.say(Verdict::Open, line, field, why);
    }

    pub(crate) fn outside(&mut self, line: usize, field: &str, why: impl Into<String>) {
        self.say(Verdict::Outside, line, field, why);
    }
}
