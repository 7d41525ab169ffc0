//! `casemate pod check`.

use super::Format;
use super::source::{Source, bound};
use crate::files::print_json;
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_foreign_text as foreign;
use casemate_pod::Manifest;
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Status 0 when the pod has this very manifest, 1 when it has another one, and
each difference by its name; 2 for what cannot be read, and for a pod that
cannot be bound.

Examples:
  casemate pod check pod.toml pod.yaml --image web:1=web.tar
  casemate pod check initdata.toml pod.yaml --image web:1=web.tar \\
      --choices choices.toml --format json
";

/// Compare a manifest with a pod: is it still the pod that was bound?
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct CheckArgs {
    /// The manifest, the initdata that has it, or a pod whose annotation has that.
    manifest: PathBuf,

    #[command(flatten)]
    source: Source,

    /// Format of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Runs the subcommand.
pub fn run(args: &CheckArgs) -> Outcome {
    let bound = bound(&args.manifest)?;
    let read = args.source.read()?;
    let pod = args.source.manifest(&read)?;
    let mut differences = differences(&bound.manifest, pod)?;
    if let Some((document, casemate)) = &bound.initdata {
        let now = read.initdata(pod)?;
        let other = casemate_initdata::Initdata::read(&now)
            .map_err(|e| Failure::BadInput(e.to_string()))?;
        let member = |one: &casemate_initdata::Initdata| {
            one.member(casemate_initdata::CASEMATE).map(str::to_owned)
        };
        if member(document) != member(&other) {
            let was = format!("{:?}", casemate.secrets);
            let is = format!("{:?}", read.choices.secrets);
            differences.push(("broker and secrets".into(), Some(was), Some(is)));
        } else if differences.is_empty() && document.host_data() != other.host_data() {
            // The same members in another spelling.
            differences.push(("initdata's spelling".into(), None, None));
        }
    }
    match args.format {
        Format::Json => {
            let one = |(what, was, is): &Difference| json!({ "what": what, "was": was, "is": is });
            let all: Vec<_> = differences.iter().map(one).collect();
            print_json(&json!({ "same": all.is_empty(), "differences": all }));
        }
        Format::Text if differences.is_empty() => outln!("the pod has this manifest"),
        Format::Text => {
            for (what, was, is) in &differences {
                let shown = |text: &Option<String>| {
                    let text = text.as_deref().unwrap_or("nothing");
                    foreign::line(text).at_most(300).to_string()
                };
                outln!("{}: {} -> {}", foreign::line(what), shown(was), shown(is));
            }
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(Failure::Status(1)) }
}

/// What differs, what it was, and what it is.
type Difference = (String, Option<String>, Option<String>);

fn differences(bound: &Manifest, pod: &Manifest) -> Result<Vec<Difference>, Failure> {
    let (was, is) = (parts(bound)?, parts(pod)?);
    let mut all = Vec::new();
    let keys: std::collections::BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for key in keys {
        if was.get(key) != is.get(key) {
            all.push((key.clone(), was.get(key).cloned(), is.get(key).cloned()));
        }
    }
    Ok(all)
}

/// The values of a manifest by name: the lines of its one spelling, under the names of containers
/// and volumes. Layers are numbers there, so here they are what the numbers mean.
fn parts(manifest: &Manifest) -> Result<BTreeMap<String, String>, Failure> {
    let text = manifest.text().map_err(|e| Failure::BadInput(e.to_string()))?;
    let (mut parts, mut section, mut kind) = (BTreeMap::new(), String::new(), "");
    for line in text.lines() {
        match line {
            "[[container]]" => kind = "container",
            "[[volume]]" => kind = "volume",
            "[pod]" | "[pod.dns]" => {
                section = line.trim_matches(['[', ']']).to_owned();
                kind = "";
            }
            _ => {}
        }
        let Some((key, value)) = line.split_once(" = ") else { continue };
        // Lines of a list begin with a quotation mark, and name what is elsewhere by number.
        if key.starts_with('"') || key == "layers" {
            continue;
        }
        if key == "name" {
            section = format!("{kind} {}", value.trim_matches('"'));
        }
        parts.insert(format!("{section} {key}").trim_start().to_owned(), value.to_owned());
    }
    for (place, container) in (1..).zip(&manifest.containers) {
        let layers: Vec<String> = manifest.layers_of(container).map(ToString::to_string).collect();
        let name = &container.name;
        for (number, layer) in (1..).zip(layers) {
            parts.insert(format!("container {name} layer {number}"), layer);
        }
        parts.insert(format!("container {name} place"), place.to_string());
    }
    Ok(parts)
}
