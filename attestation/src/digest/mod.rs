//! The SEV-SNP launch digest: a SHA-384 chain over one PAGE_INFO structure a page.
//!
//! Principle: the firmware extends the digest once per 4 KiB page, in the order in which the pages
//! are issued, so order, guest physical address and page kind are all measured. Contents are
//! measured for [`PageKind::Normal`] and [`PageKind::Vmsa`] only. Source: SEV-SNP firmware ABI (AMD
//! 56860) section 8.17.2, table 67. Limit: pages of 4 KiB, VMPL permissions and the IMI bit zero,
//! which is all that KVM issues.

#[cfg(target_arch = "x86_64")]
mod lanes;
mod parallel;
mod vmsa;

pub use vmsa::{Segment, VcpuState};

use ring::digest::{SHA384, SHA512, digest};
use std::io::Read;

/// Bytes of a page. The launch digest knows no other size: KVM issues pages of 4 KiB only.
pub const PAGE_SIZE: usize = 4096;
const PAGE_STEP: u64 = 4096;

/// The guest physical address that KVM gives every VMSA page at LAUNCH_FINISH.
/// Source: Linux arch/x86/kvm/svm/sev.c `snp_launch_update_vmsa`.
pub const VMSA_GPA: u64 = 0xFFFF_FFFF_F000;

/// A SHA-384 value: a launch digest, or a key digest.
pub type Digest384 = [u8; 48];

/// What a measured page is. The numbers are the firmware's PAGE_TYPE values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PageKind {
    /// Plain contents, measured (PAGE_TYPE_NORMAL).
    Normal = 1,
    /// A vCPU's save area, measured (PAGE_TYPE_VMSA).
    Vmsa = 2,
    /// A page that the firmware zeroes; contents are not given.
    Zero = 3,
    /// A page whose presence is measured, its contents not.
    Unmeasured = 4,
    /// The secrets page, filled by the firmware.
    Secrets = 5,
    /// The CPUID page, filtered by the firmware; contents are not measured.
    Cpuid = 6,
}

impl PageKind {
    /// Whether the contents of such a page enter the digest.
    #[must_use]
    pub const fn contents_measured(self) -> bool {
        matches!(self, Self::Normal | Self::Vmsa)
    }

    /// The kind with this PAGE_TYPE value.
    #[must_use]
    pub const fn from_raw(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Normal,
            2 => Self::Vmsa,
            3 => Self::Zero,
            4 => Self::Unmeasured,
            5 => Self::Secrets,
            6 => Self::Cpuid,
            _ => return None,
        })
    }
}

/// Why a range of pages cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// The contents are not a whole number of pages.
    #[error("{length} bytes at GPA {gpa:#x} are not a whole number of 4096-byte pages")]
    PartialPage {
        /// First guest physical address of the range.
        gpa: u64,
        /// Bytes that were given for it, no multiple of 4096.
        length: usize,
    },
    /// The first address is not on a page boundary.
    #[error("GPA {0:#x} is not a multiple of 4096")]
    Unaligned(u64),
    /// The range runs past the end of the address space.
    #[error("{pages} pages at GPA {gpa:#x} run past the end of the address space")]
    AddressOverflow {
        /// First guest physical address of the range.
        gpa: u64,
        /// Pages in the range.
        pages: u64,
    },
    /// The source of a streamed image failed.
    #[error("cannot read the image to measure: {0}")]
    Read(#[from] std::io::Error),
}

/// A launch digest being built, in the firmware's order.
///
/// ```
/// use casemate_attestation::digest::{LaunchDigest, PageKind};
/// let mut digest = LaunchDigest::new();
/// digest.page(PageKind::Normal, 0x1000, &[0; 4096]);
/// assert_eq!(digest.finish()[..4], [0xe6, 0xe4, 0xd7, 0x89]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchDigest {
    ld: Digest384,
    /// Every page so far, when they are wanted.
    trace: Option<Vec<MeasuredPage>>,
}

/// A page that has gone into a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeasuredPage {
    /// What kind of page it is, which is measured too.
    pub kind: PageKind,
    /// Its guest physical address, a multiple of 4096; [`VMSA_GPA`] for every VMSA.
    pub gpa: u64,
    /// SHA-384 of its contents; zeros where they are not measured.
    pub contents: Digest384,
}

impl Default for LaunchDigest {
    fn default() -> Self {
        Self::new()
    }
}

impl LaunchDigest {
    /// The digest of a launch that has not measured anything: 48 zero bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { ld: [0; 48], trace: None }
    }

    /// Continues from a digest computed before, for example of a firmware image.
    #[must_use]
    pub const fn resume(ld: Digest384) -> Self {
        Self { ld, trace: None }
    }

    /// A digest that remembers its pages: 104 bytes for each.
    #[must_use]
    pub const fn traced() -> Self {
        Self { ld: [0; 48], trace: Some(Vec::new()) }
    }

    /// The pages so far, in their order; none unless they are remembered.
    #[must_use]
    pub fn trace(&self) -> &[MeasuredPage] {
        self.trace.as_deref().unwrap_or_default()
    }

    /// Measures one page. `contents` are ignored for kinds whose contents are not measured.
    pub fn page(&mut self, kind: PageKind, gpa: u64, contents: &[u8; PAGE_SIZE]) {
        // Zeros stand for contents that are not measured: the firmware puts them into PAGE_INFO's
        // CONTENTS field for these kinds (56860, table 67).
        let hash = if kind.contents_measured() { sha384(contents) } else { [0; 48] };
        self.extend(kind, gpa, &hash);
    }

    /// Measures a run of pages with contents; the pages are hashed on all available cores and in
    /// all lanes of their vectors.
    ///
    /// # Errors
    /// When `contents` is not a whole number of pages, or `gpa` is unaligned or too high.
    pub fn pages(&mut self, kind: PageKind, gpa: u64, contents: &[u8]) -> Result<(), DigestError> {
        let (pages, rest) = contents.as_chunks::<PAGE_SIZE>();
        if !rest.is_empty() {
            return Err(DigestError::PartialPage { gpa, length: contents.len() });
        }
        let count = u64::try_from(pages.len()).unwrap_or(u64::MAX);
        // The whole range is checked before the first page, so that the additions in the loop
        // cannot wrap and a refused range leaves the digest as it was.
        check_range(gpa, count)?;
        if kind.contents_measured() {
            parallel::hash_in_order(pages, |index, hash| {
                self.extend(kind, gpa.wrapping_add(index.wrapping_mul(PAGE_STEP)), hash);
            });
            return Ok(());
        }
        self.blank_pages(kind, gpa, count)
    }

    /// Measures `count` pages without contents. A kind with measured contents is taken as all zero.
    ///
    /// # Errors
    /// When `gpa` is unaligned or the range runs past the address space.
    pub fn blank_pages(&mut self, kind: PageKind, gpa: u64, count: u64) -> Result<(), DigestError> {
        check_range(gpa, count)?;
        // One hash serves all pages, since all have the same contents.
        let hash = if kind.contents_measured() { sha384(&[0; PAGE_SIZE]) } else { [0; 48] };
        for index in 0..count {
            self.extend(kind, gpa.wrapping_add(index.wrapping_mul(PAGE_STEP)), &hash);
        }
        Ok(())
    }

    /// Measures an image of any size from a reader, holding at most 4 MiB of it; the last page is
    /// padded with zeros. Returns the number of pages.
    ///
    /// # Errors
    /// When reading fails, or the image does not fit behind `gpa`.
    pub fn stream(
        &mut self,
        kind: PageKind,
        gpa: u64,
        mut image: impl Read,
    ) -> Result<u64, DigestError> {
        const WINDOW: usize = 1024 * PAGE_SIZE;
        let mut window = Vec::with_capacity(WINDOW);
        let mut total: u64 = 0;
        loop {
            window.clear();
            let limit = u64::try_from(WINDOW).unwrap_or(u64::MAX);
            // `take` and `read_to_end`, not one `read`: a pipe gives what it has, and only the last
            // window of an image may be short. A short window before the end would pad in the
            // middle.
            let got = image.by_ref().take(limit).read_to_end(&mut window)?;
            if got == 0 {
                return Ok(total);
            }
            window.resize(got.next_multiple_of(PAGE_SIZE), 0);
            let start = total
                .checked_mul(PAGE_STEP)
                .and_then(|offset| gpa.checked_add(offset))
                .ok_or(DigestError::AddressOverflow { gpa, pages: total })?;
            self.pages(kind, start, &window)?;
            total =
                total.saturating_add(u64::try_from(window.len() / PAGE_SIZE).unwrap_or(u64::MAX));
        }
    }

    /// Measures a vCPU's save area as KVM does at LAUNCH_FINISH: after all other pages, in vCPU
    /// order.
    pub fn vcpu(&mut self, state: &VcpuState, sev_features: u64) {
        self.page(PageKind::Vmsa, VMSA_GPA, &state.vmsa_page(sev_features));
    }

    /// The same with SEV_FEATURES as they are given, SNPActive or not: what a tool computes for a
    /// host whose features it is told.
    pub fn vcpu_with(&mut self, state: &VcpuState, sev_features: u64) {
        self.page(PageKind::Vmsa, VMSA_GPA, &state.vmsa_page_with(sev_features));
    }

    /// The digest so far; a launch can go on after it.
    #[must_use]
    pub const fn current(&self) -> Digest384 {
        self.ld
    }

    /// The launch digest, the MEASUREMENT of a report.
    #[must_use]
    pub fn finish(self) -> Digest384 {
        self.ld
    }

    /// Extends the chain by one PAGE_INFO structure (0x70 bytes).
    fn extend(&mut self, kind: PageKind, gpa: u64, contents: &Digest384) {
        // PAGE_INFO: the digest so far (48 bytes), the contents' hash (48), the structure's length
        // 0x70 (2), the page type (1), IMI and the permissions of VMPL 3 to 1 and one reserved
        // byte, all zero (5), the address (8). What would be measured for other permissions is
        // another digest, and KVM issues no others.
        let mut info = [0u8; 0x70];
        let parts: [&[u8]; 5] =
            [&self.ld, contents, &[0x70, 0], &[kind as u8, 0, 0, 0, 0, 0], &gpa.to_le_bytes()];
        let source = parts.iter().flat_map(|part| part.iter());
        for (to, from) in info.iter_mut().zip(source) {
            *to = *from;
        }
        self.ld = sha384(&info);
        if let Some(trace) = &mut self.trace {
            trace.push(MeasuredPage { kind, gpa, contents: *contents });
        }
    }
}

fn check_range(gpa: u64, count: u64) -> Result<(), DigestError> {
    if !gpa.is_multiple_of(PAGE_STEP) {
        return Err(DigestError::Unaligned(gpa));
    }
    // The end of the range may not be beyond 2^64 either: an address that wraps would be measured
    // as a low one.
    count
        .checked_mul(PAGE_STEP)
        .and_then(|length| gpa.checked_add(length))
        .map(|_| ())
        .ok_or(DigestError::AddressOverflow { gpa, pages: count })
}

pub(crate) fn sha512(bytes: &[u8]) -> [u8; 64] {
    let mut out = [0; 64];
    out.copy_from_slice(digest(&SHA512, bytes).as_ref());
    out
}

pub(crate) fn sha384(bytes: &[u8]) -> Digest384 {
    let mut out = [0; 48];
    out.copy_from_slice(digest(&SHA384, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::{DigestError, LaunchDigest, PAGE_SIZE, PageKind, VcpuState, sha384};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_chain_extends_as_the_firmware_does_for_every_page_kind() {
        let mut digest = LaunchDigest::new();
        let mut step = |kind, gpa, expected: &str| {
            digest.page(kind, gpa, &[0; PAGE_SIZE]);
            assert_eq!(hex(&digest.current()), expected, "{kind:?}");
        };
        step(
            PageKind::Normal,
            0x1000,
            "e6e4d78904d9d6b33c0cbfd121998fd2d11744dae606b3aee35e2a45d6869b60b35c63928a9232bef72d6be386f48ec6",
        );
        step(
            PageKind::Zero,
            0x2000,
            "8233fbe1ec826b22907aa9397de357831970a96a08e3783a274d6349194edde812a85313b0916402f33d069e71e1248d",
        );
        step(
            PageKind::Unmeasured,
            0x3000,
            "e38aa6d01be592105dece52b841baab5f074b7680817c0db474561fc74b5aa89826cef755d515e57daaabe1f220f70d6",
        );
        step(
            PageKind::Secrets,
            0x4000,
            "4ab99c5fb84fc4720a053aee17fc63d5ca6ba07716d1f97e2e899de0aa4610d5cfc20f60f19b161b1a7b6e8f245a4f6f",
        );
        step(
            PageKind::Cpuid,
            0x5000,
            "adf702781cc8401038504a836700bf30b87124cea93ef7e2174454dd11b1b9b6d05e1d8e7f8b46ba81813eb777f3236c",
        );
        let bsp = VcpuState::qemu(0xffff_fff0, 0x00a0_0f11);
        assert_eq!(
            hex(&sha384(&bsp.vmsa_page(1))),
            "728af287318db5f3fc4d2357a969483c4225956dc555b514a78d64ee372112d13b3dca8afd02cdbd1c55697d8ce087f5"
        );
        digest.vcpu(&bsp, 1);
        assert_eq!(
            hex(&digest.finish()),
            "5a186d83e7e5de0238905779d6a825721ddf2388e3600dadca64b1b288a75b99b9909dd13edfc459926e53f1f7e20be7"
        );
    }

    #[test]
    fn a_run_of_pages_equals_the_pages_one_by_one() {
        let image: Vec<u8> =
            (0..1500 * PAGE_SIZE).map(|i| (i.wrapping_mul(31) >> 7).to_le_bytes()[0]).collect();
        let mut serial = LaunchDigest::new();
        for (i, page) in image.as_chunks::<PAGE_SIZE>().0.iter().enumerate() {
            serial.page(PageKind::Normal, 0x10_0000 + (i as u64) * 4096, page);
        }
        let mut parallel = LaunchDigest::new();
        parallel.pages(PageKind::Normal, 0x10_0000, &image).unwrap();
        assert_eq!(serial, parallel);
        let mut streamed = LaunchDigest::new();
        assert_eq!(streamed.stream(PageKind::Normal, 0x10_0000, &image[..]).unwrap(), 1500);
        assert_eq!(serial, streamed);
    }

    #[test]
    fn a_streamed_image_is_padded_to_its_last_page() {
        let mut streamed = LaunchDigest::new();
        assert_eq!(streamed.stream(PageKind::Normal, 0, &[7u8; 5000][..]).unwrap(), 2);
        let mut padded = vec![7u8; 5000];
        padded.resize(8192, 0);
        let mut whole = LaunchDigest::new();
        whole.pages(PageKind::Normal, 0, &padded).unwrap();
        assert_eq!(streamed, whole);
    }

    #[test]
    fn impossible_ranges_are_refused_before_anything_is_measured() {
        let mut digest = LaunchDigest::new();
        assert!(matches!(
            digest.pages(PageKind::Normal, 0, &[0; 100]),
            Err(DigestError::PartialPage { length: 100, .. })
        ));
        assert!(matches!(
            digest.pages(PageKind::Zero, 0x10, &[0; 4096]),
            Err(DigestError::Unaligned(0x10))
        ));
        assert!(matches!(
            digest.blank_pages(PageKind::Zero, 0xffff_ffff_ffff_f000, 2),
            Err(DigestError::AddressOverflow { .. })
        ));
        assert_eq!(digest.finish(), [0; 48]);
    }
}
