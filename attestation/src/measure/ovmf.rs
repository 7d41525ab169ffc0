//! The tables inside an OVMF image: reset vector, kernel hash page, SEV metadata sections.
//!
//! Source: edk2 OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm and X64/OvmfSevMetadata.asm.
//! Every number in an image is checked before it is used: images may come from anyone.

use super::{MAX_BLANK_PAGES, MeasureError};

/// End of the image in guest memory: 4 GiB, below which the reset vector lies.
const TOP: u64 = 1 << 32;
/// Larger firmware images do not exist.
const MAX_IMAGE: usize = 64 * 1024 * 1024;
/// The table ends this far before the end of the image.
const FOOTER_DISTANCE: usize = 32;
/// Bytes of an entry's end: its length (2) and GUID (16).
const ENTRY_HEADER: usize = 18;
/// More sections than any image's metadata has.
const MAX_SECTIONS: usize = 64;

/// GUIDs as they lie in memory: the table's footer, the place of the kernel hashes, the reset block
/// of SEV-ES, the metadata.
const FOOTER: [u8; 16] = *b"\xde\x82\xb5\x96\xb2\x1f\xf7\x45\xba\xea\xa3\x66\xc5\x5a\x08\x2d";
const HASH_TABLE: [u8; 16] = *b"\x1f\x37\x55\x72\x3b\x3a\x04\x4b\x92\x7b\x1d\xa6\xef\xa8\xd4\x54";
const RESET_BLOCK: [u8; 16] = *b"\xde\x71\xf7\x00\x7e\x1a\xcb\x4f\x89\x0e\x68\xc7\x7e\x2f\xb4\x4e";
const METADATA: [u8; 16] = *b"\x66\x65\x88\xdc\x4a\x98\x98\x47\xa7\x5e\x55\x85\xa7\xbf\x67\xcc";

/// What a metadata section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// Memory for SEC, zeroed.
    SecMemory,
    /// The secrets page, filled by the firmware.
    Secrets,
    /// The CPUID page, given by the VMM and filtered by the firmware.
    Cpuid,
    /// The calling area of an SVSM, zeroed.
    SvsmCallingArea,
    /// The page of kernel hashes.
    KernelHashes,
}

/// One section of the SEV metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Guest physical address, a multiple of 4096, below 4 GiB.
    pub gpa: u64,
    /// Bytes, a whole number of pages.
    pub size: u64,
    /// What it is, which decides how it is measured.
    pub kind: SectionKind,
}

/// A firmware image with its tables read.
#[derive(Debug, Clone)]
pub struct Ovmf<'a> {
    image: &'a [u8],
    /// Where an application processor starts.
    pub ap_reset: u32,
    /// Where the kernel hashes lie, when the image has a place for them.
    pub hash_table: Option<u32>,
    /// The metadata sections in their order.
    pub sections: Vec<Section>,
}

impl<'a> Ovmf<'a> {
    /// Reads the tables of an image.
    ///
    /// # Errors
    /// [`MeasureError::Firmware`] naming what is missing or damaged.
    pub fn parse(image: &'a [u8]) -> Result<Self, MeasureError> {
        let bad = MeasureError::Firmware;
        if image.len() > MAX_IMAGE || !image.len().is_multiple_of(4096) || image.is_empty() {
            return Err(bad("is not 4 KiB to 64 MiB of whole pages"));
        }
        let table = footer_table(image).ok_or(bad("has no OVMF table at its end"))?;
        // The reset block has to be there: without it no vCPU but the first could start. The place
        // of the hashes is optional, and 0 says that there is none.
        let ap_reset =
            first_u32(find(table, RESET_BLOCK)?).ok_or(bad("has no SEV-ES reset block"))?;
        let hash_table = first_u32(find(table, HASH_TABLE)?).filter(|gpa| *gpa != 0);
        let sections = match find(table, METADATA)? {
            None => Vec::new(),
            Some(entry) => {
                let back = first_u32(Some(entry)).ok_or(bad("metadata entry is cut off"))?;
                metadata(image, back)?
            }
        };
        Ok(Self { image, ap_reset, hash_table, sections })
    }

    /// The image's bytes, all of which are measured.
    #[must_use]
    pub const fn image(&self) -> &'a [u8] {
        self.image
    }

    /// Where the image starts in guest memory.
    #[must_use]
    pub fn gpa(&self) -> u64 {
        TOP.saturating_sub(u64::try_from(self.image.len()).unwrap_or(0))
    }
}

/// The entries of the table, which grows down from its footer.
fn footer_table(image: &[u8]) -> Option<&[u8]> {
    // From the end: 32 bytes of reset vector and its padding, before them the footer, whose length
    // counts the footer and all entries.
    let end = image.len().checked_sub(FOOTER_DISTANCE)?;
    let (before, footer) = image.get(..end)?.split_last_chunk::<ENTRY_HEADER>()?;
    let (length, guid) = footer.split_first_chunk::<2>()?;
    if guid != FOOTER {
        return None;
    }
    let entries = usize::from(u16::from_le_bytes(*length)).checked_sub(ENTRY_HEADER)?;
    before.get(before.len().checked_sub(entries)?..)
}

/// The data of the entry with this GUID.
fn find(table: &[u8], wanted: [u8; 16]) -> Result<Option<&[u8]>, MeasureError> {
    let damaged = || MeasureError::Firmware("OVMF table is damaged");
    let mut rest = table;
    // Each entry has its data before its length and GUID, so the table is read from its end. Every
    // turn takes at least a header, so it ends.
    while let Some((before, header)) = rest.split_last_chunk::<ENTRY_HEADER>() {
        let (length, guid) = header.split_first_chunk::<2>().ok_or_else(damaged)?;
        let data = usize::from(u16::from_le_bytes(*length))
            .checked_sub(ENTRY_HEADER)
            .ok_or_else(damaged)?;
        let start = before.len().checked_sub(data).ok_or_else(damaged)?;
        let (next, data) = before.split_at_checked(start).ok_or_else(damaged)?;
        if guid == wanted {
            return Ok(Some(data));
        }
        rest = next;
    }
    Ok(None)
}

fn first_u32(data: Option<&[u8]>) -> Option<u32> {
    data?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
}

fn metadata(image: &[u8], back: u32) -> Result<Vec<Section>, MeasureError> {
    let bad = MeasureError::Firmware;
    let start = usize::try_from(back)
        .ok()
        .and_then(|back| image.len().checked_sub(back))
        .ok_or(bad("metadata lies outside the image"))?;
    // Metadata is found by its distance from the end of the image, as the table is.
    let header = image.get(start..).unwrap_or_default();
    let (header, items) =
        header.split_first_chunk::<16>().ok_or(bad("metadata header is cut off"))?;
    // The size is not used: the number of sections says the same, and one of the two is enough to
    // be believed.
    let [signature, _size, version, count] = *header.as_chunks::<4>().0 else {
        return Err(bad("metadata header is cut off"));
    };
    if &signature != b"ASEV" || u32::from_le_bytes(version) != 1 {
        return Err(bad("metadata is not version 1 of ASEV"));
    }
    let count = usize::try_from(u32::from_le_bytes(count)).unwrap_or(usize::MAX);
    // The sections that are there are counted before the number is believed.
    let items = items.as_chunks::<12>().0.get(..count).filter(|_| count <= MAX_SECTIONS);
    let mut pages = 0u64;
    // Bounded in all, since each blank page costs a fold of the digest.
    items
        .ok_or(bad("metadata has more sections than fit"))?
        .iter()
        .map(|item| {
            let section = section(item)?;
            pages = pages.saturating_add(section.size / 4096);
            if pages > MAX_BLANK_PAGES {
                return Err(bad("metadata sections are larger than 4 GiB"));
            }
            Ok(section)
        })
        .collect()
}

fn section(item: &[u8; 12]) -> Result<Section, MeasureError> {
    let bad = MeasureError::Firmware;
    let [gpa, size, kind] = *item.as_chunks::<4>().0 else {
        return Err(bad("metadata section is cut off"));
    };
    let (gpa, size) = (u64::from(u32::from_le_bytes(gpa)), u64::from(u32::from_le_bytes(size)));
    if !gpa.is_multiple_of(4096) || !size.is_multiple_of(4096) {
        return Err(bad("metadata section is not whole pages"));
    }
    let kind = match u32::from_le_bytes(kind) {
        1 => SectionKind::SecMemory,
        2 => SectionKind::Secrets,
        3 => SectionKind::Cpuid,
        4 => SectionKind::SvsmCallingArea,
        0x10 => SectionKind::KernelHashes,
        _ => return Err(bad("metadata section of unknown kind")),
    };
    Ok(Section { gpa, size, kind })
}
