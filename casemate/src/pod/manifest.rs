//! `casemate pod manifest`.

use super::annotate;
use super::source::Source;
use crate::Outcome;
use crate::files::write_file;
use crate::out::{errln, out};
use casemate_attestation::hex::encode;
use casemate_foreign_text as foreign;
use casemate_podspec::Verdict;
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
The manifest says everything that may run in the pod's guest: the root hash of
each layer, programs with their arguments, environment, users, rights, order,
volumes. It is never written by hand: the same pod, images and choices have
the same text, whose hash is HOST_DATA. It travels as the member pod.toml of
initdata, gzip and base64 in the pod's annotation casemate.dev/initdata.

A line of the pod that cannot be bound is refused with its number; `casemate
pod explain` shows all of them. Every image that the pod names is given as a
file; its name is the host's, its layers are bound.

Pods do not run under this version of Casemate yet.

Examples:
  casemate pod manifest pod.yaml --image web:1=web.tar > pod.toml
  casemate pod manifest pod.yaml --image web:1=layout/,ref=1.2 \\
      --choices choices.toml --initdata -o initdata.toml
  casemate pod manifest pod.yaml --image web:1=web.tar --annotate > bound.yaml
";

/// Write the manifest of a pod: what may run in its guest, and nothing else.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct ManifestArgs {
    #[command(flatten)]
    source: Source,

    /// The whole initdata document, whose SHA-256 is HOST_DATA, in place of the manifest alone.
    #[arg(long, conflicts_with = "annotate")]
    initdata: bool,

    /// The pod with its annotation, ready for `kubectl apply`.
    #[arg(long)]
    annotate: bool,

    /// The file to write [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the subcommand.
pub fn run(args: &ManifestArgs) -> Outcome {
    let read = args.source.read()?;
    let manifest = args.source.manifest(&read)?;
    let initdata = read.initdata(manifest)?;
    let text = if args.annotate {
        annotate::annotated(&read.text, &initdata)?
    } else if args.initdata {
        initdata.clone()
    } else {
        manifest.text().map_err(|e| crate::Failure::BadInput(e.to_string()))?
    };
    match &args.output {
        Some(path) => write_file(path, text.as_bytes())?,
        None => out!("{text}"),
    }
    let open = read.reading.findings.iter().filter(|one| one.verdict == Verdict::Open);
    let mut fields: Vec<&str> = open.map(|one| one.field.as_str()).collect();
    fields.dedup();
    errln!(
        "casemate: HOST_DATA {}; open to the host: {}",
        encode(&casemate_initdata::host_data(initdata.as_bytes())),
        foreign::line(fields.join(", ")).at_most(1000)
    );
    Ok(())
}
