//! `launch.json`, beside an image: what a host needs to start it, and which digest each launch will
//! have. Nobody proves it and nobody has to: the guest believes its command line, a verifier its
//! own numbers, and what differs from this file is a mistake that is found before a guest starts.

use crate::ImageError;
use crate::build::{Image, Settings, hex};
use crate::hashed::Digest;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Files of an image's folder.
pub const KERNEL: &str = "kernel";
/// The initramfs.
pub const INITRD: &str = "initrd";
/// The root disk.
pub const ROOT: &str = "root.img";
/// A copy of what is in the root disk.
pub const MANIFEST: &str = "manifest.json";
/// This file.
pub const LAUNCH: &str = "launch.json";

const VERSION: u32 = 1;
const MAX_SIZE: u64 = 1 << 20;
/// Largest kernel and initramfs.
const MAX_FILE: u64 = 512 << 20;

/// `launch.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    version: u32,
    /// The kernel command line.
    pub cmdline: String,
    /// SHA-256 of each file but the root disk, which the guest proves block by block.
    pub files: Files,
    /// What of an SEV-SNP launch the digests depend on.
    pub snp: Snp,
    /// Launch digests by the number of vCPUs.
    pub digests: Vec<LaunchDigest>,
    /// How it was built.
    pub settings: Settings,
}

/// SHA-256 of files, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Of [`KERNEL`].
    pub kernel: String,
    /// Of [`INITRD`].
    pub initrd: String,
    /// Of [`MANIFEST`].
    pub manifest: String,
}

/// What of an SEV-SNP launch a digest depends on beside kernel, initramfs and command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snp {
    /// Position of the C-bit: 51 on every EPYC.
    pub c_bit: u8,
    /// Features of the vCPUs beyond SNP itself.
    pub vmsa_features: u64,
}

/// A launch and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchDigest {
    /// Number of vCPUs.
    pub vcpus: u32,
    /// 48 bytes in hexadecimal.
    pub digest: String,
    /// Its ID block, where whoever built has a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SignedId>,
}

/// A signed ID block, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedId {
    /// The ID block.
    pub block: String,
    /// Its authentication structure, without the zeros at its end.
    pub auth: String,
}

impl Launch {
    /// The launches of an image.
    #[must_use]
    pub fn new(
        image: &Image,
        snp: Snp,
        digests: impl Iterator<Item = (u32, [u8; 48])>,
        settings: Settings,
    ) -> Self {
        let boot = &image.manifest.boot;
        let files = Files {
            kernel: boot.kernel.clone(),
            initrd: boot.initrd.clone(),
            manifest: hex(&Digest::of(&image.manifest_bytes).bytes()),
        };
        let digests =
            digests.map(|(vcpus, digest)| LaunchDigest { vcpus, digest: hex(&digest), id: None });
        let cmdline = image.cmdline.clone();
        Self { version: VERSION, cmdline, files, snp, digests: digests.collect(), settings }
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// None that is known: the error is serde's.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ImageError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|e| layout(LAUNCH, &e))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The file in these bytes.
    ///
    /// # Errors
    /// [`ImageError::Layout`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ImageError> {
        let launch: Self = serde_json::from_slice(bytes).map_err(|e| layout(LAUNCH, &e))?;
        if launch.version != VERSION {
            return Err(layout(LAUNCH, &format!("version {} is not known", launch.version)));
        }
        Ok(launch)
    }

    /// The launch with so many vCPUs.
    #[must_use]
    pub fn launch_of(&self, vcpus: u32) -> Option<&LaunchDigest> {
        self.digests.iter().find(|one| one.vcpus == vcpus)
    }
}

fn layout(file: &str, why: &dyn std::fmt::Display) -> ImageError {
    let why = casemate_foreign_text::line(why.to_string()).to_string();
    ImageError::Layout { file: file.to_owned(), why }
}

/// An image's folder that was opened: its files are those that `launch.json` names.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Its `launch.json`.
    pub launch: Launch,
    /// The copy of its manifest.
    pub manifest: casemate_manifest::Manifest,
}

impl Folder {
    /// Opens the folder of an image and compares kernel, initramfs and manifest with their hashes:
    /// a file that was changed or mixed up is found here, by name, before a guest refuses it.
    ///
    /// # Errors
    /// [`ImageError`] with the file at fault.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let read = |name: &str, most| {
            casemate_files::read(&path.join(name), most)
                .map_err(|e| ImageError::Source(e.to_string()))
        };
        // Without it this is any directory, or no directory: somebody may have named it in place of
        // another file.
        let launch = read(LAUNCH, MAX_SIZE).map_err(|why| {
            let place = casemate_foreign_text::value(path.display());
            let what = if path.is_dir() { "a directory, but not an image's" } else { "no image" };
            ImageError::Source(format!("{place} is {what}: {why}"))
        })?;
        let launch = Launch::from_bytes(&launch)?;
        let compare = |name: &str, hash: &str, most| {
            let bytes = read(name, most)?;
            if hex(&Digest::of(&bytes).bytes()) != hash {
                let path = path.join(name).display().to_string();
                return Err(layout(&path, &"its bytes are not those that launch.json names"));
            }
            Ok(bytes)
        };
        compare(KERNEL, &launch.files.kernel, MAX_FILE)?;
        compare(INITRD, &launch.files.initrd, MAX_FILE)?;
        let most = casemate_manifest::MAX_SIZE as u64;
        let manifest = compare(MANIFEST, &launch.files.manifest, most)?;
        let manifest = casemate_manifest::Manifest::from_bytes(&manifest)?;
        // Both say what is booted; a manifest of another image, or a made-up one, says something
        // else.
        let Files { kernel, initrd, .. } = &launch.files;
        if (&manifest.boot.kernel, &manifest.boot.initrd) != (kernel, initrd) {
            let path = path.join(MANIFEST).display().to_string();
            return Err(layout(&path, &"it is the manifest of another kernel or initrd"));
        }
        Ok(Self { path: path.to_owned(), launch, manifest })
    }

    /// The paths of all files of it.
    #[must_use]
    pub fn files(&self) -> [PathBuf; 5] {
        [KERNEL, INITRD, ROOT, MANIFEST, LAUNCH].map(|name| self.file(name))
    }

    /// The path of a file of it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}
