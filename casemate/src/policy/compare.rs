//! `casemate policy diff` and `merge`.

use super::files::{json, name_of, printable, read_policy, read_text, refused};
use crate::out::{errln, out, outln};
use crate::{Failure, Outcome};
use casemate_policy::{Difference, Input, Policy};
use clap::Args;
use std::path::PathBuf;

/// Compare two policies; exit status 1 when the second is looser anywhere, be it only where other
/// rules deny today
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy diff policy.toml proposed.toml
")]
pub struct DiffArgs {
    /// The policy in force
    first: PathBuf,
    /// The policy proposed
    second: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Merge layers onto a policy: the result admits what all of them admit
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy merge operator.toml tenant.toml > merged.toml
")]
pub struct MergeArgs {
    /// The operator's policy
    policy: PathBuf,
    /// Layers, such as the tenant's; each can only tighten
    #[arg(required = true)]
    layers: Vec<PathBuf>,
}

/// Compares two policies.
///
/// # Errors
/// Status 1 when the second admits something that the first does not, or would if another rule let
/// it.
pub fn diff(args: &DiffArgs) -> Outcome {
    let (first, second) = (read_policy(&args.first)?, read_policy(&args.second)?);
    let diff = first.diff(&second);
    let looser = diff.is_looser();
    if args.json {
        let rows: Vec<String> = diff.differences.iter().map(difference_json).collect();
        outln!("{{\"looser\":{looser},\"differences\":[{}]}}", rows.join(","));
    } else {
        for difference in &diff.differences {
            print_difference(difference);
        }
        let count = diff.differences.len();
        let answer = match (count, looser) {
            (0, _) => "the policies decide alike",
            (_, true) if diff.is_latent() => {
                "the second policy admits nothing new today, but is looser where other rules deny: \
                 it needs approval"
            }
            (_, true) => "the second policy is looser: it needs approval",
            (_, false) => "the second policy is nowhere looser",
        };
        outln!("{count} fields differ; {answer}");
    }
    if looser { Err(Failure::Status(1)) } else { Ok(()) }
}

fn print_difference(difference: &Difference) {
    let Difference { rule, relation, first, second, .. } = difference;
    let effect = match (difference.is_latent(), difference.without_effect) {
        (true, _) => " (latent: other rules deny it today)",
        (_, true) => " (without effect)",
        _ => "",
    };
    outln!("{}: {}{effect}", printable(rule), relation.name());
    outln!("  first:  {}", printable(first));
    outln!("  second: {}", printable(second));
    let witness = |text: &str, input: &Option<Input>| {
        if let Some(input) = input {
            outln!("  {text}: {}", printable(&input.to_json()));
        }
    };
    witness("only the first admits", &difference.only_first);
    witness("only the second admits", &difference.only_second);
}

fn difference_json(difference: &Difference) -> String {
    let input = |input: &Option<Input>| input.as_ref().map_or("null".to_owned(), Input::to_json);
    format!(
        "{{\"rule\":{},\"relation\":\"{}\",\"first\":{},\"second\":{},\"without_effect\":{},\
         \"latent\":{},\"only_first\":{},\"only_second\":{}}}",
        json(&difference.rule),
        difference.relation.name(),
        json(&difference.first),
        json(&difference.second),
        difference.without_effect,
        difference.is_latent(),
        input(&difference.only_first),
        input(&difference.only_second),
    )
}

/// Merges layers and prints the result as a document.
///
/// # Errors
/// Status 2 for a document that is refused, and for a result that no document can hold.
pub fn merge(args: &MergeArgs) -> Outcome {
    let mut merged = read_policy(&args.policy)?;
    for path in &args.layers {
        let text = read_text(path)?;
        let layer = Policy::load_layer(&text, &name_of(path)).map_err(|error| refused(&error))?;
        for rule in merged.not_tightened_by(&layer) {
            errln!("note: {}: {rule} is looser than the policy below; ignored", path.display());
        }
        for lost in merged.grants_lost_in(&layer) {
            errln!("warning: {}: {}", path.display(), printable(&lost.to_string()));
        }
        merged = merged.merge(&layer);
    }
    let written = merged.to_document();
    let (text, read) = written.map_err(|error| Failure::BadInput(printable(&error.to_string())))?;
    out!("{text}");
    errln!("note: SHA-256 {}", read.hash_hex());
    Ok(())
}
