//! Guests of QEMU, EC2 and GCE: the pages each VMM measures, in its order, and its vCPUs' first
//! state.
//!
//! Sources: QEMU target/i386/sev.c; for EC2 and GCE the published behaviour as
//! virtee/sev-snp-measure (0.0.13) records it, against which this module is tested.

use super::ovmf::{Ovmf, SectionKind};
use super::{KernelHashes, MAX_VCPUS, MeasureError};
use crate::digest::{Digest384, LaunchDigest, PageKind, Segment, VcpuState};

/// Which VMM launches: what it measures, and in which order, is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vmm {
    /// QEMU with KVM; its launch code is target/i386/sev.c.
    Qemu,
    /// Amazon EC2, whose CPUID page comes last.
    Ec2,
    /// Google Compute Engine, which launches the memory of SEC unmeasured.
    Gce,
}

/// CPU models that QEMU knows, for family 0x17 and later: the name without its version, the
/// greatest version, CPUID 1 EAX. Versions of a model differ in features and caches, never in the
/// signature. Source: QEMU 11.1, target/i386/cpu.c, `builtin_x86_defs`.
const CPU_MODELS: [(&str, u32, u32); 5] = [
    ("EPYC", 5, cpu_signature(0x17, 1, 2)),
    ("EPYC-Rome", 5, cpu_signature(0x17, 49, 0)),
    ("EPYC-Milan", 3, cpu_signature(0x19, 1, 1)),
    ("EPYC-Genoa", 2, cpu_signature(0x19, 17, 0)),
    ("EPYC-Turin", 2, cpu_signature(0x1a, 0, 0)),
];

/// CPUID 1 EAX of a CPU model of QEMU by its name, with its version or without: `EPYC-Milan-v2`.
#[must_use]
pub fn cpu_model(name: &str) -> Option<u32> {
    // An alias of EPYC-v2.
    let name = if name == "EPYC-IBPB" { "EPYC-v2" } else { name };
    CPU_MODELS.iter().find_map(|(model, versions, signature)| {
        // `EPYC` is a beginning of the other names, so what is left has to be a version, or
        // nothing.
        let version = match name.strip_prefix(model)? {
            "" => 1,
            // As QEMU writes it: no sign, no zero in front.
            rest => rest.strip_prefix("-v").filter(|v| !v.starts_with(['0', '+']))?.parse().ok()?,
        };
        (1..=*versions).contains(&version).then_some(*signature)
    })
}

/// The names that [`cpu_model`] knows, for messages.
#[must_use]
pub fn cpu_models() -> String {
    let names =
        CPU_MODELS.map(|(model, versions, _)| format!("{model}, {model}-v1 to -v{versions}"));
    format!("{}, EPYC-IBPB", names.join(", "))
}

/// CPUID 1 EAX for a family of 15 or more. Source: AMD 25481, Fn0000_0001_EAX.
#[must_use]
pub const fn cpu_signature(family: u8, model: u8, stepping: u8) -> u32 {
    // Families from 15 on have 15 in the base field and the rest in the extended one; the model is
    // split into its two halves of four bits.
    let extended_family = family.saturating_sub(0xf) as u32;
    let (model, stepping) = (model as u32, stepping as u32);
    extended_family << 20 | (model >> 4) << 16 | 0xf << 8 | (model & 0xf) << 4 | (stepping & 0xf)
}

/// A guest that starts in OVMF.
#[derive(Debug, Clone)]
pub struct Machine<'a> {
    /// Which VMM launches it.
    pub vmm: Vmm,
    /// The firmware, with its tables read.
    pub ovmf: Ovmf<'a>,
    /// Number of vCPUs, 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// CPUID 1 EAX of the CPU model; used by QEMU alone.
    pub signature: u32,
    /// SEV_FEATURES, such as 0x1, as they are given. KVM always sets bit 0, SNPActive.
    pub sev_features: u64,
    /// Hashes for a measured direct boot.
    pub hashes: Option<KernelHashes>,
}

impl Machine<'_> {
    /// The launch digest of this guest.
    pub fn launch_digest(&self) -> Result<Digest384, MeasureError> {
        let mut digest = LaunchDigest::new();
        self.measure(&mut digest)?;
        Ok(digest.finish())
    }

    /// Measures the launch into a digest, which may remember its pages.
    ///
    /// # Errors
    /// As [`Machine::launch_digest`].
    pub fn measure(&self, digest: &mut LaunchDigest) -> Result<(), MeasureError> {
        if self.vcpus == 0 || self.vcpus > MAX_VCPUS {
            return Err(MeasureError::Vcpus(self.vcpus));
        }
        // The firmware first, then the sections in the order of its metadata, then the vCPUs: each
        // VMM here does it so.
        digest.pages(PageKind::Normal, self.ovmf.gpa(), self.ovmf.image())?;
        self.sections(digest)?;
        // The boot processor starts at the architecture's reset vector, the others where OVMF's
        // reset block says.
        digest.vcpu_with(&self.vcpu(0xffff_fff0), self.sev_features);
        let ap = self.vcpu(self.ovmf.ap_reset);
        for _ in 1..self.vcpus {
            digest.vcpu_with(&ap, self.sev_features);
        }
        Ok(())
    }

    fn sections(&self, digest: &mut LaunchDigest) -> Result<(), MeasureError> {
        let mut hashes_placed = false;
        for section in &self.ovmf.sections {
            let pages = section.size / 4096;
            // SEC's memory is zeroed by the firmware on QEMU and EC2; GCE launches it unmeasured.
            match section.kind {
                SectionKind::SecMemory if self.vmm == Vmm::Gce => {
                    digest.blank_pages(PageKind::Unmeasured, section.gpa, pages)?;
                }
                SectionKind::SecMemory | SectionKind::SvsmCallingArea => {
                    digest.blank_pages(PageKind::Zero, section.gpa, pages)?;
                }
                SectionKind::Secrets => digest.blank_pages(PageKind::Secrets, section.gpa, 1)?,
                // EC2 measures the CPUID page after everything else.
                SectionKind::Cpuid if self.vmm == Vmm::Ec2 => {}
                SectionKind::Cpuid => digest.blank_pages(PageKind::Cpuid, section.gpa, 1)?,
                SectionKind::KernelHashes => match self.hashes {
                    // Without hashes the page is launched as zeros.
                    None => digest.blank_pages(PageKind::Zero, section.gpa, pages)?,
                    Some(hashes) => {
                        let page = self.hash_page(hashes, pages)?;
                        digest.page(PageKind::Normal, section.gpa, &page);
                        hashes_placed = true;
                    }
                },
            }
        }
        if self.vmm == Vmm::Ec2 {
            for section in self.ovmf.sections.iter().filter(|s| s.kind == SectionKind::Cpuid) {
                digest.blank_pages(PageKind::Cpuid, section.gpa, 1)?;
            }
        }
        // A kernel whose hash is in no page would be loaded unchecked.
        if self.hashes.is_some() && !hashes_placed {
            return Err(MeasureError::NoKernelHashes);
        }
        Ok(())
    }

    fn hash_page(&self, hashes: KernelHashes, pages: u64) -> Result<[u8; 4096], MeasureError> {
        let gpa = self.ovmf.hash_table.ok_or(MeasureError::NoKernelHashes)?;
        // The table lies somewhere in its page, at the offset that the firmware's own table gives.
        let offset = usize::try_from(gpa & 0xfff).unwrap_or(usize::MAX);
        let page = hashes.page(offset).filter(|_| pages == 1);
        page.ok_or(MeasureError::Firmware("kernel hashes do not fit their page"))
    }

    fn vcpu(&self, eip: u32) -> VcpuState {
        let mut state = VcpuState::qemu(eip, self.signature);
        if self.vmm == Vmm::Qemu {
            return state;
        }
        // What EC2 and GCE leave as KVM's reset has it, or write otherwise; see the sources above.
        state.rdx = 0x600;
        state.mxcsr = 0;
        state.fcw = 0;
        if self.vmm == Vmm::Gce {
            state.g_pat = 0x0007_0106;
            return state;
        }
        let boot_processor = eip == 0xffff_fff0;
        state.cs.attributes = if boot_processor { 0x9a } else { 0x9b };
        state.ss = Segment { attributes: 0x92, ..state.ss };
        state.tr = Segment { attributes: 0x83, ..state.tr };
        state
    }
}
