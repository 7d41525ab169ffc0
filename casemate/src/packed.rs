//! The folder of an image where a configuration is expected: what a VM is made of, and which
//! digest it must come to.

use crate::Failure;
use casemate_hypervisor::config::RawConfig;
use casemate_manifest::Broker;
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
        folder.files().iter().for_each(|path| crate::files::was_read(path));
        if folder.manifest.debug {
            crate::out::errln!(
                "casemate: note: this is a DEBUG image: its kernel writes to the console"
            );
        }
        Ok(Some(Self(folder)))
    }

    /// Whether its results leave the guest, sealed.
    pub fn seals(&self) -> bool {
        !self.0.manifest.results.is_none()
    }

    /// The key broker that it asks for secrets.
    pub fn broker(&self) -> Option<&Broker> {
        self.0.manifest.broker.as_ref()
    }

    /// Whether a run adds devices to the VM of [`Packed::config`]: for its results, for initdata,
    /// and the way to its key broker.
    pub fn has_more_devices(&self) -> bool {
        self.seals() || self.broker().is_some()
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

    /// The same with the digest that its launch must have, and with its ID block.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for a number of vCPUs that the image has no digest for.
    pub fn expect(&self, mut config: RawConfig) -> Result<RawConfig, Failure> {
        use crate::image::identity::Bytes;
        use casemate_hypervisor::config::IdBlock;
        if config.protection.as_deref() != Some("sev-snp") {
            config.snp = None;
            return Ok(config);
        }
        let vcpus = config.vcpus.unwrap_or(1);
        let launch = self.0.launch.launch_of(vcpus).ok_or_else(|| {
            Failure::BadInput(format!("the image has no launch digest for {vcpus} vCPUs"))
        })?;
        let snp = config.snp.get_or_insert_default();
        snp.expect_digest.get_or_insert_with(|| launch.digest.clone());
        if let Some(id) = &launch.id {
            let Bytes { block, auth, author } = crate::image::identity::bytes(id)?;
            snp.id = Some(IdBlock { block, auth });
            snp.author_key_enabled = Some(author);
        }
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
    pub fn seals(&self) -> bool {
        false
    }

    /// Never asked for: there is none.
    pub fn broker(&self) -> Option<&Broker> {
        None
    }

    /// Never asked for: there is none.
    pub fn has_more_devices(&self) -> bool {
        false
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
