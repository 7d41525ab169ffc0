//! What an auditor asks of a policy: contradictions ([`check`]), risky choices ([`lint`]), tests
//! and their strength ([`Suite`]), and the results as SARIF.

mod catalog;
mod check;
mod danger;
mod help;
mod lint;
mod lints;
mod mutants;
mod sarif;
mod strangers;
mod suite;
mod suite_load;
mod text;

pub use catalog::{Described, catalog};
pub use check::check;
pub use danger::Witness;
pub use help::help;
pub use lint::{LINTS, all, lint};
pub use lints::Lint;
pub use sarif::{Audited, place, refused, sarif};
pub use suite::{Case, CaseResult, Mutant, Suite, SuiteReport};

use crate::rules::Origin;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For information; nothing has to be done.
    Note,
    /// It should be looked at.
    Warning,
    /// It should be put right.
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
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Stable identifier, such as `CM001`.
    pub id: &'static str,
    /// How grave it is.
    pub level: Level,
    /// The path of the rule, or the name of the point.
    pub rule: String,
    /// Where it is stated.
    pub origin: Origin,
    /// What was found, as a sentence without its end.
    pub message: String,
    /// An input that shows it, where one can.
    pub witness: Option<Witness>,
}

impl Finding {
    /// The witness in one line, empty where there is none.
    fn shown(&self) -> String {
        self.witness.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, level, rule, origin, message, witness } = self;
        write!(f, "{origin}: {} {id}: {rule}: {message}", level.name())?;
        match witness {
            // A witness of a whole input only, as of a mutant, has no facts of its own to show in a
            // line.
            Some(witness) if witness.facts.iter().next().is_none() => Ok(()),
            Some(Witness { input: Some(_), facts: _ }) => write!(f, "; admitted: {}", self.shown()),
            Some(_) => {
                write!(f, "; admitted as soon as the other rules admit anything: {}", self.shown())
            }
            None => Ok(()),
        }
    }
}
