//! Container images as files: image layouts (a folder, or a tar archive of one), and what
//! `docker save` and `podman save` write.
//!
//! Every document and every layer is named by its SHA-256, and is compared with it while it is
//! read; a layer also with the digest of its uncompressed form that the configuration lists. So a
//! whole image hangs on one number, which [`Found::id`] gives.
//!
//! Source: OCI image specification 1.1 (image-layout.md, manifest.md, config.md); Docker's
//! "Image JSON" of `docker save`.

mod blobs;
mod config;
mod documents;
mod keys;

pub use blobs::Blobs;
pub use config::{Config, Process};

use crate::hashed::{Digest, Hashed};
use crate::overlay::Alone;
use crate::{Dropped, ImageError, Limits, Spool, Tree, unpack};
use documents::{Descriptor, Index, Manifest, Saved};
use std::io::Read;

/// Longest document of an image, in bytes.
const MAX_DOCUMENT: u64 = 4 << 20;
/// An index may name indexes, at most so deep.
const MAX_DEPTH: u32 = 4;
/// Layers of an image: what Docker allows is 127.
const MAX_LAYERS: usize = 1024;

/// An image that was found in its files; its layers were not read yet.
#[derive(Debug)]
pub struct Found {
    /// SHA-256 of its configuration: the image's identity, in `docker` and `podman` alike.
    pub id: [u8; 32],
    /// What it says of how it is run.
    pub config: Config,
    layers: Vec<LayerBlob>,
}

#[derive(Debug)]
struct LayerBlob {
    name: String,
    /// What its bytes as they are stored have to be; None where nothing says so (`docker save`).
    stored: Option<(Digest, u64)>,
    uncompressed: Digest,
}

/// Looks for an image in `blobs`: the one for Linux on x86-64, and of several the one whose name is
/// `reference`.
///
/// # Errors
/// [`ImageError::Layout`] with the document at fault.
pub fn find(blobs: &Blobs, reference: Option<&str>) -> Result<Found, ImageError> {
    if blobs.has("oci-layout") {
        from_layout(blobs, reference)
    } else if blobs.has("manifest.json") {
        saved(blobs, reference)
    } else {
        Err(layout("oci-layout", "neither an image layout nor an archive of `docker save`"))
    }
}

impl Found {
    /// Unpacks every layer, the lowest first.
    ///
    /// # Errors
    /// [`ImageError`]; what was unpacked so far is of no use then.
    pub fn unpack(
        &self,
        blobs: &Blobs,
        limits: Limits,
        spool: &mut Spool,
    ) -> Result<(Tree, Dropped), ImageError> {
        let mut tree = Tree::new(limits);
        let mut dropped = Dropped::default();
        for (number, layer) in (1..).zip(&self.layers) {
            let mut stored = Hashed::new(blobs.open(&layer.name)?);
            let lost = unpack::proven(&mut stored, &mut tree, spool, number, layer.uncompressed)
                .map_err(|why| layout(&layer.name, why.to_string()))?;
            dropped.xattrs += lost.xattrs;
            if let Some((digest, size)) = &layer.stored {
                stored.finish(*digest, *size).map_err(|why| layout(&layer.name, why))?;
            }
        }
        Ok((tree, dropped))
    }

    /// Digests of its uncompressed layers, the lowest first.
    pub fn diff_ids(&self) -> impl Iterator<Item = Digest> {
        self.layers.iter().map(|layer| layer.uncompressed)
    }

    /// Reads one layer by itself, counted from 0, its contents into `spool`.
    ///
    /// # Errors
    /// [`ImageError`] with the name of its blob.
    pub fn layer(
        &self,
        blobs: &Blobs,
        number: usize,
        limits: Limits,
        spool: &mut Spool,
    ) -> Result<Alone, ImageError> {
        let none = || layout("the configuration", "there is no such layer");
        let layer = self.layers.get(number).ok_or_else(none)?;
        let mut stored = Hashed::new(blobs.open(&layer.name)?);
        let alone = Alone::read(&mut stored, Some(layer.uncompressed), limits, spool)
            .map_err(|why| layout(&layer.name, why.to_string()))?;
        if let Some((digest, size)) = &layer.stored {
            stored.finish(*digest, *size).map_err(|why| layout(&layer.name, why))?;
        }
        Ok(alone)
    }
}

fn layout(file: &str, why: impl Into<String>) -> ImageError {
    ImageError::Layout { file: casemate_foreign_text::value(file).to_string(), why: why.into() }
}

/// A document that is named by its digest.
fn document(blobs: &Blobs, named: &Descriptor) -> Result<(String, Vec<u8>), ImageError> {
    let name = named.blob().map_err(|why| layout("a descriptor", why))?;
    let bytes = whole(blobs, &name)?;
    let found = Digest::of(&bytes);
    if Some(found) != named.digest() || crate::bytes::len(&bytes) != named.size {
        return Err(layout(&name, "its bytes are not those of its digest and size"));
    }
    Ok((name, bytes))
}

fn whole(blobs: &Blobs, name: &str) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let read = blobs.open(name)?.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes);
    read.map_err(ImageError::io(casemate_foreign_text::value(name).to_string()))?;
    if crate::bytes::len(&bytes) > MAX_DOCUMENT {
        return Err(layout(name, "a document of more than 4 MiB"));
    }
    Ok(bytes)
}

/// The digest that a file of `docker save` is named by: `blobs/sha256/HEX`, or `HEX.json`.
fn digest_in(name: &str) -> Option<Digest> {
    let hex = name.strip_prefix("blobs/sha256/").or_else(|| name.strip_suffix(".json"))?;
    Digest::parse(&format!("sha256:{hex}"))
}

fn parse<'b, T: serde::Deserialize<'b>>(name: &str, bytes: &'b [u8]) -> Result<T, ImageError> {
    let wrong =
        |e: serde_json::Error| layout(name, casemate_foreign_text::line(e.to_string()).to_string());
    serde_json::from_slice::<keys::OneCase>(bytes).map_err(wrong)?;
    serde_json::from_slice(bytes).map_err(wrong)
}

fn from_layout(blobs: &Blobs, reference: Option<&str>) -> Result<Found, ImageError> {
    let (mut name, mut bytes) = ("index.json".to_owned(), whole(blobs, "index.json")?);
    let (mut reference, mut kind) = (reference, String::new());
    for _ in 0..MAX_DEPTH {
        let index: Index = parse(&name, &bytes)?;
        index.check(&kind).map_err(|why| layout(&name, why))?;
        let chosen = index.choose(reference).map_err(|why| layout(&name, why))?;
        let is_index = chosen.is_index();
        chosen.media_type().clone_into(&mut kind);
        (name, bytes) = document(blobs, chosen)?;
        if !is_index {
            return from_manifest(blobs, &name, &kind, &bytes);
        }
        // The name was that of the whole index.
        reference = None;
    }
    Err(layout(&name, "indexes that name indexes, more than four deep"))
}

fn from_manifest(blobs: &Blobs, name: &str, kind: &str, bytes: &[u8]) -> Result<Found, ImageError> {
    let manifest: Manifest = parse(name, bytes)?;
    manifest.check(kind).map_err(|why| layout(name, why))?;
    let (config_name, config_bytes) = document(blobs, &manifest.config)?;
    let config: Config = parse(&config_name, &config_bytes)?;
    config.check().map_err(|why| layout(&config_name, why))?;
    let diffs = config.diffs().map_err(|why| layout(&config_name, why))?;
    if diffs.len() != manifest.layers.len() || diffs.len() > MAX_LAYERS {
        return Err(layout(name, "its layers are not those of its configuration"));
    }
    let layers = manifest.layers.iter().zip(diffs).map(|(layer, uncompressed)| {
        layer.check_layer()?;
        let digest = layer.digest().ok_or("a digest that is not SHA-256")?;
        Ok(LayerBlob { name: layer.blob()?, stored: Some((digest, layer.size)), uncompressed })
    });
    let layers = layers.collect::<Result<_, &'static str>>().map_err(|why| layout(name, why))?;
    Ok(Found { id: Digest::of(&config_bytes).bytes(), config, layers })
}

/// What `docker save` has written since 2016, and `podman save` by default. Layers are named by
/// path; the configuration's digests of their uncompressed form prove them.
fn saved(blobs: &Blobs, reference: Option<&str>) -> Result<Found, ImageError> {
    let name = "manifest.json";
    let bytes = whole(blobs, name)?;
    let all: Vec<Saved> = parse(name, &bytes)?;
    let one = documents::choose_saved(&all, reference).map_err(|why| layout(name, why))?;
    let config_bytes = whole(blobs, &one.config)?;
    if digest_in(&one.config).is_some_and(|named| named != Digest::of(&config_bytes)) {
        return Err(layout(&one.config, "its bytes are not those of the digest in its name"));
    }
    let config: Config = parse(&one.config, &config_bytes)?;
    config.check().map_err(|why| layout(&one.config, why))?;
    let diffs = config.diffs().map_err(|why| layout(&one.config, why))?;
    if diffs.len() != one.layers.len() || diffs.len() > MAX_LAYERS {
        return Err(layout(name, "its layers are not those of its configuration"));
    }
    let blob = |(name, uncompressed): (&String, Digest)| LayerBlob {
        name: name.clone(),
        stored: None,
        uncompressed,
    };
    let layers = one.layers.iter().zip(diffs).map(blob).collect();
    Ok(Found { id: Digest::of(&config_bytes).bytes(), config, layers })
}
