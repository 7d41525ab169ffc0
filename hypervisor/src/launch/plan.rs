//! The launch plan: the only description of what is in guest memory at the first instruction.
//!
//! It is built from the configuration alone and issued as it stands, so that what is predicted and
//! what is launched cannot differ. Pages are ordered, since their order is measured; staging is
//! what the host puts into shared memory and the boot code checks, so it is not.

use super::contents::Contents;
use super::vcpu_state::{BootState, vcpu_states};
use crate::config::SnpLaunch;
use crate::memory::{GpaRange, PAGE_BYTES, PAGE_SIZE, RamMap};
use casemate_attestation::digest::VcpuState;
use ring::digest::{SHA256, digest};

/// What a launched page is to the firmware (SEV-SNP ABI, SNP_LAUNCH_UPDATE page types).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageKind {
    /// Its contents are measured.
    Normal,
    /// Zeroed by the firmware.
    Zero,
    /// Contents are there but not measured.
    Unmeasured,
    /// Filled by the firmware with keys.
    Secrets,
    /// The CPUID table, checked by the firmware.
    Cpuid,
}

impl PageKind {
    /// The name that `measure --explain` gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Zero => "zero",
            Self::Unmeasured => "unmeasured",
            Self::Secrets => "secrets",
            Self::Cpuid => "cpuid",
        }
    }
}

/// Pages of one kind that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPages {
    /// What it is, for people.
    pub what: &'static str,
    /// Kind of every page.
    pub kind: PageKind,
    /// Where they are, whole pages.
    pub range: GpaRange,
    /// Contents: exactly `range.size()` bytes.
    contents: Contents,
}

/// Bytes in shared memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// What it is, for people.
    pub what: &'static str,
    /// Guest physical address of its first byte.
    pub gpa: u64,
    /// How many bytes it has.
    pub size: u64,
    /// What is written there.
    pub bytes: Contents,
}

/// What measuring needs of a file that is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// How many bytes it has.
    pub size: u64,
    /// SHA-256 of its contents.
    pub sha256: [u8; 32],
}

impl Outline {
    /// Of these bytes, hashed with the processor's SHA extensions: an initrd can be large.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self { size: bytes.len() as u64, sha256 }
    }
}

/// SHA-256 of the files as the user has them: what a policy is asked about. What is staged, and
/// measured, of an ELF kernel is less ([`super::kernel::staged`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileHashes {
    /// SHA-256 of the kernel's file, whole.
    pub kernel: [u8; 32],
    /// The initrd's; zeros without one.
    pub initrd: [u8; 32],
}

/// Why a plan cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Something lies outside RAM.
    #[error("{what} ({size} bytes at {gpa:#x}) does not fit into the guest's memory: give it more")]
    OutOfRam {
        /// What it would have been.
        what: &'static str,
        /// Where it would have been.
        gpa: u64,
        /// How many bytes it would have had.
        size: u64,
    },
    /// Two parts have a page in common.
    #[error("{what} and {other} overlap at {gpa:#x}: give the guest more memory")]
    Overlap {
        /// The one of the two.
        what: &'static str,
        /// The other one.
        other: &'static str,
        /// Where it would have been.
        gpa: u64,
    },
}

/// Everything a launch needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchPlan {
    /// Where the guest has RAM.
    pub ram: RamMap,
    /// vCPUs, created in this number before the launch.
    pub vcpus: u32,
    /// The boot processor's registers.
    pub boot: BootState,
    /// SEV-SNP launch parameters; None for a plain VM.
    pub snp: Option<SnpLaunch>,
    /// The files that it was made from.
    pub files: FileHashes,
    /// What a confidential VM starts with as shared memory; all other RAM is private.
    pub shared: Vec<GpaRange>,
    pages: Vec<PlannedPages>,
    staging: Vec<Staged>,
}

impl LaunchPlan {
    /// A plan without contents.
    #[must_use]
    pub fn new(ram: RamMap, vcpus: u32, boot: BootState) -> Self {
        Self {
            ram,
            vcpus,
            boot,
            snp: None,
            files: FileHashes::default(),
            shared: Vec::new(),
            pages: Vec::new(),
            staging: Vec::new(),
        }
    }

    /// The state that each vCPU starts with, in order.
    pub fn vcpu_states(&self) -> impl Iterator<Item = VcpuState> + use<> {
        vcpu_states(&self.boot, self.vcpus)
    }

    /// Adds pages at `gpa`; `contents` is padded with zeros to whole pages.
    ///
    /// # Errors
    /// [`PlanError`] when they are not RAM or overlap what is there.
    pub fn add_pages(
        &mut self,
        what: &'static str,
        kind: PageKind,
        gpa: u64,
        contents: impl Into<Contents>,
    ) -> Result<(), PlanError> {
        let contents = contents.into();
        let range = self.claim(what, gpa, contents.len() as u64)?;
        let size = usize::try_from(range.size()).unwrap_or(usize::MAX);
        let contents = contents.resized(size);
        self.pages.push(PlannedPages { what, kind, range, contents });
        Ok(())
    }

    /// Adds bytes in shared memory at `gpa`.
    ///
    /// # Errors
    /// [`PlanError`] when they are not RAM or overlap what is there.
    pub fn stage(
        &mut self,
        what: &'static str,
        gpa: u64,
        bytes: impl Into<Contents>,
    ) -> Result<(), PlanError> {
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        self.claim(what, gpa, size)?;
        self.staging.push(Staged { what, gpa, size, bytes });
        Ok(())
    }

    fn claim(&self, what: &'static str, gpa: u64, size: u64) -> Result<GpaRange, PlanError> {
        let size = size.max(1).checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
        let range = GpaRange::new(gpa, size)
            .ok()
            .filter(|range| self.ram.covers(*range))
            .ok_or(PlanError::OutOfRam { what, gpa, size })?;
        let taken = self.pages.iter().map(|p| (p.what, p.range)).chain(self.staging_ranges());
        for (other, taken) in taken {
            if let Some(both) = taken.intersection(range) {
                return Err(PlanError::Overlap { what, other, gpa: both.start() });
            }
        }
        Ok(range)
    }

    /// Launched pages, in launch order.
    #[must_use]
    pub fn pages(&self) -> &[PlannedPages] {
        &self.pages
    }

    /// Staging, in address order of adding.
    #[must_use]
    pub fn staging(&self) -> &[Staged] {
        &self.staging
    }

    /// The page-aligned ranges that staging occupies.
    pub fn staging_ranges(&self) -> impl Iterator<Item = (&'static str, GpaRange)> + '_ {
        self.staging.iter().filter_map(|staged| {
            let size = staged.size.max(1).next_multiple_of(PAGE_SIZE);
            Some((staged.what, GpaRange::new(staged.gpa, size).ok()?))
        })
    }
}

impl PlannedPages {
    /// Contents of all its pages.
    #[must_use]
    pub fn contents(&self) -> &[u8] {
        &self.contents
    }

    /// Each page with its address.
    pub fn each(&self) -> impl Iterator<Item = (u64, &[u8; PAGE_BYTES])> + '_ {
        let (whole, _) = self.contents.as_chunks::<PAGE_BYTES>();
        (0..).map(|i| self.range.start() + i * PAGE_SIZE).zip(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> LaunchPlan {
        let boot = BootState { rip: 0, rsp: 0, rsi: 0, cr3: 0 };
        LaunchPlan::new(RamMap::new(1 << 20).unwrap(), 1, boot)
    }

    #[test]
    fn contents_are_padded_to_whole_pages() {
        let mut plan = plan();
        plan.add_pages("boot code", PageKind::Normal, 0x1000, vec![7; 5000]).unwrap();
        let pages: Vec<_> = plan.pages()[0].each().collect();
        assert_eq!(pages.len(), 2);
        assert_eq!((pages[1].0, pages[1].1[904], pages[1].1[903]), (0x2000, 0, 7));
    }

    #[test]
    fn overlaps_and_addresses_outside_ram_are_refused() {
        let mut plan = plan();
        plan.add_pages("boot code", PageKind::Normal, 0x1000, vec![7; 5000]).unwrap();
        let error = plan.stage("kernel", 0x2000, vec![1]).unwrap_err();
        assert!(matches!(
            error,
            PlanError::Overlap { what: "kernel", other: "boot code", gpa: 0x2000 }
        ));
        assert!(matches!(
            plan.stage("kernel", 0xff000, vec![1; 4097]),
            Err(PlanError::OutOfRam { .. })
        ));
        plan.stage("kernel", 0xff000, vec![1; 4096]).unwrap();
        assert!(plan.add_pages("params", PageKind::Normal, 0xff000, vec![]).is_err());
    }
}
