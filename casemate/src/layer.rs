//! `casemate layer`: the disk of one layer, as a pod's guest stacks it.

use crate::files::print_json;
use crate::image::place::{Place, failure};
use crate::image::root::say_dropped;
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_attestation::hex::encode;
use casemate_image::overlay::{Alone, Disk, LAYOUT};
use casemate_image::verity::BLOCK;
use casemate_image::{Digest, Limits};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

const EXAMPLES: &str = "\
The disk is an EROFS file system with its dm-verity tree behind it. It depends
on the layer's uncompressed bytes and on the layout's number only, so whoever
has the layer has the same disk and the same root hash: a tenant when the
manifest of a pod is made, a node before the pod runs. Salt and identifier are
made of the layer's digest. What the layer removes of those below it stands as
overlayfs reads it.

BLOB is a layer as container engines keep it: a tar file, plain or compressed
by gzip, xz or zstd. The digest is of its uncompressed bytes, as the image's
configuration lists it (diff_ids, in order); another one is refused.

Examples:
  casemate layer build layer.tar.gz --diff-id sha256:4f5a... -o layer.img
  casemate layer build layer.tar -o layer.img --json
";

/// Make the disks of layers, as the guest of a pod stacks them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate layer build layer.tar.gz --diff-id sha256:4f5a... -o layer.img
")]
pub struct LayerArgs {
    #[command(subcommand)]
    command: LayerCommand,
}

#[derive(Debug, Subcommand)]
enum LayerCommand {
    Build(Build),
}

/// Make the disk of one layer: the same bytes for everybody who has the layer.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Build {
    /// The layer: a tar file, perhaps compressed.
    blob: PathBuf,

    /// The digest that its uncompressed bytes must have, as `sha256:HEX`.
    #[arg(long, value_name = "DIGEST")]
    diff_id: Option<String>,

    /// The disk to make; a file that is there already is left alone.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn digest(text: &str) -> Result<Digest, Failure> {
    Digest::parse(text).ok_or_else(|| {
        let why = "--diff-id: not sha256: and 64 lower-case hexadecimal digits";
        Failure::BadInput(why.into())
    })
}

/// Runs the subcommand.
///
/// # Errors
/// [`Failure`] with the exit status.
pub fn run(args: &LayerArgs) -> Outcome {
    let LayerCommand::Build(args) = &args.command;
    let expected = args.diff_id.as_deref().map(digest).transpose()?;
    let place = Place::new(&args.output)?;
    let blob = casemate_files::open(&args.blob).map_err(|e| Failure::BadInput(e.to_string()))?;
    let mut spool = place.scratch.room().map_err(failure)?;
    let layer = Alone::read(blob, expected, Limits::default(), &mut spool);
    let layer = layer.map_err(|why| match failure(why) {
        Failure::BadInput(why) => Failure::BadInput(format!("{}: {why}", args.blob.display())),
        other => other,
    })?;
    let file = place.scratch.nameless()?;
    let disk = layer.write(&spool, &file).map_err(failure)?;
    place.name_file(&file)?;
    print(&disk, args.json);
    Ok(())
}

fn print(disk: &Disk, as_json: bool) {
    say_dropped(disk.dropped);
    let Disk { diff_id, verity, files, dropped } = disk;
    let bytes = verity.data_blocks.saturating_add(verity.tree_blocks).saturating_mul(BLOCK);
    let (diff_id, root) = (encode(diff_id), encode(&verity.root));
    if as_json {
        print_json(&json!({
            "diff_id": format!("sha256:{diff_id}"),
            "layout": LAYOUT,
            "root_hash": root,
            "data_blocks": verity.data_blocks,
            "tree_blocks": verity.tree_blocks,
            "bytes": bytes,
            "files": files,
            "dropped_xattrs": dropped.xattrs,
        }));
        return;
    }
    outln!("layer      sha256:{diff_id}");
    outln!("root hash  {root}");
    outln!("files      {files}");
    outln!(
        "size       {bytes} bytes: blocks of 4 KiB, {} of files and {} of their tree",
        verity.data_blocks,
        verity.tree_blocks
    );
}
