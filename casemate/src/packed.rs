//! The folder of an image where a configuration is expected: what a VM is made of, and which
//! digest it must come to.

use crate::Failure;
use casemate_hypervisor::config::RawConfig;
use std::path::Path;

/// An image that was opened.
#[cfg(feature = "image")]
pub struct Packed(casemate_image::launch::Folder);

/// Without its reader.
#[cfg(not(feature = "image"))]
pub struct Packed;

#[cfg(feature = "image")]
impl Packed {
    /// The image at `path`; None where that is no folder.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for a folder that is no image, or not the one that was built.
    pub fn open(path: &Path) -> Result<Option<Self>, Failure> {
        if !path.is_dir() {
            return Ok(None);
        }
        let folder = casemate_image::launch::Folder::open(path)
            .map_err(|e| Failure::BadInput(e.to_string()))?;
        if folder.manifest.debug {
            crate::out::errln!(
                "casemate: note: this is a DEBUG image: its kernel writes to the console"
            );
        }
        Ok(Some(Self(folder)))
    }

    /// The VM, but for vCPUs and memory. Confidential unless told otherwise: an image that was made
    /// to be proven is not started unprotected by leaving a word out.
    pub fn config(&self) -> RawConfig {
        use casemate_hypervisor::config::{RawDisk, RawSnp};
        use casemate_image::launch::{INITRD, KERNEL, ROOT};
        let Self(folder) = self;
        let root = RawDisk {
            path: Some(folder.file(ROOT)),
            name: Some("root".into()),
            read_only: true,
            serial: Some(casemate_manifest::SERIAL.into()),
            ..RawDisk::default()
        };
        RawConfig {
            kernel: Some(folder.file(KERNEL)),
            initrd: Some(folder.file(INITRD)),
            cmdline: Some(folder.launch.cmdline.clone()),
            disk: vec![root],
            protection: Some("sev-snp".into()),
            snp: Some(RawSnp {
                c_bit: Some(folder.launch.snp.c_bit),
                vmsa_features: Some(folder.launch.snp.vmsa_features),
                ..RawSnp::default()
            }),
            ..RawConfig::default()
        }
    }

    /// The same with the digest that its launch must have.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for a number of vCPUs that the image has no digest for.
    pub fn expect(&self, mut config: RawConfig) -> Result<RawConfig, Failure> {
        if config.protection.as_deref() != Some("sev-snp") {
            config.snp = None;
            return Ok(config);
        }
        let vcpus = config.vcpus.unwrap_or(1);
        let digest = self.0.launch.digest(vcpus).ok_or_else(|| {
            Failure::BadInput(format!("the image has no launch digest for {vcpus} vCPUs"))
        })?;
        let snp = config.snp.get_or_insert_default();
        snp.expect_digest.get_or_insert_with(|| digest.to_owned());
        Ok(config)
    }
}

#[cfg(not(feature = "image"))]
impl Packed {
    /// No image: a folder is no configuration.
    ///
    /// # Errors
    /// None.
    pub fn open(_: &Path) -> Result<Option<Self>, Failure> {
        Ok(None)
    }

    /// Never asked for: there is none.
    pub fn config(&self) -> RawConfig {
        RawConfig::default()
    }

    /// Never asked for: there is none.
    ///
    /// # Errors
    /// None.
    pub fn expect(&self, config: RawConfig) -> Result<RawConfig, Failure> {
        Ok(config)
    }
}
