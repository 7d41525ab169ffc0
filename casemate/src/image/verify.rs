//! `casemate image verify`: is an image what this source makes?

use super::build::{INIT, KernelArgs};
use super::place::{Scratch, failure};
use super::secrets::purpose;
use super::{identity, launches};
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_attestation::hex::encode;
use casemate_foreign_text::line;
use casemate_image::build;
use casemate_image::kernel;
use casemate_image::launch::{Folder, INITRD, KERNEL, MANIFEST, ROOT};
use clap::Args;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
The image is built again, with the options that its launch.json holds, and
compared byte by byte: the root disk with its tree, the manifest, the command
line, and the launch digest for each number of vCPUs; signatures of ID blocks
are checked. With a kernel named, as
for `image build`, kernel and initrd are compared, too; without one they are
taken as they are, which is said.

Status 0: every byte is what SOURCE makes with the options that are printed:
whoever built the image chose them. Status 1: it is not, and where.

Examples:
  casemate image verify app.tar app.img/ --kernel-package linux-image.deb
";

/// Build an image again and compare every byte.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Verify {
    /// What the image was built of, as for `image build`.
    source: PathBuf,

    /// The folder that `casemate image build` made.
    image: PathBuf,

    #[command(flatten)]
    kernel: KernelArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &Verify) -> Outcome {
    let folder = Folder::open(&args.image).map_err(failure)?;
    let scratch = Scratch::of_system();
    let launch = &folder.launch;
    let settings = &launch.settings;
    let boot = match args.kernel.origin() {
        None => folder.manifest.boot.clone(),
        Some(origin) => {
            let purpose = purpose(settings);
            let kernel = kernel::read(origin, purpose, scratch.folder()).map_err(failure)?;
            let (boot, _) = build::boot(&kernel, INIT);
            same(&boot.kernel, &launch.files.kernel, KERNEL)?;
            same(&boot.initrd, &launch.files.initrd, INITRD)?;
            boot
        }
    };
    let mut spool = scratch.room().map_err(failure)?;
    let room = || scratch.room();
    let loaded = build::load(&args.source, settings, &mut spool, room).map_err(failure)?;
    let disk = scratch.nameless()?;
    let image = build::build(loaded, boot, settings, &mut spool, &disk).map_err(failure)?;
    if image.manifest != folder.manifest {
        return Err(differs(MANIFEST, "it says something else of the image"));
    }
    compare(&disk, &folder.file(ROOT))?;
    if image.cmdline != launch.cmdline {
        return Err(differs("launch.json", "its command line is another"));
    }
    let digests =
        launches::digests(&folder.file(KERNEL), &folder.file(INITRD), &image.cmdline, launch.snp)?;
    let again = build_launch(&image, launch, digests);
    if again != *launch {
        return Err(differs("launch.json", "its digests are others"));
    }
    let identity = identity::check(launch)?;
    outln!("every byte is what the source makes; {} launch digests", launch.digests.len());
    if let Some(identity) = identity {
        outln!("signed by the ID key {}", encode(&identity.keys.id_key));
    }
    // They are whoever's built the image: what is run, as whom, and who hears it.
    let options = serde_json::to_string(settings).unwrap_or_default();
    // All of them: what is cut off could be a recipient. launch.json has at most this.
    outln!("with these options of its launch.json: {}", line(options).at_most(1 << 20));
    if args.kernel.origin().is_none() {
        outln!("kernel and initrd were compared with the image's own hashes only: name the kernel");
    }
    Ok(())
}

fn build_launch(
    image: &build::Image,
    launch: &casemate_image::launch::Launch,
    digests: Vec<(u32, [u8; 48])>,
) -> casemate_image::launch::Launch {
    let settings = launch.settings.clone();
    let mut made =
        casemate_image::launch::Launch::new(image, launch.snp, digests.into_iter(), settings);
    // No signature is made twice: those that are there are checked.
    for (made, found) in made.digests.iter_mut().zip(&launch.digests) {
        made.id.clone_from(&found.id);
    }
    made
}

fn differs(file: &str, why: &str) -> Failure {
    Failure::Failed(format!("{file} is not what the source makes: {why}"))
}

fn same(made: &str, found: &str, file: &str) -> Outcome {
    if made == found {
        return Ok(());
    }
    Err(differs(file, &format!("its SHA-256 is {found}, and would be {made}")))
}

/// Compares the disk that was made with a file, piece by piece.
fn compare(made: &File, found: &Path) -> Outcome {
    let failed = |e: std::io::Error| Failure::Failed(format!("{}: {e}", found.display()));
    let file = casemate_files::open(found).map_err(|e| Failure::BadInput(e.to_string()))?;
    let size = made.metadata().map_err(failed)?.len();
    if file.metadata().map_err(failed)?.len() != size {
        return Err(differs(ROOT, &format!("it would have {size} bytes")));
    }
    let (mut one, mut other) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    let mut at = 0;
    while at < size {
        let piece = usize::try_from(size - at).unwrap_or(one.len()).min(one.len());
        let (Some(one), Some(other)) = (one.get_mut(..piece), other.get_mut(..piece)) else {
            break;
        };
        made.read_exact_at(one, at).map_err(failed)?;
        file.read_exact_at(other, at).map_err(failed)?;
        if let Some(byte) = one.iter().zip(other.iter()).position(|(one, other)| one != other) {
            let at = at.saturating_add(u64::try_from(byte).unwrap_or(0));
            return Err(differs(ROOT, &format!("byte {at} is another")));
        }
        at = at.saturating_add(u64::try_from(piece).unwrap_or(u64::MAX));
    }
    Ok(())
}
