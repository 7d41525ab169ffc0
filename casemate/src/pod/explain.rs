//! `casemate pod explain`.

use super::Format;
use super::source::Source;
use crate::files::print_json;
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_podspec::{Finding, Memory, Verdict};
use clap::Args;
use serde_json::json;

/// What no manifest changes. In docs/pods.md with more words.
const HOST: [&str; 8] = [
    "not start the pod, stop it, starve it, or start many of it at once",
    "choose every value that is open above",
    "delay, drop, repeat and redirect traffic; say what time it is",
    "answer for names in DNS where that is open",
    "read all that a container prints where its stdio lets it out",
    "see sizes, times and the order of accesses to disks and memory",
    "give back an older state of a disk, though never another one",
    "go on using an old manifest for as long as the broker accepts it",
];

const EXAMPLES: &str = "\
Each line of the pod is one of these:
  bound    the manifest says it; another value is another HOST_DATA
  open     the host chooses, within what the line says, and the guest takes
           nothing else
  outside  the host's alone; nothing in the guest follows from it
  refused  cannot be bound: no manifest is made while there is one
A line without a number is what the pod does not say. Status 1 when anything
is refused.

Examples:
  casemate pod explain pod.yaml --image web:1=web.tar
  casemate pod explain pod.yaml --image web:1=web.tar --format json
";

/// Say of each line of a pod who decides it, and what the host can still do.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct ExplainArgs {
    #[command(flatten)]
    source: Source,

    /// Format of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Runs the subcommand.
pub fn run(args: &ExplainArgs) -> Outcome {
    let read = args.source.read()?;
    let reading = &read.reading;
    let mut findings: Vec<&Finding> = reading.findings.iter().collect();
    // What has no line is behind what has one.
    findings.sort_by_key(|one| if one.line == 0 { usize::MAX } else { one.line });
    let known: u64 = reading.memory.iter().filter_map(|one| one.mebibytes).sum();
    match args.format {
        Format::Json => {
            let finding = |one: &&Finding| {
                json!({
                    "line": (one.line > 0).then_some(one.line),
                    "field": one.field,
                    "verdict": one.verdict.word(),
                    "why": one.why,
                })
            };
            let memory = |one: &Memory| json!({ "what": one.what, "mebibytes": one.mebibytes });
            print_json(&json!({
                "pod": reading.name,
                "findings": findings.iter().map(finding).collect::<Vec<_>>(),
                "memory": reading.memory.iter().map(memory).collect::<Vec<_>>(),
                "memory_sum_mebibytes": known,
                "host_can": HOST,
            }));
        }
        Format::Text => text(&findings, &reading.memory, known),
    }
    let refused = findings.iter().any(|one| one.verdict == Verdict::Refused);
    if refused { Err(Failure::Status(1)) } else { Ok(()) }
}

fn text(findings: &[&Finding], memory: &[Memory], known: u64) {
    for one in findings {
        let line = match one.line {
            0 => String::new(),
            line => line.to_string(),
        };
        outln!("{line:>4}  {:7}  {}: {}", one.verdict.word(), one.field, one.why);
    }
    outln!("\nMemory that is spoken for, in MiB:");
    for one in memory {
        let size = one.mebibytes.map_or_else(|| "?".into(), |size| size.to_string());
        outln!("{size:>6}  {}", casemate_foreign_text::line(&one.what));
    }
    outln!("{known:>6}  in all, without those that the pod does not bound");
    outln!("\nWhat the host can still do, whatever the manifest says:");
    for line in HOST {
        outln!("  {line}");
    }
}
