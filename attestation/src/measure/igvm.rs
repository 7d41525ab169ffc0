//! The launch digest of an IGVM file for SEV-SNP.
//!
//! Source: IGVM file format (microsoft/igvm, igvm_defs). The walk is this crate's own: every offset and
//! length of a file is checked before use. Tested against crate `igvm`.
//! Limit: 4 KiB pages; VMSAs are measured as the file gives them.

use super::{MAX_BLANK_PAGES, MeasureError};
use crate::digest::{Digest384, LaunchDigest, PAGE_SIZE, PageKind};
use std::collections::BTreeMap;

const MAGIC: &[u8; 4] = b"IGVM";
const PLATFORM_SEV_SNP: u8 = 2;
const SUPPORTED_PLATFORM: u32 = 0x1;
const GUEST_POLICY: u32 = 0x101;
const PARAMETER_AREA: u32 = 0x301;
const PAGE_DATA: u32 = 0x302;
const PARAMETER_INSERT: u32 = 0x303;
const VP_CONTEXT: u32 = 0x304;
const FLAG_2MB: u32 = 1;
const FLAG_UNMEASURED: u32 = 2;
const FLAG_SHARED: u32 = 4;

fn fault(offset: usize, rule: &'static str) -> MeasureError {
    MeasureError::Igvm { offset, rule }
}

/// What an IGVM file says of its launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IgvmLaunch {
    /// The launch digest.
    pub digest: Digest384,
    /// The guest policy, not measured.
    pub policy: u64,
}

/// The launch digest and guest policy of an IGVM file.
///
/// # Errors
/// [`MeasureError::Igvm`] with the offset of what is wrong: damage, no SEV-SNP platform, not one guest policy.
pub fn igvm_launch(file: &[u8]) -> Result<IgvmLaunch, MeasureError> {
    let headers = variable_headers(file)?;
    let mut walk = Walk {
        file,
        digest: LaunchDigest::new(),
        mask: None,
        policy: None,
        areas: BTreeMap::new(),
        blank: 0,
    };
    let mut rest = headers.bytes;
    let mut offset = headers.offset;
    while !rest.is_empty() {
        let (header, body) =
            rest.split_first_chunk::<8>().ok_or(fault(offset, "variable header is cut off"))?;
        let [kind, length] = *header.as_chunks::<4>().0 else {
            return Err(fault(offset, "variable header is cut off"));
        };
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        let contents = body.get(..length).ok_or(fault(offset, "variable header is cut off"))?;
        walk.header(u32::from_le_bytes(kind), contents, offset)?;
        // Headers are padded to 8 bytes.
        let step = length.next_multiple_of(8).min(body.len());
        rest = body.get(step..).unwrap_or_default();
        offset = offset.saturating_add(step).saturating_add(8);
    }
    let policy = walk.policy.ok_or(fault(headers.offset, "no guest policy for SEV-SNP"))?;
    Ok(IgvmLaunch { digest: walk.digest.finish(), policy })
}

struct Headers<'a> {
    offset: usize,
    bytes: &'a [u8],
}

/// Checks the fixed header and returns the variable headers.
fn variable_headers(file: &[u8]) -> Result<Headers<'_>, MeasureError> {
    let word = |offset| read_u32(file, offset).ok_or(fault(offset, "fixed header is cut off"));
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
    if size(16)? != file.len() {
        return Err(fault(16, "stated size is not the file's"));
    }
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

struct Walk<'a> {
    file: &'a [u8],
    digest: LaunchDigest,
    mask: Option<u32>,
    policy: Option<u64>,
    areas: BTreeMap<u32, u64>,
    blank: u64,
}

impl Walk<'_> {
    fn header(&mut self, kind: u32, body: &[u8], offset: usize) -> Result<(), MeasureError> {
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
                let policy = long(0)?;
                if *self.policy.get_or_insert(policy) != policy {
                    return Err(fault(offset, "a second guest policy, and another"));
                }
            }
            PARAMETER_AREA => {
                self.areas.insert(word(8)?, long(0)?);
            }
            PAGE_DATA if self.ours(word(8)?, offset)? => {
                let data_type = word(20)? & 0xffff;
                self.page(long(0)?, word(12)?, word(16)?, data_type, offset)?;
            }
            PARAMETER_INSERT if self.ours(word(8)?, offset)? => {
                let size = self.areas.get(&word(12)?).copied();
                let size = size.ok_or(fault(offset, "no such parameter area"))?;
                let pages = size.div_ceil(4096);
                self.blank = self.blank.saturating_add(pages);
                if self.blank > MAX_BLANK_PAGES {
                    return Err(fault(offset, "parameter areas are larger than 4 GiB"));
                }
                self.digest.blank_pages(PageKind::Unmeasured, long(0)?, pages)?;
            }
            VP_CONTEXT if self.ours(word(8)?, offset)? => {
                let page = self.file_page(word(12)?, offset)?;
                let page = page.ok_or(fault(offset, "a vCPU without its context"))?;
                self.measure(PageKind::Vmsa, long(0)?, &page)?;
            }
            _ => {}
        }
        Ok(())
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
        if flags & FLAG_SHARED != 0 {
            return Ok(());
        }
        if flags & FLAG_2MB != 0 {
            return Err(fault(offset, "2 MiB pages are not supported"));
        }
        let kind = match data_type {
            1 => PageKind::Secrets,
            2 | 3 => PageKind::Cpuid,
            0 if flags & FLAG_UNMEASURED != 0 => PageKind::Unmeasured,
            0 => PageKind::Normal,
            _ => return Err(fault(offset, "unknown page data type")),
        };
        let page = self.file_page(file_offset, offset)?.unwrap_or([0; PAGE_SIZE]);
        self.measure(kind, gpa, &page)
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
