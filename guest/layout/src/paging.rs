//! Page tables: bits, and the first tables that the hypervisor launches.

use crate::map::{BOOT_TABLES, PAGE_SIZE};

/// Entry is there.
pub const PRESENT: u64 = 1;
/// Entry may be written through.
pub const WRITABLE: u64 = 2;
/// Entry is a 2 MiB page.
pub const LARGE: u64 = 1 << 7;
/// Entries of a table.
pub const ENTRIES: usize = 512;
/// Tables of [`boot_tables`]: PML4, PDPT, PD.
pub const BOOT_TABLE_COUNT: usize = 3;
/// Bytes of [`boot_tables`].
pub const BOOT_TABLE_BYTES: usize = BOOT_TABLE_COUNT * ENTRIES * 8;

/// The bit of a page-table entry that makes a page private; 0 for no bit.
#[must_use]
pub const fn c_bit_mask(position: u8) -> u64 {
    match position {
        0 => 0,
        bit => 1_u64.wrapping_shl(bit as u32),
    }
}

/// Contents of [`BOOT_TABLES`]: the first 2 MiB, identity-mapped, writable, private if `c_bit` is not 0.
#[must_use]
pub fn boot_tables(c_bit: u8) -> [u8; BOOT_TABLE_BYTES] {
    let mask = c_bit_mask(c_bit);
    let table = |index: u64| (BOOT_TABLES.start + index * PAGE_SIZE) | PRESENT | WRITABLE | mask;
    let entries = [table(1), table(2), PRESENT | WRITABLE | LARGE | mask];
    let mut bytes = [0; BOOT_TABLE_BYTES];
    for (page, entry) in bytes.chunks_exact_mut(ENTRIES * 8).zip(entries) {
        if let Some(first) = page.first_chunk_mut() {
            *first = entry.to_le_bytes();
        }
    }
    bytes
}
