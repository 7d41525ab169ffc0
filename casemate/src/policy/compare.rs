//! `casemate policy diff` and `merge`.

use super::files::{json, name_of, printable, read_policy, read_text, refused};
use crate::files::{was_read, write_file};
use crate::html::Page;
use crate::out::{errln, out, outln};
use crate::{Failure, Outcome};
use casemate_policy::{Diff, Difference, Input, Policy};
use clap::Args;
use std::path::{Path, PathBuf};

/// Compare two policies; exit status 1 when the second is looser anywhere, be it only where other
/// rules deny today
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy diff policy.toml proposed.toml
  casemate policy diff policy.toml proposed.toml --html diff.html
")]
pub struct DiffArgs {
    /// The policy in force
    first: PathBuf,
    /// The policy proposed
    second: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Write the differences side by side as a page, without network or script
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
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
    if let Some(path) = &args.html {
        [&args.first, &args.second].into_iter().for_each(|path| was_read(path));
        write_file(path, page(args, (&first, &second), &diff).as_bytes())?;
    }
    if args.json {
        let rows: Vec<String> = diff.differences.iter().map(difference_json).collect();
        outln!("{{\"looser\":{looser},\"differences\":[{}]}}", rows.join(","));
    } else {
        for difference in &diff.differences {
            print_difference(difference);
        }
        let count = diff.differences.len();
        let answer = answer(&diff);
        outln!("{count} fields differ; {answer}");
    }
    if looser { Err(Failure::Status(1)) } else { Ok(()) }
}

/// What differs in words, an effect that there is not yet included.
fn effect(difference: &Difference) -> &'static str {
    match (difference.is_latent(), difference.without_effect) {
        (true, _) => " (latent: other rules deny it today)",
        (_, true) => " (without effect)",
        _ => "",
    }
}

/// The answer in one sentence.
fn answer(diff: &Diff) -> &'static str {
    match (diff.differences.len(), diff.is_looser()) {
        (0, _) => "the policies decide alike",
        (_, true) if diff.is_latent() => {
            "the second policy admits nothing new today, but is looser where other rules deny: \
             it needs approval"
        }
        (_, true) => "the second policy is looser: it needs approval",
        (_, false) => "the second policy is nowhere looser",
    }
}

/// Both policies side by side, where they differ.
fn page(args: &DiffArgs, (first, second): (&Policy, &Policy), diff: &Diff) -> String {
    let mut page = Page::default();
    page.section("Summary", answer(diff));
    let of = |which: &str, path: &Path, policy: &Policy| {
        vec![which.to_owned(), name_of(path), policy.name().to_owned(), policy.hash_hex()]
    };
    let rows = [of("first", &args.first, first), of("second", &args.second, second)];
    page.table("The policies", &["which", "file", "name", "SHA-256"], &rows);
    page.section(
        "Differences",
        "Field by field; looser is what the second admits and the first does not.",
    );
    let row = |one: &Difference| {
        let how = format!("{}{}", one.relation.name(), effect(one));
        vec![one.rule.clone(), how, one.first.clone(), one.second.clone()]
    };
    let rows: Vec<Vec<String>> = diff.differences.iter().map(row).collect();
    page.table("Fields that differ", &["field", "the second is", "first", "second"], &rows);
    page.section("Witnesses", "An input that only one of the two admits, where there is one.");
    for one in &diff.differences {
        let witnesses = [
            ("only the first admits", &one.only_first),
            ("only the second admits", &one.only_second),
        ];
        for (text, input) in witnesses {
            if let Some(input) = input {
                page.part(&format!("{}: {text}", one.rule), false, |page| {
                    page.line(&input.to_json());
                });
            }
        }
    }
    let made = format!("casemate {}", env!("CARGO_PKG_VERSION"));
    page.finish(&format!("{} and {}", first.name(), second.name()), &made)
}

fn print_difference(difference: &Difference) {
    let Difference { rule, relation, first, second, .. } = difference;
    let effect = effect(difference);
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
