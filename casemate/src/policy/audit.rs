//! `casemate policy check`, `lint` and `test`.

use super::files::{name_of, printable, read_policy, read_text, refused};
use super::findings::{Audited, Shown, count, show};
use super::junit::{self, junit};
use crate::files::{was_read, write_file};
use crate::out::{out, outln};
use crate::{Failure, Outcome};
use casemate_foreign_text::value;
use casemate_policy::Policy;
use casemate_policy::audit::{self, Level, Suite, SuiteReport};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Read policies and find contradictions; every error of a document is shown
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy check policy.toml tenant.toml
  casemate policy check --strict policy.toml
  casemate policy check --format sarif policies/*.toml > check.sarif
")]
pub struct CheckArgs {
    /// Policies (TOML or JSON)
    #[arg(required = true)]
    policies: Vec<PathBuf>,
    #[command(flatten)]
    shown: Shown,
    /// Exit with status 1 on warnings too
    #[arg(long)]
    strict: bool,
}

/// Find risky choices, each with an input that it admits; exit status 1 when one is at or above the
/// level given
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy lint policy.toml
  casemate policy lint policy.toml --format sarif --fail-on warning
")]
pub struct LintArgs {
    /// Policy (TOML or JSON)
    policy: PathBuf,
    #[command(flatten)]
    shown: Shown,
    /// Level from which on a finding fails
    #[arg(long, value_enum, default_value = "error")]
    fail_on: FailOn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Never,
    Error,
    Warning,
    Note,
}

/// Run the test cases beside policies; remove and loosen each rule in turn to see whether one
/// notices
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy test policy.toml      with cases in policy.cases.toml
  casemate policy test policies/ --suggest
  casemate policy test policies/ --junit policy-tests.xml
")]
pub struct TestArgs {
    /// A policy P.toml with its cases in P.cases.toml, or a directory of such
    path: PathBuf,
    /// Print test cases for what no case notices
    #[arg(long)]
    suggest: bool,
    /// Write what came of each case and each loosened rule as JUnit XML, also when one fails
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Checks policies.
///
/// # Errors
/// Status 2 when a document is refused, 1 for warnings with `--strict`.
pub fn check(args: &CheckArgs) -> Outcome {
    let read = |path: &PathBuf| Audited::read(path, |policy| Ok(audit::check(policy)));
    // All of them first: a document that is refused hides nothing of the others.
    let all = args.policies.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    show(&all, args.shown, |one, hash| {
        let count = one.findings.len();
        format!("{}: {count} findings, SHA-256 {hash}", one.name())
    })?;
    let warned = all.iter().any(|one| one.any(Level::Warning));
    if warned && args.strict { Err(Failure::Status(1)) } else { Ok(()) }
}

/// Where the cases of a policy are: `P.cases.toml` beside `P.toml`.
fn cases_of(policy: &Path) -> PathBuf {
    policy.with_extension("cases.toml")
}

fn read_suite(policy: &Path) -> Result<Option<Suite>, Failure> {
    let path = cases_of(policy);
    if !path.exists() {
        return Ok(None);
    }
    let text = read_text(&path)?;
    Suite::load(&text, &name_of(&path)).map(Some).map_err(|error| refused(&error))
}

/// Lints a policy, with its cases when they are beside it.
///
/// # Errors
/// Status 1 for a finding at or above the level given.
pub fn lint(args: &LintArgs) -> Outcome {
    let all = [Audited::read(&args.policy, |policy| {
        let report = read_suite(&args.policy)?.map(|suite| suite.run(policy));
        let mut findings = audit::check(policy);
        findings.extend(audit::lint(policy, report.as_ref()));
        Ok(findings)
    })?];
    show(&all, args.shown, |one, _| {
        let count = |level| count(&one.findings, level);
        let (errors, warnings) = (count(Level::Error), count(Level::Warning));
        format!("{errors} errors, {warnings} warnings, {} notes", count(Level::Note))
    })?;
    let least = match args.fail_on {
        FailOn::Never => return Ok(()),
        FailOn::Error => Level::Error,
        FailOn::Warning => Level::Warning,
        FailOn::Note => Level::Note,
    };
    if all.iter().any(|one| one.any(least)) { Err(Failure::Status(1)) } else { Ok(()) }
}

/// The policies of a directory: every `.toml` that is not a document of cases.
fn policies_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let refuse = |error| Failure::BadInput(format!("{}: {error}", directory.display()));
    let mut out = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(refuse)? {
        let path = entry.map_err(refuse)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let document = path.extension().is_some_and(|extension| extension == "toml");
        // A layer has no decisions of its own to test.
        if document && !name.ends_with(".cases.toml") && cases_of(&path).exists() {
            out.push(path);
        }
    }
    out.sort();
    if out.is_empty() {
        let message =
            format!("{}: no policy P.toml with cases in P.cases.toml", directory.display());
        return Err(Failure::BadInput(message));
    }
    Ok(out)
}

/// Runs the cases of policies.
///
/// # Errors
/// Status 1 when a case fails or a loosened rule goes unnoticed, 2 when a policy or its cases are
/// refused.
pub fn test(args: &TestArgs) -> Outcome {
    let policies =
        if args.path.is_dir() { policies_in(&args.path)? } else { vec![args.path.clone()] };
    let mut ran = Vec::new();
    let mut stopped = Ok(());
    for path in policies {
        [&path, &cases_of(&path)].into_iter().for_each(|path| was_read(path));
        match run_cases(&path, args.suggest) {
            Ok(report) => ran.push((path, Ok(report))),
            Err(failure) => {
                ran.push((path, Err(failure.to_string())));
                stopped = Err(failure);
                break;
            }
        }
    }
    if let Some(path) = &args.junit {
        write_file(path, junit(&suites(&ran)).as_bytes())?;
    }
    stopped?;
    let good = |came: &Result<SuiteReport, String>| came.as_ref().is_ok_and(SuiteReport::is_good);
    if ran.iter().all(|(_, came)| good(came)) { Ok(()) } else { Err(Failure::Status(1)) }
}

/// What came of each policy, under its name.
fn suites(ran: &[(PathBuf, Result<SuiteReport, String>)]) -> Vec<(String, junit::Suite<'_>)> {
    let named = ran.iter().map(|(path, came)| {
        let suite = match came {
            Ok(report) => junit::Suite::Ran(report),
            Err(why) => junit::Suite::Refused(why),
        };
        (name_of(path), suite)
    });
    named.collect()
}

fn run_cases(path: &Path, suggest: bool) -> Result<SuiteReport, Failure> {
    let policy = read_policy(path)?;
    let Some(suite) = read_suite(path)? else {
        let message = format!("{}: no such file", cases_of(path).display());
        return Err(Failure::BadInput(message));
    };
    let report = suite.run(&policy);
    print_report(path, &policy, &report);
    if suggest {
        out!("{}", printable(&suite.suggest(&policy, &report)));
    }
    Ok(report)
}

fn print_report(path: &Path, policy: &Policy, report: &SuiteReport) {
    for result in report.results.iter().filter(|result| !result.passed) {
        outln!("FAILED {}: {}", value(path.display()), printable(&result.name));
        outln!("  expected {}", printable(&result.expected));
        outln!("  decided  {}", printable(&result.decision.to_string()));
    }
    for mutant in report.mutants.iter().filter(|mutant| !mutant.noticed) {
        outln!(
            "UNTESTED {}: no case notices when {} {}",
            mutant.origin,
            printable(&mutant.rule),
            printable(&mutant.change)
        );
    }
    let passed = report.results.iter().filter(|result| result.passed).count();
    let noticed = report.mutants.iter().filter(|mutant| mutant.noticed).count();
    outln!(
        "{} ({}): {passed} of {} cases passed, {noticed} of {} loosened rules noticed",
        path.display(),
        policy.name(),
        report.results.len(),
        report.mutants.len()
    );
}
