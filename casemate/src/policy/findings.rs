//! What `check` and `lint` found, for people and for programs: text, JSON, SARIF.

use super::files::{name_of, printable, read_policy_or_errors, refused};
use crate::files::print_json;
use crate::out::{out, outln};
use crate::{Failure, Outcome};
use casemate_foreign_text::value;
use casemate_policy::audit::{self, Finding, Level};
use casemate_policy::{LoadError, Policy};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// How findings are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Lines for people
    Text,
    /// One JSON object
    Json,
    /// SARIF 2.1.0, for code review and CI
    Sarif,
}

/// The choice of a format.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Shown {
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl Shown {
    const fn format(self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// A document and what was found in it.
#[derive(Debug)]
pub(super) struct Audited {
    path: PathBuf,
    /// Its name and the hash of its canonical form; none of a document that is refused.
    policy: Option<(String, String)>,
    pub(super) findings: Vec<Finding>,
    /// Why it is refused.
    error: Option<LoadError>,
}

impl Audited {
    /// A policy that was read, looked at by `look`; or the errors of one that could not be taken,
    /// as findings with their places: who reads only the findings must not see none.
    pub(super) fn read(
        path: &Path,
        look: impl FnOnce(&Policy) -> Result<Vec<Finding>, Failure>,
    ) -> Result<Self, Failure> {
        let path = path.to_owned();
        Ok(match read_policy_or_errors(&path)? {
            Ok(policy) => {
                let named = Some((policy.name().to_owned(), policy.hash_hex()));
                Self { path, policy: named, findings: look(&policy)?, error: None }
            }
            Err(error) => {
                Self { path, policy: None, findings: audit::refused(&error), error: Some(error) }
            }
        })
    }

    /// The file, on one line.
    pub(super) fn name(&self) -> String {
        value(self.path.display()).to_string()
    }

    /// Whether there is a finding of this level or a graver one.
    pub(super) fn any(&self, least: Level) -> bool {
        self.findings.iter().any(|finding| finding.level >= least)
    }
}

/// Shows what was found; then, for people, what `closing` says of each document that was taken.
///
/// # Errors
/// Status 2 when a document is refused, with all its errors.
pub(super) fn show(
    all: &[Audited],
    shown: Shown,
    closing: impl Fn(&Audited, &str) -> String,
) -> Outcome {
    match shown.format() {
        Format::Sarif => print_sarif(all),
        Format::Json => print_json(&to_json(all)),
        Format::Text => {
            for one in all {
                // The errors of a document that is refused go to standard error, below.
                let Some((_, hash)) = &one.policy else { continue };
                for finding in &one.findings {
                    outln!("{}", printable(&finding.to_string()));
                }
                outln!("{}", closing(one, hash));
            }
        }
    }
    let errors = all.iter().filter_map(|one| one.error.as_ref());
    let lines: Vec<String> = errors.map(|error| refused(error).to_string()).collect();
    if lines.is_empty() { Ok(()) } else { Err(Failure::BadInput(lines.join("\n"))) }
}

fn print_sarif(all: &[Audited]) {
    // Names below the working directory, which is that of the repository in CI, are written
    // relative to it.
    let root = std::env::current_dir().unwrap_or_default();
    let names: Vec<_> = all.iter().map(|one| one.path.to_string_lossy()).collect();
    let documents: Vec<_> = std::iter::zip(&names, all)
        .map(|(file, one)| audit::Audited { file, findings: &one.findings })
        .collect();
    out!("{}", audit::sarif(&documents, &root.to_string_lossy()));
}

/// How many of a level there are.
pub(super) fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|finding| finding.level == level).count()
}

fn to_json(all: &[Audited]) -> Value {
    let document = |one: &Audited| {
        let (name, hash) = one.policy.clone().unzip();
        let findings: Vec<Value> = one.findings.iter().map(finding_json).collect();
        json!({
            "file": name_of(&one.path),
            "accepted": one.error.is_none(),
            "name": name,
            "sha256": hash,
            "findings": findings,
            "errors": count(&one.findings, Level::Error),
            "warnings": count(&one.findings, Level::Warning),
            "notes": count(&one.findings, Level::Note),
        })
    };
    json!({ "policies": all.iter().map(document).collect::<Vec<_>>() })
}

fn finding_json(finding: &Finding) -> Value {
    let Finding { id, level, rule, origin, message, witness } = finding;
    let at = audit::place(origin).map(|(line, column)| json!({ "line": line, "column": column }));
    let input = witness.as_ref().and_then(|witness| witness.input.as_ref());
    // Our own text, which this reader takes as it is: an input never has a number too large.
    let admitted = input.and_then(|input| serde_json::from_str::<Value>(&input.to_json()).ok());
    let facts = witness.as_ref().filter(|witness| witness.facts.iter().next().is_some());
    json!({
        "id": id,
        "level": level.name(),
        "rule": rule,
        "at": at,
        "origin": origin.to_string(),
        "message": message,
        "help": audit::help(id),
        "facts": facts.map(ToString::to_string),
        "admitted": admitted,
    })
}
