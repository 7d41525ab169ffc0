//! `casemate image root`: the disk itself, an EROFS file system with its dm-verity tree.

use crate::files::print_json;
use crate::out::{errln, outln};
use crate::{Failure, Outcome};
use casemate_attestation::hex::encode;
use casemate_foreign_text as foreign;
use casemate_image::folder::Rule;
use casemate_image::source::{self, Loaded, Options};
use casemate_image::verity::Verity;
use casemate_image::{ImageError, Limits, Spool, erofs, verity};
use clap::{Args, ValueEnum};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
use serde_json::json;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Contents of all layers together, those included that later ones replace.
const MAX_BYTES: u64 = 64 << 30;
/// Salt of the verity tree: none is needed, since nobody chooses two roots to have the same hash;
/// fixed, since a random one would make two images of one input.
const SALT: [u8; 32] = [0; 32];

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
initrd.
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
    /// A folder, an OCI image layout (a folder or an archive), an archive of `docker save`, or a tar
    /// file of a root file system; archives may be compressed by gzip or zstd.
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
enum Owners {
    /// Everything is root's.
    Root,
    /// As the folder has them.
    Keep,
}

/// Runs the subcommand.
pub fn run(args: &Root) -> Outcome {
    let folder = match args.output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if args.output.symlink_metadata().is_ok() {
        return Err(Failure::BadInput(format!(
            "{}: there is such a file already; name another, or remove it",
            args.output.display()
        )));
    }
    let room = || Spool::new(folder, MAX_BYTES);
    let mut spool = room().map_err(failure)?;
    let options = Options {
        reference: args.reference.as_deref(),
        rule: Rule { keep_owners: matches!(args.owners, Owners::Keep), mtime: args.mtime },
        limits: Limits::default(),
    };
    let loaded = source::load(&args.source, &options, &mut spool, room).map_err(failure)?;
    // Without a name until it is whole: nothing is left of a build that fails or is killed.
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let system = |what: &str, errno: rustix::io::Errno| {
        Failure::Failed(format!(
            "{}: {what}: {}",
            args.output.display(),
            std::io::Error::from(errno)
        ))
    };
    let disk = File::from(open(folder, flags, mode).map_err(|e| system("cannot be made", e))?);
    let written = erofs::write(&loaded.tree, &spool, &disk).map_err(failure)?;
    let verity = verity::append(&disk, written.blocks, &SALT).map_err(failure)?;
    disk.sync_all().map_err(|e| Failure::Failed(format!("{}: {e}", args.output.display())))?;
    let unnamed = format!("/proc/self/fd/{}", disk.as_raw_fd());
    linkat(CWD, &unnamed, CWD, &args.output, AtFlags::SYMLINK_FOLLOW)
        .map_err(|e| system("cannot be given its name", e))?;
    print(args, &loaded, written, &verity);
    Ok(())
}

#[allow(clippy::needless_pass_by_value, reason = "it maps errors")]
fn failure(error: ImageError) -> Failure {
    if error.is_bad_input() {
        Failure::BadInput(error.to_string())
    } else {
        Failure::Failed(error.to_string())
    }
}

/// The kernel's parameters of a verity target (Documentation/admin-guide/device-mapper/verity.rst).
/// Errors of the disk and blocks that are not the proven ones end the guest: with an error for an
/// answer the host could switch off single files.
fn table(verity: &Verity) -> String {
    let Verity { root, data_blocks, .. } = verity;
    format!(
        "0 {} verity 1 /dev/vda /dev/vda 4096 4096 {data_blocks} {data_blocks} sha256 {} {} \
         2 panic_on_corruption panic_on_error",
        data_blocks.saturating_mul(8),
        encode(root),
        encode(&SALT)
    )
}

fn print(args: &Root, loaded: &Loaded, written: erofs::Written, verity: &Verity) {
    let Loaded { dropped, image, .. } = loaded;
    if dropped.xattrs > 0 {
        errln!(
            "casemate: note: {} extended attributes were left out (only user.* and \
             security.capability are kept)",
            dropped.xattrs
        );
    }
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
