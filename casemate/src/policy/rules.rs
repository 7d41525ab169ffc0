//! `casemate policy rules`: every check and lint, for those who meet its id in a review.

use super::files::json;
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_policy::audit::{Described, catalog};
use clap::Args;

/// List every check and lint: id, meaning, example, what to do
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy rules
  casemate policy rules CM024 CM040
  casemate policy rules --json
")]
pub struct RulesArgs {
    /// Show only these, whole; without one a line each
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Prints them.
///
/// # Errors
/// Status 2 for an id that there is not.
pub fn rules(args: &RulesArgs) -> Outcome {
    let all = catalog();
    let unknown = args.ids.iter().find(|id| !all.iter().any(|known| known.id == id.as_str()));
    if let Some(id) = unknown {
        return Err(Failure::BadInput(format!(
            "{id:?} is no check or lint; `casemate policy rules` lists them"
        )));
    }
    let asked = |one: &&Described| args.ids.is_empty() || args.ids.iter().any(|id| id == one.id);
    for one in all.iter().filter(asked) {
        if args.json {
            outln!("{}", as_json(one));
        } else if args.ids.is_empty() {
            outln!("{} {:<7} {}", one.id, one.level.name(), one.meaning);
        } else {
            outln!("{}", whole(one));
        }
    }
    Ok(())
}

fn whole(one: &Described) -> String {
    let mut out = format!("{} ({}): {}\n", one.id, one.level.name(), one.meaning);
    if !one.fields.is_empty() {
        out.push_str(&format!("  fields: {}\n", one.fields.join(", ")));
    }
    out.push_str(&format!("  what to do: {}\n", one.remedy));
    for (index, line) in one.example.lines().enumerate() {
        out.push_str(if index == 0 { "  example: " } else { "           " });
        out.push_str(line);
        out.push('\n');
    }
    for link in links(one) {
        out.push_str(&format!("  see: {link}\n"));
    }
    out
}

/// Where the documentation has more: of each field its heading in the reference, as renderers of
/// Markdown make an anchor of it (lower case, without punctuation but `_` and `-`).
fn links(one: &Described) -> Vec<String> {
    let anchor = |field: &str| {
        let kept = field.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        format!("docs/policy-fields.md#{}", kept.collect::<String>())
    };
    if one.fields.is_empty() {
        return vec!["docs/policy.md".into()];
    }
    one.fields.iter().map(|field| anchor(field)).collect()
}

fn as_json(one: &Described) -> String {
    let list = |items: &[String]| {
        let all: Vec<String> = items.iter().map(|item| json(item)).collect();
        format!("[{}]", all.join(","))
    };
    let fields: Vec<String> = one.fields.iter().map(|field| (*field).to_owned()).collect();
    format!(
        "{{\"id\":\"{}\",\"level\":\"{}\",\"meaning\":{},\"fields\":{},\"remedy\":{},\"example\":{},\"links\":{}}}",
        one.id,
        one.level.name(),
        json(one.meaning),
        list(&fields),
        json(one.remedy),
        json(one.example),
        list(&links(one))
    )
}
