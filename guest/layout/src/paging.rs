//! Page tables: bits, and the first table that the hypervisor launches.

use crate::map::{BOOT_TABLE, HOST_MAP, PAGE_BYTES, SCRATCH};

/// The entry leads somewhere; without this bit all others are ignored.
pub const PRESENT: u64 = 1;
/// The page, or all below the table, may be written.
pub const WRITABLE: u64 = 2;
/// The entry is a page of 2 MiB and not a table; in a page directory only.
pub const LARGE: u64 = 1 << 7;
/// Entries of a table, at each of the four levels.
pub const ENTRIES: usize = 512;
/// Bytes of a table, which is one page.
pub const TABLE_BYTES: usize = ENTRIES * 8;

/// The bit of a page-table entry that makes a page private; 0 for no bit.
#[must_use]
pub const fn c_bit_mask(position: u8) -> u64 {
    match position {
        0 => 0,
        bit => 1_u64.wrapping_shl(bit as u32),
    }
}

/// Contents of [`BOOT_TABLE`]: private pages from 0x1000 to the end of [`SCRATCH`], and
/// [`HOST_MAP`] shared, each where it is.
///
/// One page is all four levels, because every launched page costs the firmware about a millisecond.
/// Entry 0 leads to the table itself, so an address below 2 MiB, whose indices in the upper three
/// levels are 0, stays in it until the last level, where entry `i` is the page at `i * 0x1000`.
/// Address 0 is the table again; nothing uses it. What an address above 2 MiB would find are other
/// launched pages taken for tables: the boot code has none such until it has tables of its own,
/// which it makes before it follows any address that it did not choose itself.
#[must_use]
pub fn boot_table(c_bit: u8) -> [u8; TABLE_BYTES] {
    let private = PRESENT | WRITABLE | c_bit_mask(c_bit);
    let mut bytes = [0; TABLE_BYTES];
    for (entry, page) in bytes.as_chunks_mut().0.iter_mut().zip((0_u64..).step_by(PAGE_BYTES)) {
        let value = match page {
            // Entry 0 is the table itself: see above.
            0 => BOOT_TABLE.start | private,
            page if page < SCRATCH.end() => page | private,
            // Shared: without the C-bit. Not writable either, as it is read once.
            page if page == HOST_MAP.start => page | PRESENT,
            _ => 0,
        };
        *entry = value.to_le_bytes();
    }
    bytes
}
