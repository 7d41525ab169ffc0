//! `casemate policy eval`, `explain` and `why-not`: ask a policy about an input.

use super::files::{json, printable, read_input, read_policy};
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_policy::{
    Change, Decision, Explained, Input, Outcome as RuleOutcome, Point, Policy, WhyNot,
};
use clap::Args;
use std::path::PathBuf;

/// A policy and an input.
#[derive(Debug, Args)]
struct Question {
    /// Policy (TOML or JSON), or builtin:strict, builtin:permissive
    policy: PathBuf,
    /// Input (JSON or TOML); - for standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Decision point; else the input's "point"
    #[arg(long, value_name = "NAME")]
    point: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Question {
    /// The policy, the point and an input that does not contradict itself: what holds of a world
    /// that cannot be is no answer.
    fn read(&self) -> Result<(Policy, Point, Input), Failure> {
        let policy = read_policy(&self.policy)?;
        let (point, input) = read_input(&self.input, self.point.as_deref())?;
        let contradictions = policy.contradictions(point, &input.facts);
        if contradictions.is_empty() {
            return Ok((policy, point, input));
        }
        let name = self.input.display();
        let lines: Vec<String> =
            contradictions.iter().map(|line| format!("{name}: {line}")).collect();
        Err(Failure::BadInput(printable(&lines.join("\n"))))
    }
}

/// Decide an input; exit status 1 when it is not allowed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy eval policy.toml --input input.json
  casemate policy eval builtin:strict --input - --point launch
")]
pub struct EvalArgs {
    #[command(flatten)]
    question: Question,
}

/// Show every rule: where it is, what it admits, what was found, how it was decided
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy explain policy.toml --input input.json
")]
pub struct ExplainArgs {
    #[command(flatten)]
    question: Question,
}

/// Show the smallest change of the input that would be admitted
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy why-not policy.toml --input input.json
")]
pub struct WhyNotArgs {
    #[command(flatten)]
    question: Question,
}

fn status(decision: &Decision) -> Outcome {
    if decision.is_allow() { Ok(()) } else { Err(Failure::Status(1)) }
}

/// Decides an input.
///
/// # Errors
/// Status 1 when the input is not allowed, 2 for bad input.
pub fn eval(args: &EvalArgs) -> Outcome {
    let (policy, point, input) = args.question.read()?;
    let decision = policy.decide(point, &input.facts);
    if args.question.json {
        outln!("{}", decision_json(point, &policy.hash_hex(), &decision));
    } else {
        outln!("{point}: {}", decision.verdict);
        for reason in &decision.reasons {
            outln!("  {}", printable(&reason.to_string()));
        }
    }
    status(&decision)
}

fn decision_json(point: Point, hash: &str, decision: &Decision) -> String {
    let reasons: Vec<String> = decision
        .reasons
        .iter()
        .map(|r| {
            let (rule, at) = (json(&r.rule), json(&r.origin.to_string()));
            let (admits, found) = (json(&r.admits), json(&r.found));
            format!("{{\"rule\":{rule},\"at\":{at},\"admits\":{admits},\"found\":{found}}}")
        })
        .collect();
    format!(
        "{{\"point\":\"{point}\",\"verdict\":\"{}\",\"policy\":\"{hash}\",\"reasons\":[{}]}}",
        decision.verdict,
        reasons.join(",")
    )
}

/// Explains a decision.
///
/// # Errors
/// Status 1 when the input is not allowed, 2 for bad input.
pub fn explain(args: &ExplainArgs) -> Outcome {
    let (policy, point, input) = args.question.read()?;
    let (decision, rows) = policy.explain(point, &input.facts);
    if args.question.json {
        let rows: Vec<String> = rows.iter().map(row_json).collect();
        outln!(
            "{{\"point\":\"{point}\",\"verdict\":\"{}\",\"policy\":\"{}\",\"rules\":[{}]}}",
            decision.verdict,
            policy.hash_hex(),
            rows.join(",")
        );
        return status(&decision);
    }
    outln!("{point}: {} (policy {}, {})", decision.verdict, policy.name(), policy.hash_hex());
    for row in &rows {
        outln!("{}", printable(&row_text(row)));
    }
    let unchecked = rows.iter().filter(|row| row.outcome == RuleOutcome::NotChecked).count();
    outln!("{} rules, {unchecked} not checked", rows.len());
    if point == Point::Secrets && rows.is_empty() {
        outln!("no grant covers the resource");
    }
    status(&decision)
}

pub(crate) fn row_text(row: &Explained) -> String {
    let Explained { rule, origin, operator, admits, fact, found, outcome } = row;
    let found = found.as_deref().unwrap_or("(not in the input)");
    let line = format!("  {:<11} {rule}: {operator} {admits}", outcome.name());
    if *outcome == RuleOutcome::Setting {
        return format!("{line}  [{origin}]");
    }
    format!("{line}; {fact} is {found}  [{origin}]")
}

pub(crate) fn row_json(row: &Explained) -> String {
    let found = row.found.as_deref().map_or_else(|| "null".to_owned(), json);
    format!(
        "{{\"rule\":{},\"at\":{},\"operator\":{},\"admits\":{},\"fact\":{},\"found\":{found},\"outcome\":{}}}",
        json(&row.rule),
        json(&row.origin.to_string()),
        json(row.operator),
        json(&row.admits),
        json(row.fact),
        json(row.outcome.name()),
    )
}

/// Shows what would have to change.
///
/// # Errors
/// Status 1 when the input is not allowed, 2 for bad input.
pub fn why_not(args: &WhyNotArgs) -> Outcome {
    let (policy, point, input) = args.question.read()?;
    let answer = policy.why_not(point, &input.facts);
    let lines: Vec<String> = match &answer {
        WhyNot::Admitted => Vec::new(),
        WhyNot::Change(changes) => changes.iter().map(ToString::to_string).collect(),
        WhyNot::Never(rules) => rules.clone(),
    };
    let (word, text) = match &answer {
        WhyNot::Admitted => ("admitted", "the input is admitted as it is"),
        WhyNot::Change(_) => ("change", "the input would be admitted with"),
        WhyNot::Never(_) => ("never", "no input is admitted here, whatever is changed"),
    };
    if args.question.json {
        let changes: Vec<String> = match &answer {
            WhyNot::Change(changes) => changes.iter().map(change_json).collect(),
            WhyNot::Admitted | WhyNot::Never(_) => Vec::new(),
        };
        let lines: Vec<String> = lines.iter().map(|line| json(line)).collect();
        outln!(
            "{{\"point\":\"{point}\",\"answer\":\"{word}\",\"policy\":\"{}\",\"changes\":[{}],\"lines\":[{}]}}",
            policy.hash_hex(),
            changes.join(","),
            lines.join(",")
        );
    } else {
        outln!("{point}: {text}");
        for line in &lines {
            outln!("  {}", printable(line));
        }
    }
    if answer == WhyNot::Admitted { Ok(()) } else { Err(Failure::Status(1)) }
}

/// One change: the fact, what it is (null when it is missing), what it would have to be.
fn change_json(change: &Change) -> String {
    let (from, to) = change.shown();
    let from = from.as_deref().map_or_else(|| "null".to_owned(), json);
    format!("{{\"fact\":{},\"from\":{from},\"to\":{}}}", json(change.key.path()), json(&to))
}
