//! What an auditor asks of a policy: contradictions ([`check`]), risky choices ([`lint`]), tests and their
//! strength ([`Suite`]), and the results as SARIF.

mod check;
mod lint;
mod lint_rules;
mod sarif;
mod suite;
mod suite_load;

pub use check::check;
pub use lint::{LINTS, Lint, lint};
pub use sarif::sarif;
pub use suite::{Case, CaseResult, Mutant, Suite, SuiteReport};

use crate::rules::Origin;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For information.
    Note,
    /// Should be looked at.
    Warning,
    /// Should be put right.
    Error,
}

impl Level {
    /// The word of SARIF for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something that a check or lint found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable id.
    pub id: &'static str,
    /// How grave it is.
    pub level: Level,
    /// The path of the rule, or the name of the point.
    pub rule: String,
    /// Where it is stated.
    pub origin: Origin,
    /// What was found.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, level, rule, origin, message } = self;
        write!(f, "{origin}: {} {id}: {rule}: {message}", level.name())
    }
}
