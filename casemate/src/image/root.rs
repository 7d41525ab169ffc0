//! `casemate image root`: the disk itself, an EROFS file system with its dm-verity tree.

use super::place::{Place, failure};
use crate::Outcome;
use crate::files::print_json;
use crate::out::{errln, outln};
use casemate_attestation::hex::encode;
use casemate_foreign_text as foreign;
use casemate_image::folder::Rule;
use casemate_image::source::{self, Loaded, Options};
use casemate_image::verity::Verity;
use casemate_image::{Dropped, Limits, erofs, verity};
use casemate_manifest::{RootDisk, SALT};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::PathBuf;

const EXAMPLES: &str = "\
The disk depends on SOURCE and on this version of Casemate only: whoever
builds it, where and when, has the same bytes and the same root hash. No root
and no other program is needed.

Of a container image owners, modes, times, links, device nodes and file
capabilities are as its layers have them; extended attributes other than
user.* are left out and counted. Of a folder everything is root's and from
1970, unless told otherwise.

The table that is printed is the guest's, for a disk /dev/vda: it holds the
root hash, so it belongs on the guest's measured command line or into its
initrd. casemate-init takes it as a line \"disk / TABLE\" of its
/casemate/workload; in another initrd:
  dmsetup create root --readonly --table \"TABLE\" && mount /dev/mapper/root /

Examples:
  casemate image root app.tar -o root.img            of `docker save`
  casemate image root layout/ --ref 1.2 -o root.img  an OCI image layout
  casemate image root rootfs/ --owners keep -o root.img
  casemate image root app.tar -o root.img --json     for scripts
";

/// Make a read-only disk: an EROFS file system and the dm-verity tree that proves each of its
/// blocks.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Root {
    /// A folder, an OCI image layout (a folder or an archive), an archive of `docker save`, or a
    /// tar file of a root file system; archives may be compressed by gzip, xz or zstd.
    source: PathBuf,

    /// The disk to make; a file that is there already is left alone.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Of several images, the one of this name.
    #[arg(long = "ref", value_name = "NAME")]
    reference: Option<String>,

    /// Who owns the files of a folder.
    #[arg(long, value_name = "WHO", default_value = "root")]
    owners: Owners,

    /// When the files of a folder were changed, in seconds since 1970.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = 0)]
    mtime: i64,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,

    /// Print nothing but the device-mapper table, for a disk /dev/vda.
    #[arg(long, conflicts_with = "json")]
    table: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Owners {
    /// Everything is root's.
    Root,
    /// As the folder has them.
    Keep,
}

/// Runs the subcommand.
pub fn run(args: &Root) -> Outcome {
    let place = Place::new(&args.output)?;
    let mut spool = place.scratch.room().map_err(failure)?;
    let options = Options {
        reference: args.reference.as_deref(),
        rule: Rule { keep_owners: matches!(args.owners, Owners::Keep), mtime: args.mtime },
        limits: Limits::default(),
    };
    let room = || place.scratch.room();
    let loaded = source::load(&args.source, &options, &mut spool, room).map_err(failure)?;
    let disk = place.scratch.nameless()?;
    let written = erofs::write(&loaded.tree, &spool, &disk).map_err(failure)?;
    let verity = verity::append(&disk, written.blocks, &SALT).map_err(failure)?;
    place.name_file(&disk)?;
    print(args, &loaded, written, &verity);
    Ok(())
}

/// A table for `dmsetup`, for a disk /dev/vda.
fn table(verity: &Verity) -> String {
    let disk = RootDisk { data_blocks: verity.data_blocks, hash: verity.root };
    format!("0 {} verity {}", disk.sectors(), disk.verity("/dev/vda", true))
}

/// Says what of a source is not in its image.
pub(crate) fn say_dropped(dropped: Dropped) {
    if dropped.xattrs > 0 {
        errln!(
            "casemate: note: {} extended attributes were left out (only user.* and \
             security.capability are kept)",
            dropped.xattrs
        );
    }
}

fn print(args: &Root, loaded: &Loaded, written: erofs::Written, verity: &Verity) {
    let Loaded { dropped, image, .. } = loaded;
    say_dropped(*dropped);
    let bytes =
        (verity.data_blocks.saturating_add(verity.tree_blocks)).saturating_mul(verity::BLOCK);
    if args.table {
        outln!("{}", table(verity));
        return;
    }
    if args.json {
        print_json(&json!({
            "root_hash": encode(&verity.root),
            "salt": encode(&SALT),
            "data_blocks": verity.data_blocks,
            "tree_blocks": verity.tree_blocks,
            "bytes": bytes,
            "files": written.inodes,
            "dropped_xattrs": dropped.xattrs,
            "image": image.as_ref().map(|(id, _)| format!("sha256:{}", encode(id))),
            "created": image.as_ref().and_then(|(_, config)| config.created.as_deref()),
            "table": table(verity),
        }));
        return;
    }
    outln!("root hash  {}", encode(&verity.root));
    outln!("files      {}", written.inodes);
    outln!(
        "size       {bytes} bytes: blocks of 4 KiB, {} of files and {} of their tree",
        verity.data_blocks,
        verity.tree_blocks
    );
    if let Some((id, config)) = image {
        outln!("image      sha256:{}", encode(id));
        let program = config.config.entrypoint.iter().chain(&config.config.cmd);
        let program: Vec<String> =
            program.take(16).map(|word| foreign::value(word).to_string()).collect();
        outln!("program    {}", program.join(" "));
    }
    outln!("table      {}", table(verity));
}
