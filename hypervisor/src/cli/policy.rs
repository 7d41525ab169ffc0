//! `casemate policy`: write, check, ask, compare and test policies.

use super::{Failure, Outcome, policy_ask, policy_audit, policy_compare, policy_write};
use clap::{Args, Subcommand};
use policy::document::MAX_DOCUMENT;
use policy::{Input, LoadError, Point, Policy};
use std::io::Read;
use std::path::Path;

/// Write, check, ask, compare and test isolation policies
#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    Check(policy_audit::CheckArgs),
    Lint(policy_audit::LintArgs),
    Test(policy_audit::TestArgs),
    Eval(policy_ask::EvalArgs),
    Explain(policy_ask::ExplainArgs),
    WhyNot(policy_ask::WhyNotArgs),
    Diff(policy_compare::DiffArgs),
    Merge(policy_compare::MergeArgs),
    Export(policy_write::ExportArgs),
    Hash(policy_write::HashArgs),
    Init(policy_write::InitArgs),
    Reference(policy_write::ReferenceArgs),
    Schema(policy_write::SchemaArgs),
}

/// Runs the subcommand.
///
/// # Errors
/// As the subcommand says.
pub fn run(args: &PolicyArgs) -> Outcome {
    match &args.command {
        PolicyCommand::Check(args) => policy_audit::check(args),
        PolicyCommand::Lint(args) => policy_audit::lint(args),
        PolicyCommand::Test(args) => policy_audit::test(args),
        PolicyCommand::Eval(args) => policy_ask::eval(args),
        PolicyCommand::Explain(args) => policy_ask::explain(args),
        PolicyCommand::WhyNot(args) => policy_ask::why_not(args),
        PolicyCommand::Diff(args) => policy_compare::diff(args),
        PolicyCommand::Merge(args) => policy_compare::merge(args),
        PolicyCommand::Export(args) => policy_write::export(args),
        PolicyCommand::Hash(args) => policy_write::hash(args),
        PolicyCommand::Init(args) => policy_write::init(args),
        PolicyCommand::Reference(args) => policy_write::reference(args),
        PolicyCommand::Schema(args) => policy_write::schema(args),
    }
}

/// The text of a document; `-` is standard input. Reads no more than a document may have.
pub(super) fn read_text(path: &Path) -> Result<String, Failure> {
    let limit = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::BadInput(format!("{}: {error}", path.display())))?;
    if bytes.len() > MAX_DOCUMENT {
        let message = format!("{}: longer than {MAX_DOCUMENT} bytes", path.display());
        return Err(Failure::BadInput(message));
    }
    String::from_utf8(bytes)
        .map_err(|error| Failure::BadInput(format!("{}: not UTF-8: {error}", path.display())))
}

/// All errors of a document, one a line, without the characters that would steer a terminal.
pub(super) fn refused(error: &LoadError) -> Failure {
    Failure::BadInput(printable(&error.to_string()))
}

/// The text with control characters, other than line feeds, made visible.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let plain = c == '\n' || !c.is_control();
            let escaped = (!plain).then(|| c.escape_default());
            plain.then_some(c).into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

/// Reads a complete policy. `strict` and `permissive` name the built-in ones.
pub(super) fn read_policy(path: &Path) -> Result<Policy, Failure> {
    match path.to_str() {
        Some("builtin:strict") => return Ok(Policy::builtin_strict()),
        Some("builtin:permissive") => return Ok(Policy::builtin_permissive()),
        _ => {}
    }
    let text = read_text(path)?;
    Policy::load(&text, &path.to_string_lossy()).map_err(|error| refused(&error))
}

/// Reads an input and the point to decide it at.
pub(super) fn read_input(path: &Path, point: Option<&str>) -> Result<(Point, Input), Failure> {
    let text = read_text(path)?;
    let input = Input::load(&text, &path.to_string_lossy()).map_err(|error| refused(&error))?;
    let point = match point {
        Some(name) => Point::from_name(name).ok_or_else(|| {
            let known: Vec<&str> = Point::ALL.into_iter().map(Point::name).collect();
            Failure::BadInput(format!("--point: {name:?} is none of {}", known.join(", ")))
        })?,
        None => input.point.ok_or_else(|| {
            Failure::BadInput("the input names no decision point; give --point NAME".into())
        })?,
    };
    Ok((point, input))
}

/// A JSON string.
pub(super) fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
