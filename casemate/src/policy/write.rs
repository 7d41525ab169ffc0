//! `casemate policy export`, `hash`, `init`, `reference` and `schema`: what is written from a
//! policy or about policies.

use super::files::{read_input, read_policy, write_new};
use crate::out::{out, outln};
use crate::{Failure, Outcome};
use casemate_foreign_text::value;
use casemate_policy::{Input, export};
use clap::Args;
use std::path::PathBuf;

/// Write a policy, or an input for it, in another policy language
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy export policy.toml --rego > policy.rego
  casemate policy export policy.toml --cedar > policy.cedar
  casemate policy export policy.toml --cedar --schema > policy.schema
  casemate policy export policy.toml --rego --input input.json
")]
pub struct ExportArgs {
    /// Policy (TOML or JSON), or builtin:strict, builtin:permissive
    policy: PathBuf,
    /// Rego, version 1
    #[arg(long, required_unless_present = "cedar", conflicts_with = "cedar")]
    rego: bool,
    /// Cedar
    #[arg(long)]
    cedar: bool,
    /// Cedar: write the schema
    #[arg(long, requires = "cedar")]
    schema: bool,
    /// Write this input as the exported policy expects it
    #[arg(long, value_name = "FILE", conflicts_with = "schema")]
    input: Option<PathBuf>,
    /// Decision point of the input
    #[arg(long, value_name = "NAME", requires = "input")]
    point: Option<String>,
}

/// Print the SHA-256 of the canonical form: equal of policies that decide alike
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy hash policy.toml
  casemate policy hash policy.toml --canonical
")]
pub struct HashArgs {
    /// Policy (TOML or JSON), or builtin:strict, builtin:permissive
    policy: PathBuf,
    /// Print the canonical form itself
    #[arg(long)]
    canonical: bool,
}

/// Write a strict starter policy with comments
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy init policy.toml
")]
pub struct InitArgs {
    /// File to write; must not exist. Standard output without it
    file: Option<PathBuf>,
}

/// Print the reference of every field (Markdown)
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy reference > policy-fields.md
")]
pub struct ReferenceArgs {}

/// Print the JSON Schema of a policy document, for editors
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy schema > policy.schema.json
")]
pub struct SchemaArgs {}

/// What Cedar cannot be told is bad input: half of an export would be fail-open.
fn cedar<T>(exported: Result<T, export::CedarError>) -> Result<T, Failure> {
    exported.map_err(|error| Failure::BadInput(error.to_string()))
}

/// Exports a policy.
///
/// # Errors
/// Status 2 for bad input.
pub fn export(args: &ExportArgs) -> Outcome {
    if args.schema {
        out!("{}", export::cedar_schema());
        return Ok(());
    }
    let policy = read_policy(&args.policy)?;
    let Some(path) = &args.input else {
        let text = if args.rego { export::rego(&policy) } else { cedar(export::cedar(&policy))? };
        out!("{text}");
        return Ok(());
    };
    let (point, input) = read_input(path, args.point.as_deref())?;
    if args.rego {
        outln!("{}", export::rego_input(&Input { point: Some(point), facts: input.facts }));
    } else {
        let request = cedar(export::cedar_request(point, &input.facts))?;
        outln!("{{\"action\":\"{}\",\"context\":{}}}", request.action, request.context);
    }
    Ok(())
}

/// Prints the hash of a policy.
///
/// # Errors
/// Status 2 for bad input.
pub fn hash(args: &HashArgs) -> Outcome {
    let policy = read_policy(&args.policy)?;
    if args.canonical {
        out!("{}", policy.canonical());
    } else {
        outln!("{}", policy.hash_hex());
    }
    Ok(())
}

/// Writes the starter policy.
///
/// # Errors
/// Status 2 when the file is there already, 1 when it cannot be written.
pub fn init(args: &InitArgs) -> Outcome {
    let text = casemate_policy::starter();
    let Some(path) = &args.file else {
        out!("{text}");
        return Ok(());
    };
    write_new(path, &text)?;
    let name = value(path.display());
    outln!("{name}: a policy that admits nothing yet; next: casemate policy check {name}");
    Ok(())
}

/// Prints the field reference.
///
/// # Errors
/// None.
pub fn reference(_: &ReferenceArgs) -> Outcome {
    out!("{}", casemate_policy::reference());
    Ok(())
}

/// Prints the JSON Schema.
///
/// # Errors
/// None.
pub fn schema(_: &SchemaArgs) -> Outcome {
    out!("{}", casemate_policy::json_schema());
    Ok(())
}
