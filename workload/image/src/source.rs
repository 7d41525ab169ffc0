//! What a user names as the source of an image, told apart by what it is: a folder, an image
//! layout, an archive of one or of `docker save`, or a tar stream of a root file system.

use crate::folder::{self, Rule};
use crate::oci::{self, Blobs, Config};
use crate::tar::{EndMark, Reader};
use crate::{Dropped, ImageError, Limits, Spool, Tree, unpack};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// How a source is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'o> {
    /// Of several images, the one of this name.
    pub reference: Option<&'o str>,
    /// Of a folder: what becomes of owners and times.
    pub rule: Rule,
    /// What an image may have.
    pub limits: Limits,
}

/// A source that was read.
#[derive(Debug)]
pub struct Loaded {
    /// Its files, merged where it has layers.
    pub tree: Tree,
    /// What was left out of it.
    pub dropped: Dropped,
    /// What a container image says of itself: SHA-256 of its configuration, and that.
    pub image: Option<([u8; 32], Config)>,
}

/// Names at the top of an archive of an image, and of nothing else.
const OF_IMAGES: [&[u8]; 5] =
    [b"oci-layout", b"index.json", b"manifest.json", b"repositories", b"blobs"];

/// Reads a source; its files' contents are in `spool` then. An archive of an image needs room for
/// itself beside that: `room` makes a second spool.
///
/// # Errors
/// [`ImageError`].
pub fn load(
    source: &Path,
    options: &Options<'_>,
    spool: &mut Spool,
    room: impl FnOnce() -> Result<Spool, ImageError>,
) -> Result<Loaded, ImageError> {
    if source.is_dir() {
        if source.join("oci-layout").is_file() {
            return image(&Blobs::Folder(source.to_owned()), options, spool);
        }
        let mut tree = Tree::new(options.limits);
        folder::read(source, options.rule, &mut tree, spool)?;
        return Ok(Loaded { tree, dropped: Dropped::default(), image: None });
    }
    if is_archive_of_image(open(source)?)? {
        return image(&Blobs::archive(open(source)?, room()?)?, options, spool);
    }
    let mut tree = Tree::new(options.limits);
    let dropped = unpack(open(source)?, &mut tree, spool, 1)?;
    Ok(Loaded { tree, dropped, image: None })
}

fn open(source: &Path) -> Result<File, ImageError> {
    casemate_files::open(source).map_err(|e| ImageError::Source(e.to_string()))
}

fn image(blobs: &Blobs, options: &Options<'_>, spool: &mut Spool) -> Result<Loaded, ImageError> {
    let found = oci::find(blobs, options.reference)?;
    let (tree, dropped) = found.unpack(blobs, options.limits, spool)?;
    Ok(Loaded { tree, dropped, image: Some((found.id, found.config)) })
}

/// Whether a stream is an archive of an image: it has one of its documents, and before that nothing
/// that only a root file system has. A root file system shows itself by its first entry, so little
/// is read twice.
fn is_archive_of_image(stream: File) -> Result<bool, ImageError> {
    let mut stream = BufReader::new(stream);
    let mut reader = Reader::new(unpack::decompress(&mut stream)?, EndMark::Needed);
    while let Some(entry) = reader.next_entry()? {
        let mut parts = entry.path.split(|byte| *byte == b'/');
        let top = parts.find(|part| !matches!(*part, b"" | b".")).unwrap_or_default();
        match top {
            b"oci-layout" | b"manifest.json" => return Ok(true),
            // Old archives have their layers by number, in folders and before the documents.
            top if OF_IMAGES.contains(&top) || is_hexadecimal(top) => {}
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// The name of a layer or a configuration: 64 hexadecimal digits, and perhaps what kind of file.
fn is_hexadecimal(name: &[u8]) -> bool {
    let digits = name.strip_suffix(b".json").or_else(|| name.strip_suffix(b".tar")).unwrap_or(name);
    digits.len() == 64 && digits.iter().all(u8::is_ascii_hexdigit)
}
