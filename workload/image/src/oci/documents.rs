//! Indexes, manifests and descriptors, as far as an image is made of them.

use crate::hashed::Digest;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// What names a blob.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    /// Bytes of the blob.
    pub size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// `index.json`, and an index for several platforms.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    media_type: Option<String>,
    manifests: Vec<Descriptor>,
    layers: Option<IgnoredAny>,
}

/// An image's manifest: its configuration and its layers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    /// Its configuration, a document of its own.
    pub config: Descriptor,
    /// Its layers, the lowest first.
    pub layers: Vec<Descriptor>,
}

/// One image of `docker save`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Saved {
    /// The name of its configuration in the archive.
    pub config: String,
    /// Those of its layers, the lowest first.
    pub layers: Vec<String>,
    /// Names with tags, such as `app:1.2`.
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

const NAME: &str = "org.opencontainers.image.ref.name";
/// How containerd and buildkit name an image in a layout, with its registry.
const LONG_NAME: &str = "io.containerd.image.name";

impl Descriptor {
    /// Its digest; None when it is not a SHA-256.
    pub fn digest(&self) -> Option<Digest> {
        Digest::parse(&self.digest)
    }

    /// Where a layout has it.
    pub fn blob(&self) -> Result<String, &'static str> {
        // Only a digest whose letters were looked at becomes part of a path.
        self.digest().ok_or("a digest that is not SHA-256")?;
        let hex = self.digest.strip_prefix("sha256:").unwrap_or_default();
        Ok(format!("blobs/sha256/{hex}"))
    }

    /// What it says that the blob is.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// Whether it names an index, not a manifest.
    pub fn is_index(&self) -> bool {
        matches!(
            self.media_type.as_str(),
            "application/vnd.oci.image.index.v1+json"
                | "application/vnd.docker.distribution.manifest.list.v2+json"
        )
    }

    /// Whether a layer's type is one that is unpacked here.
    pub fn check_layer(&self) -> Result<(), &'static str> {
        let kind = self.media_type.as_str();
        let tail = kind
            .strip_prefix("application/vnd.oci.image.layer.v1.tar")
            .or_else(|| {
                kind.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar")
            })
            .or_else(|| kind.strip_prefix("application/vnd.docker.image.rootfs.diff.tar"));
        match tail {
            Some("" | "+gzip" | "+zstd" | ".gzip" | ".zstd") => Ok(()),
            Some("+encrypted" | "+gzip+encrypted" | "+zstd+encrypted") => {
                Err("a layer is encrypted: decrypt it first, for example with `skopeo copy`")
            }
            _ => Err("a layer of a type that is not known: this is no container image"),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        [NAME, LONG_NAME]
            .into_iter()
            .filter_map(|key| self.annotations.get(key))
            .map(String::as_str)
    }

    /// Where there is no platform, the configuration says it.
    fn fits(&self) -> bool {
        self.platform.as_ref().is_none_or(|p| p.os == "linux" && p.architecture == "amd64")
    }
}

/// A document that is an index to one reader and a manifest to another has one digest and two
/// meanings (CVE-2021-41190): what it is must be said once.
const TWO: &str = "it is an index and a manifest at once, or says another type than what names it";

impl Manifest {
    /// Refuses a document that says that it is something else.
    pub fn check(&self, named: &str) -> Result<(), &'static str> {
        let same = self.media_type.as_deref().is_none_or(|own| named.is_empty() || own == named);
        if same && self.manifests.is_none() { Ok(()) } else { Err(TWO) }
    }
}

impl Index {
    /// The same; `named` is empty for the layout's own.
    pub fn check(&self, named: &str) -> Result<(), &'static str> {
        let same = self.media_type.as_deref().is_none_or(|own| named.is_empty() || own == named);
        if same && self.layers.is_none() { Ok(()) } else { Err(TWO) }
    }

    /// The descriptor for Linux on x86-64 and of that name.
    pub fn choose(&self, reference: Option<&str>) -> Result<&Descriptor, String> {
        let fits = self.manifests.iter().filter(|d| d.fits());
        let named = |d: &&Descriptor| reference.is_none_or(|wanted| d.names().any(|n| n == wanted));
        let all: Vec<&Descriptor> = fits.filter(named).collect();
        match all.as_slice() {
            [one] => Ok(one),
            [] if self.manifests.is_empty() => Err("it names no image".into()),
            [] if reference.is_some() => {
                Err("it has no image of that name for Linux on amd64".into())
            }
            [] => Err("it has no image for Linux on amd64".into()),
            several => {
                let names = several.iter().flat_map(|d| d.names());
                Err(which(several.len(), names))
            }
        }
    }
}

/// The one image of an archive, or that with the name.
pub fn choose_saved<'s>(all: &'s [Saved], reference: Option<&str>) -> Result<&'s Saved, String> {
    let tags = |image: &'s Saved| image.repo_tags.iter().flatten().map(String::as_str);
    let named = |image: &&'s Saved| reference.is_none_or(|wanted| tags(image).any(|t| t == wanted));
    let fits: Vec<&Saved> = all.iter().filter(named).collect();
    match fits.as_slice() {
        [one] => Ok(one),
        [] => Err("it has no such image".into()),
        several => Err(which(several.len(), several.iter().flat_map(|image| tags(image)))),
    }
}

fn which<'n>(count: usize, names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<String> =
        names.take(8).map(|name| casemate_foreign_text::value(name).to_string()).collect();
    format!("it has {count} images; say which: {}", names.join(", "))
}
