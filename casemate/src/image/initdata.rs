//! `casemate image initdata`: what runs of an image hand to their guests, and its hash, for who
//! writes a policy before there is a run.

use super::place::failure;
use crate::files::write_file;
use crate::out::outln;
use crate::{Failure, Outcome, run_broker};
use casemate_attestation::hex::encode;
use casemate_image::launch::Folder;
use casemate_initdata::host_data;
use clap::Args;
use std::path::{Path, PathBuf};

/// Print the HOST_DATA of an image's guests, as policies list it.
///
/// A run hands its guest a document, initdata, of the launch policy (`run --policy`) and, where the
/// image leaves that open, the broker's keys (`run --kbs-key`); HOST_DATA in the guest's reports is
/// its SHA-256. Given the same files and keys, this prints the same hash: `unset` for an image that
/// asks no broker, and for a run that has nothing to hand over.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate image initdata app.img/ --policy launch.toml
  casemate image initdata app.img/ --policy launch.toml -o initdata.toml
")]
pub struct Initdata {
    /// The folder that `casemate image build` made.
    image: PathBuf,

    /// The launch policy, as the run will be given it: byte for byte this file.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// The broker's key, as the run will be given it.
    #[arg(long, value_name = "HASH")]
    kbs_key: Vec<String>,

    /// Write the document here; `-` is standard output, and then the hash is not printed.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the subcommand.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &Initdata) -> Outcome {
    let folder = Folder::open(&args.image).map_err(failure)?;
    folder.files().iter().for_each(|path| crate::files::was_read(path));
    let broker = folder.manifest.broker.as_ref();
    let policy = args.policy.as_deref();
    policy.into_iter().for_each(crate::files::was_read);
    let text = run_broker::document_of(broker, &args.kbs_key, policy)?;
    match (&text, &args.output) {
        (Some(text), Some(path)) => write_file(path, text.as_bytes())?,
        (None, Some(_)) => {
            let why = "--output: the runs of this image hand no initdata to their guests";
            return Err(Failure::BadInput(why.into()));
        }
        (_, None) => {}
    }
    if args.output.as_deref() != Some(Path::new("-")) {
        let hash = text.map(|text| encode(&host_data(text.as_bytes())));
        outln!("{}", hash.as_deref().unwrap_or("unset"));
    }
    Ok(())
}
