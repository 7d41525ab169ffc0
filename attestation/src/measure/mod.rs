//! Expected launch digests: what a VMM's guest must report, computed from what it will be given.
//!
//! - [`plan`]: any launch, given as ordered pages and vCPU states. Casemate's own launch plan goes
//!   here.
//! - [`Ovmf`] and [`Machine`]: QEMU, EC2 and GCE guests that start in OVMF.
//! - [`igvm_launch`]: an IGVM file.
//!
//! Limit: images and hash tables come from the caller; nothing is read from disk here.

mod hashes;
mod igvm;
mod igvm_kvm;
mod machine;
mod ovmf;

pub use hashes::KernelHashes;
pub use igvm::{IgvmIdBlock, IgvmLaunch, igvm_launch, igvm_measure};
pub use machine::{Machine, Vmm, cpu_model, cpu_models, cpu_signature};
pub use ovmf::{Ovmf, Section, SectionKind};

use crate::digest::{Digest384, DigestError, LaunchDigest, PageKind, VcpuState};

/// More vCPUs than any host has.
pub const MAX_VCPUS: u32 = 4096;
/// Blank pages that a description may ask for in all: 4 GiB of them.
pub(crate) const MAX_BLANK_PAGES: u64 = 1024 * 1024;

/// Why a launch cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// A range of pages that cannot exist.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A firmware image without what SEV-SNP needs, or with damaged tables.
    #[error("firmware image: {0}")]
    Firmware(&'static str),
    /// A damaged IGVM file.
    #[error("IGVM file, offset {offset:#x}: {rule}")]
    Igvm {
        /// Byte of the file where the damaged header or field begins.
        offset: usize,
        /// What is wrong, as a phrase for the message.
        rule: &'static str,
    },
    /// Kernel hashes for a firmware that does not check them.
    #[error("a kernel is given, but the firmware image has no place for kernel hashes")]
    NoKernelHashes,
    /// No vCPU, or too many.
    #[error("{0} vCPUs: 1 to {MAX_VCPUS} are possible")]
    Vcpus(u32),
}

/// The launch digest of an ordered list of pages, then one VMSA for each vCPU.
///
/// `contents` are whole pages; their bytes count only for kinds with measured contents.
/// `sev_features` is INIT2's `vmsa_features`.
///
/// # Errors
/// [`DigestError`] when a range is not whole pages or lies outside the address space.
///
/// ```
/// use casemate_attestation::digest::{PageKind, VcpuState};
/// let code = [0x90u8; 8192];
/// let secrets = [0u8; 4096];
/// let code = (PageKind::Normal, 0x20_0000, &code[..]);
/// let pages = [code, (PageKind::Secrets, 0x1000, &secrets[..])];
/// let digest = casemate_attestation::measure::plan(pages, &[VcpuState::kvm_reset()], 1)?;
/// assert_eq!(digest.len(), 48);
/// # Ok::<(), casemate_attestation::digest::DigestError>(())
/// ```
pub fn plan<'a>(
    pages: impl IntoIterator<Item = (PageKind, u64, &'a [u8])>,
    vcpus: &[VcpuState],
    sev_features: u64,
) -> Result<Digest384, DigestError> {
    let mut digest = LaunchDigest::new();
    for (kind, gpa, contents) in pages {
        digest.pages(kind, gpa, contents)?;
    }
    for vcpu in vcpus {
        digest.vcpu(vcpu, sev_features);
    }
    Ok(digest.finish())
}
