//! The launch digest of an IGVM file for SEV-SNP.
//!
//! Source: IGVM file format (microsoft/igvm, igvm_defs). The walk is this crate's own: every offset
//! and length of a file is checked before use. Tested against crate `igvm`. VMSAs are measured as
//! the file gives them; [`IgvmLaunch::kvm`] says where KVM launches another.

use super::igvm_kvm::KvmDifferences;
use super::{MAX_BLANK_PAGES, MeasureError};
use crate::digest::{Digest384, LaunchDigest, PAGE_SIZE, PageKind};
use crate::idblock::{self, IdBlock, IdError, KeyDigests};
use std::collections::BTreeMap;

const MAGIC: &[u8; 4] = b"IGVM";
const PLATFORM_SEV_SNP: u8 = 2;
const SUPPORTED_PLATFORM: u32 = 0x1;
const GUEST_POLICY: u32 = 0x101;
const PARAMETER_AREA: u32 = 0x301;
const PAGE_DATA: u32 = 0x302;
const PARAMETER_INSERT: u32 = 0x303;
const VP_CONTEXT: u32 = 0x304;
const SNP_ID_BLOCK: u32 = 0x30B;
/// Bytes of its header.
const ID_BLOCK_BODY: usize = 696;
/// Bytes of a page that a header with [`FLAG_2MB`] describes.
const LARGE_PAGE: u64 = 2 * 1024 * 1024;
/// Bytes of large pages that a file may have hashed.
const MAX_HASHED: u64 = 4 << 30;
const FLAG_2MB: u32 = 1;
const FLAG_UNMEASURED: u32 = 2;
const FLAG_SHARED: u32 = 4;

fn fault(offset: usize, rule: &'static str) -> MeasureError {
    MeasureError::Igvm { offset, rule }
}

/// What an IGVM file says of its launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgvmLaunch {
    /// The launch digest of the file, its vCPUs as the file has them.
    pub digest: Digest384,
    /// The guest policy, not measured: the firmware is given it at LAUNCH_START.
    pub policy: u64,
    /// The ID block in the file, when there is one.
    pub id_block: Option<IgvmIdBlock>,
    /// Why KVM's launch of this file has another digest: what KVM changes in a vCPU's state, where
    /// it puts it, and when it measures it. Empty when it has this one.
    pub kvm: Vec<String>,
}

/// The ID block of an IGVM file. The firmware ends a launch that it does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgvmIdBlock {
    /// The launch digest that it names.
    pub launch_digest: Digest384,
    /// Whether it is signed by the key beside it, with the guest policy of the file; else why not.
    pub signed: Result<KeyDigests, IdError>,
}

/// The launch digest and guest policy of an IGVM file.
///
/// # Errors
/// [`MeasureError::Igvm`] with the offset of what is wrong: damage, no SEV-SNP platform, not one
/// guest policy.
pub fn igvm_launch(file: &[u8]) -> Result<IgvmLaunch, MeasureError> {
    igvm_measure(file, &mut LaunchDigest::new())
}

/// The same, into a digest that may remember its pages.
///
/// # Errors
/// As [`igvm_launch`].
pub fn igvm_measure(file: &[u8], digest: &mut LaunchDigest) -> Result<IgvmLaunch, MeasureError> {
    let headers = variable_headers(file)?;
    let mut walk = Walk {
        file,
        digest,
        id_block: None,
        kvm: KvmDifferences::default(),
        mask: None,
        policy: None,
        areas: BTreeMap::new(),
        blank: 0,
        hashed: 0,
    };
    // The headers are the launch in order: each is taken as it comes, and the digest has the order
    // of the file.
    let mut rest = headers.bytes;
    let mut offset = headers.offset;
    while !rest.is_empty() {
        let (header, body) =
            rest.split_first_chunk::<8>().ok_or(fault(offset, "variable header is cut off"))?;
        let [kind, length] = *header.as_chunks::<4>().0 else {
            return Err(fault(offset, "variable header is cut off"));
        };
        // A length that does not fit `usize` cannot fit the file either.
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        let contents = body.get(..length).ok_or(fault(offset, "variable header is cut off"))?;
        walk.header(u32::from_le_bytes(kind), contents, offset)?;
        // Headers are padded to 8 bytes.
        let step = length.next_multiple_of(8).min(body.len());
        rest = body.get(step..).unwrap_or_default();
        offset = offset.saturating_add(step).saturating_add(8);
    }
    let policy = walk.policy.ok_or(fault(headers.offset, "no guest policy for SEV-SNP"))?;
    // The ID block is taken apart after all headers: its digest is over the policy as well, which
    // may stand behind it.
    let id_block = walk.id_block.map(|body| id_block(body, policy));
    let kvm = walk.kvm.into_list();
    Ok(IgvmLaunch { digest: walk.digest.current(), policy, id_block, kvm })
}

/// Takes the ID block's header apart. `body` has [`ID_BLOCK_BODY`] bytes.
fn id_block(body: &[u8], policy: u64) -> IgvmIdBlock {
    let word = |at| read_u32(body, at).unwrap_or_default();
    let part = |at: usize, length: usize| {
        at.checked_add(length).and_then(|end| body.get(at..end)).unwrap_or_default()
    };
    fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.try_into().unwrap_or([0; N])
    }
    let block = IdBlock {
        launch_digest: array(part(8, 48)),
        family_id: array(part(56, 16)),
        image_id: array(part(72, 16)),
        guest_svn: word(92),
        policy,
    };
    // IGVM_VHS_SNP_ID_BLOCK has both algorithms, signatures and keys in fields of their own; they
    // are put into the firmware's form, and checked by the code that checks what the firmware is
    // given.
    let author = word(4) & 0xff != 0;
    let signed = match word(88) {
        1 => {
            // A key in the header has a reserved word behind its curve, where the firmware's has
            // none.
            let key = |at: usize| [part(at, 4), part(at.saturating_add(8), 144)];
            let keys = (key(248), key(544));
            let algorithms = (word(96), word(100));
            let signatures = (part(104, 144), part(400, 144));
            let auth = idblock::assemble(algorithms, signatures, keys);
            idblock::check(&block.to_bytes(), &auth, author)
        }
        version => Err(IdError::Version(version)),
    };
    IgvmIdBlock { launch_digest: block.launch_digest, signed }
}

struct Headers<'a> {
    offset: usize,
    bytes: &'a [u8],
}

/// Checks the fixed header and returns the variable headers.
fn variable_headers(file: &[u8]) -> Result<Headers<'_>, MeasureError> {
    let word = |offset| read_u32(file, offset).ok_or(fault(offset, "fixed header is cut off"));
    // Version 1 has a fixed header of 24 bytes, version 2 one of 32 that also gives the page size.
    if file.get(..4) != Some(MAGIC) {
        return Err(fault(0, "no IGVM magic"));
    }
    let fixed = match word(4)? {
        1 => 24,
        2 if word(28)? == 4096 => 32,
        2 => return Err(fault(28, "pages are not 4 KiB")),
        _ => return Err(fault(4, "unknown format version")),
    };
    let size = |offset| Ok::<_, MeasureError>(usize::try_from(word(offset)?).unwrap_or(usize::MAX));
    let (offset, length) = (size(8)?, size(12)?);
    // The stated size is compared before anything is sliced: a file that was cut off or lengthened
    // is told as such.
    if size(16)? != file.len() {
        return Err(fault(16, "stated size is not the file's"));
    }
    // Variable headers may not begin inside the fixed one.
    let end = offset.checked_add(length).filter(|_| offset >= fixed);
    let bytes = end
        .and_then(|end| file.get(offset..end))
        .ok_or(fault(8, "variable headers lie outside the file"))?;
    // The checksum covers both headers, itself taken as zero.
    let mut head = file.get(..fixed).unwrap_or_default().to_vec();
    if let Some(own) = head.get_mut(20..24) {
        own.fill(0);
    }
    if crc32(head.iter().chain(bytes)) != word(20)? {
        return Err(fault(20, "checksum does not fit"));
    }
    Ok(Headers { offset, bytes })
}

struct Walk<'a, 'd> {
    file: &'a [u8],
    digest: &'d mut LaunchDigest,
    id_block: Option<&'a [u8]>,
    kvm: KvmDifferences,
    mask: Option<u32>,
    policy: Option<u64>,
    areas: BTreeMap<u32, u64>,
    blank: u64,
    hashed: u64,
}

impl<'a> Walk<'a, '_> {
    fn header(&mut self, kind: u32, body: &'a [u8], offset: usize) -> Result<(), MeasureError> {
        let short = || fault(offset, "header is too short for its kind");
        let word = |at| read_u32(body, at).ok_or_else(short);
        let long = |at| read_u64(body, at).ok_or_else(short);
        match kind {
            SUPPORTED_PLATFORM if body.get(5) == Some(&PLATFORM_SEV_SNP) => {
                if self.mask.is_some() {
                    return Err(fault(offset, "SEV-SNP is described twice"));
                }
                self.mask = Some(word(0)?);
            }
            GUEST_POLICY if self.ours(word(8)?, offset)? => {
                // Several policies are possible for several masks; two that differ for this
                // platform leave open which is launched.
                let policy = long(0)?;
                if *self.policy.get_or_insert(policy) != policy {
                    return Err(fault(offset, "a second guest policy, and another"));
                }
            }
            PARAMETER_AREA => {
                self.areas.insert(word(8)?, long(0)?);
            }
            PAGE_DATA if self.ours(word(8)?, offset)? => {
                // The upper half of the word is reserved; the type is 16 bits.
                let data_type = word(20)? & 0xffff;
                self.page(long(0)?, word(12)?, word(16)?, data_type, offset)?;
            }
            PARAMETER_INSERT if self.ours(word(8)?, offset)? => {
                self.parameters(word(12)?, long(0)?, offset)?;
            }
            VP_CONTEXT if self.ours(word(8)?, offset)? => {
                let page = self.file_page(word(12)?, offset)?;
                // A vCPU's context at offset 0 would be a save area of zeros, which no vCPU starts
                // from.
                let page = page.ok_or(fault(offset, "a vCPU without its context"))?;
                self.kvm.vcpu(long(0)?, &page);
                self.measure(PageKind::Vmsa, long(0)?, &page)?;
            }
            SNP_ID_BLOCK if self.ours(word(0)?, offset)? => {
                let body = body.get(..ID_BLOCK_BODY).ok_or_else(short)?;
                if self.id_block.replace(body).is_some() {
                    return Err(fault(offset, "a second ID block"));
                }
            }
            // Headers that this walk has no arm for describe other platforms, or measure nothing.
            // The platform header has to come first (`ours` asks for it), as the format demands.
            _ => {}
        }
        Ok(())
    }

    /// An area is memory that the loader fills, described by one header and placed at `gpa` by
    /// another. Its pages are part of the launch, their contents are not measured.
    fn parameters(&mut self, area: u32, gpa: u64, offset: usize) -> Result<(), MeasureError> {
        let size = self.areas.get(&area).copied();
        let size = size.ok_or(fault(offset, "no such parameter area"))?;
        let pages = size.div_ceil(4096);
        // Bounded over the whole file: one header of 40 bytes could ask for any number of folds.
        self.blank = self.blank.saturating_add(pages);
        if self.blank > MAX_BLANK_PAGES {
            return Err(fault(offset, "parameter areas are larger than 4 GiB"));
        }
        self.kvm.page();
        Ok(self.digest.blank_pages(PageKind::Unmeasured, gpa, pages)?)
    }

    /// Whether a header with this mask is for SEV-SNP.
    fn ours(&self, mask: u32, offset: usize) -> Result<bool, MeasureError> {
        let own = self.mask.ok_or(fault(offset, "no SEV-SNP platform before this header"))?;
        Ok(mask & own == own)
    }

    fn page(
        &mut self,
        gpa: u64,
        file_offset: u32,
        flags: u32,
        data_type: u32,
        offset: usize,
    ) -> Result<(), MeasureError> {
        // Shared pages are not part of the launch: the loader writes them, the firmware never sees
        // them.
        if flags & FLAG_SHARED != 0 {
            return Ok(());
        }
        let kind = match data_type {
            1 => PageKind::Secrets,
            2 | 3 => PageKind::Cpuid,
            // The flag matters for plain data only; the other kinds have contents that are not
            // measured anyway.
            0 if flags & FLAG_UNMEASURED != 0 => PageKind::Unmeasured,
            0 => PageKind::Normal,
            _ => return Err(fault(offset, "unknown page data type")),
        };
        self.kvm.page();
        if flags & FLAG_2MB != 0 {
            return self.large_page(kind, gpa, file_offset, offset);
        }
        // Offset 0 is inside the header, so it can say "zeros".
        let page = self.file_page(file_offset, offset)?.unwrap_or([0; PAGE_SIZE]);
        self.measure(kind, gpa, &page)
    }

    /// A page of 2 MiB, which the firmware measures as 512 of 4 KiB. Source: SEV-SNP firmware ABI
    /// (AMD 56860), SNP_LAUNCH_UPDATE; KVM passes it page by page, `__sev_gmem_populate` in sev.c.
    fn large_page(
        &mut self,
        kind: PageKind,
        gpa: u64,
        file_offset: u32,
        offset: usize,
    ) -> Result<(), MeasureError> {
        if !gpa.is_multiple_of(LARGE_PAGE) {
            return Err(fault(offset, "a 2 MiB page at an address that is no multiple of 2 MiB"));
        }
        if !matches!(kind, PageKind::Normal | PageKind::Unmeasured) {
            return Err(fault(offset, "a 2 MiB page of a kind that has 4 KiB"));
        }
        if file_offset == 0 {
            self.blank = self.blank.saturating_add(LARGE_PAGE / 4096);
            if self.blank > MAX_BLANK_PAGES {
                return Err(fault(offset, "pages without contents are more than 4 GiB"));
            }
            return Ok(self.digest.blank_pages(kind, gpa, LARGE_PAGE / 4096)?);
        }
        let start = usize::try_from(file_offset).unwrap_or(usize::MAX);
        let end = usize::try_from(LARGE_PAGE).ok().and_then(|length| start.checked_add(length));
        let page = end.and_then(|end| self.file.get(start..end));
        let page = page.ok_or(fault(offset, "page data lies outside the file"))?;
        // Many headers may name the same bytes: each costs its hashing.
        self.hashed = self.hashed.saturating_add(LARGE_PAGE);
        if self.hashed > MAX_HASHED {
            return Err(fault(offset, "2 MiB pages are more than 4 GiB"));
        }
        self.measure(kind, gpa, page)
    }

    fn measure(&mut self, kind: PageKind, gpa: u64, page: &[u8]) -> Result<(), MeasureError> {
        Ok(self.digest.pages(kind, gpa, page)?)
    }

    /// One page of file data; none for offset 0, which means zeros.
    fn file_page(
        &self,
        start: u32,
        offset: usize,
    ) -> Result<Option<[u8; PAGE_SIZE]>, MeasureError> {
        if start == 0 {
            return Ok(None);
        }
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        self.file
            .get(start..)
            .and_then(|data| data.first_chunk::<PAGE_SIZE>())
            .map(|page| Some(*page))
            .ok_or(fault(offset, "page data lies outside the file"))
    }
}

fn read_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk::<4>()?))
}

fn read_u64(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk::<8>()?))
}

/// CRC-32 (IEEE 802.3). Headers are small; a table is not worth its lines.
fn crc32<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1))
        })
    })
}
