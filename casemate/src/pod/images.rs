//! Container images of a pod: each layer read once, and its root hash computed as a node does it.

use crate::Failure;
use crate::image::place::{Scratch, failure};
use casemate_foreign_text::value;
use casemate_image::oci::{self, Blobs};
use casemate_image::overlay::Stack;
use casemate_image::{ImageError, Limits};
use casemate_pod::{Hash, Layer, MAX_LAYERS};
use casemate_podspec::Image;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `NAME=FILE`, the name as the pod writes it.
#[derive(Debug, Clone)]
pub(super) struct ImageArg {
    name: String,
    file: PathBuf,
    reference: Option<String>,
}

impl std::str::FromStr for ImageArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, file) = text.split_once('=').ok_or("write NAME=FILE")?;
        let (file, reference) = match file.rsplit_once(",ref=") {
            Some((file, reference)) => (file, Some(reference.to_owned())),
            None => (file, None),
        };
        if name.is_empty() || file.is_empty() {
            return Err("write NAME=FILE");
        }
        Ok(Self { name: name.to_owned(), file: file.into(), reference })
    }
}

/// Reads the images.
///
/// # Errors
/// [`Failure`] with the name of the file at fault.
pub(super) fn load(args: &[ImageArg]) -> Result<BTreeMap<String, Image>, Failure> {
    let mut all = BTreeMap::new();
    let mut known = BTreeMap::new();
    for arg in args {
        let image = one(arg, &mut known).map_err(|why| match failure(why) {
            Failure::BadInput(why) => {
                Failure::BadInput(format!("{}: {why}", value(arg.file.display())))
            }
            other => other,
        })?;
        if all.insert(arg.name.clone(), image).is_some() {
            let name = value(&arg.name);
            return Err(Failure::BadInput(format!("--image: {name} is given twice")));
        }
    }
    Ok(all)
}

fn blobs(path: &Path, scratch: &Scratch) -> Result<Blobs, ImageError> {
    if path.is_dir() {
        return Ok(Blobs::Folder(path.to_owned()));
    }
    let file = casemate_files::open(path).map_err(|e| ImageError::Source(e.to_string()))?;
    Blobs::archive(file, scratch.room()?)
}

fn one(arg: &ImageArg, known: &mut BTreeMap<[u8; 32], Layer>) -> Result<Image, ImageError> {
    let scratch = Scratch::of_system();
    let blobs = blobs(&arg.file, &scratch)?;
    let found = oci::find(&blobs, arg.reference.as_deref())?;
    let number = found.diff_ids().count();
    if number > MAX_LAYERS {
        let limit = MAX_LAYERS as u64;
        return Err(ImageError::Limit { limit, of: "layers" });
    }
    let mut spool = scratch.room()?;
    let (mut stack, mut layers) = (Stack::default(), Vec::new());
    for number in 0..number {
        let alone = found.layer(&blobs, number, Limits::default(), &mut spool)?;
        let layer = match known.get(&alone.diff_id()) {
            Some(layer) => *layer,
            None => {
                let unnamed = scratch.nameless().map_err(|e| ImageError::Source(e.to_string()))?;
                let disk = alone.write(&spool, &unnamed)?;
                let blocks = u32::try_from(disk.verity.data_blocks)
                    .map_err(|_| ImageError::Limit { limit: u32::MAX.into(), of: "blocks" })?;
                let (diff_id, root) = (Hash(disk.diff_id), Hash(disk.verity.root));
                *known.entry(disk.diff_id).or_insert(Layer { diff_id, root, blocks })
            }
        };
        layers.push(layer);
        stack.push(alone)?;
    }
    Image::new(layers, found.config.config, stack, &spool)
}
