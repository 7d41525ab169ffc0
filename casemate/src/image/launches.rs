//! The launches of an image: the digest for each number of vCPUs, by the same code that launches.

use crate::Failure;
use casemate_hypervisor::config::{MAX_VCPUS, RawConfig, RawSnp};
use casemate_hypervisor::launch::linux;
use casemate_hypervisor::launch::measure::measure;
use casemate_hypervisor::vm::open_outline;
use casemate_image::launch::Snp;
use std::path::Path;

/// The digest for each number of vCPUs that a guest can have. No digest depends on memory.
///
/// # Errors
/// [`Failure`] for a kernel that no guest of ours can boot.
pub(crate) fn digests(
    kernel: &Path,
    initrd: &Path,
    cmdline: &str,
    snp: Snp,
) -> Result<Vec<(u32, [u8; 48])>, Failure> {
    let bad = |e: &dyn std::fmt::Display| Failure::BadInput(e.to_string());
    let raw = RawConfig {
        kernel: Some(kernel.to_owned()),
        initrd: Some(initrd.to_owned()),
        cmdline: Some(cmdline.to_owned()),
        protection: Some("sev-snp".into()),
        snp: Some(RawSnp {
            c_bit: Some(snp.c_bit),
            vmsa_features: Some(snp.vmsa_features),
            ..RawSnp::default()
        }),
        ..RawConfig::default()
    };
    let config = raw.validate().map_err(|e| bad(&e))?;
    let (kernel, initrd) = open_outline(&config).map_err(|e| bad(&e))?;
    let image = linux::Image::outline(&config, &kernel, initrd).map_err(|e| bad(&e))?;
    let digest = |vcpus| {
        let plan = image.measured(vcpus).map_err(|e| bad(&e))?;
        let measured = measure(&plan).ok_or_else(|| bad(&"this launch has no digest"))?;
        Ok((vcpus, measured.digest))
    };
    (1..=MAX_VCPUS).map(digest).collect()
}
