//! The memory map that Linux gets: E820 entries in the zero page (Linux,
//! Documentation/arch/x86/zero-page.rst).

use casemate_kernel::bytes::put;
use casemate_layout::map::{ACPI, HIGH_START, SNP_PAGES};
use casemate_layout::{Range, Termination};

/// Usable memory: Linux takes pages from it (`E820_TYPE_RAM`).
pub const RAM: u32 = 1;
/// Memory that Linux keeps away from.
pub const RESERVED: u32 = 2;
/// ACPI tables. Under SNP, Linux maps this kind private, and reserved memory shared.
pub const ACPI_TABLES: u32 = 3;

const COUNT_OFFSET: usize = 0x1e8;
const TABLE_OFFSET: usize = 0x2d0;
const ENTRY_BYTES: usize = 20;
const MAX_ENTRIES: usize = 128;

/// Writes entries one after another.
struct Table<'a> {
    zero_page: &'a mut [u8],
    count: usize,
}

impl Table<'_> {
    fn push(&mut self, range: Range, kind: u32) -> Result<(), Termination> {
        if range.size == 0 {
            return Ok(());
        }
        if self.count >= MAX_ENTRIES {
            return Err(Termination::E820);
        }
        let at = TABLE_OFFSET + self.count * ENTRY_BYTES;
        self.count += 1;
        let count = u8::try_from(self.count).map_err(|_| Termination::E820)?;
        put(self.zero_page, at, &range.start.to_le_bytes())
            .and_then(|()| put(self.zero_page, at + 8, &range.size.to_le_bytes()))
            .and_then(|()| put(self.zero_page, at + 16, &kind.to_le_bytes()))
            .and_then(|()| put(self.zero_page, COUNT_OFFSET, &[count]))
            .ok_or(Termination::Internal)
    }
}

/// Writes the map of `ram`: all of it, less low memory's own uses and the legacy window.
///
/// # Errors
/// [`Termination::E820`] when there are too many entries.
pub fn write(zero_page: &mut [u8], ram: &[Range]) -> Result<(), Termination> {
    let mut table = Table { zero_page, count: 0 };
    table.push(Range { start: 0, size: SNP_PAGES.start }, RAM)?;
    table.push(SNP_PAGES, RESERVED)?;
    let (start, end) = (SNP_PAGES.end(), ACPI.start);
    table.push(Range { start, size: end - start }, RAM)?;
    table.push(ACPI, ACPI_TABLES)?;
    for ram in ram {
        let start = ram.start.max(HIGH_START);
        table.push(Range { start, size: ram.end().saturating_sub(start) }, RAM)?;
    }
    Ok(())
}

/// Entries of a zero page: start, size, kind.
pub fn entries(zero_page: &[u8]) -> impl Iterator<Item = (u64, u64, u32)> + '_ {
    use casemate_kernel::bytes::{u32_at, u64_at};
    let count = zero_page.get(COUNT_OFFSET).copied().map_or(0, usize::from);
    (0..count).map_while(move |index| {
        let at = TABLE_OFFSET + index * ENTRY_BYTES;
        Some((u64_at(zero_page, at)?, u64_at(zero_page, at + 8)?, u32_at(zero_page, at + 16)?))
    })
}
