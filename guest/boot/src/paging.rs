//! The boot code's own page tables.
//!
//! RAM below 4 GiB is identity-mapped with large pages, private under SNP, and so is nothing else.
//! Two windows of 1 GiB each reach the rest: one for accepting RAM above 4 GiB, one, always shared,
//! for staging. Eight tables serve any amount of memory.

use casemate_layout::Range;
use casemate_layout::map::{LARGE_PAGE_SIZE, PAGE_SIZE};
use casemate_layout::paging::{ENTRIES, LARGE, PRESENT, WRITABLE};

/// One page of any of the four levels: 512 entries of eight bytes.
pub type Table = [u64; ENTRIES];
/// Number of tables: PML4, PDPT, four page directories for the identity map, two for the windows.
pub const TABLES: usize = 8;
/// Bytes that one page directory maps, and that one window shows.
pub const WINDOW_BYTES: u64 = 1 << 30;
/// End of the identity map.
pub const IDENTITY_END: u64 = 4 * WINDOW_BYTES;
/// Where the window on RAM is.
pub const RAM_WINDOW: u64 = IDENTITY_END;
/// Where the window on staging is.
pub const STAGING_WINDOW: u64 = IDENTITY_END + WINDOW_BYTES;
/// Index of the window's page directory among the tables.
pub const RAM_WINDOW_TABLE: usize = 6;
/// Index of the window's page directory among the tables.
pub const STAGING_WINDOW_TABLE: usize = 7;

const LEAF: u64 = PRESENT | WRITABLE | LARGE;

/// Fills the tables, which are at `base`. `c_bit` is the mask of the C-bit, or 0.
pub fn fill(tables: &mut [Table; TABLES], base: u64, ram: &[Range], c_bit: u64) {
    let [pml4, pdpt, identity @ .., _, _] = tables;
    pml4.fill(0);
    pdpt.fill(0);
    let mut next = base;
    for slot in pml4.iter_mut().take(1).chain(pdpt.iter_mut().take(TABLES - 2)) {
        next = next.saturating_add(PAGE_SIZE);
        *slot = next | PRESENT | WRITABLE | c_bit;
    }
    let leaves = identity.as_flattened_mut().iter_mut();
    for (leaf, start) in leaves.zip((0..).map(|index: u64| index * LARGE_PAGE_SIZE)) {
        let page = Range { start, size: LARGE_PAGE_SIZE };
        let used = ram.iter().any(|range| range.overlaps(page));
        *leaf = if used { start | LEAF | c_bit } else { 0 };
    }
    for window in [RAM_WINDOW_TABLE, STAGING_WINDOW_TABLE] {
        if let Some(table) = tables.get_mut(window) {
            table.fill(0);
        }
    }
}

/// Points a window's page directory at the GiB that `gpa` is in; gives that GiB's first address.
pub fn aim(window: &mut Table, gpa: u64, c_bit: u64) -> u64 {
    let first = gpa - gpa % WINDOW_BYTES;
    for (leaf, offset) in window.iter_mut().zip((0..).map(|index: u64| index * LARGE_PAGE_SIZE)) {
        // Addresses end below the C-bit, which the map's check makes sure of.
        *leaf = (first + offset) | LEAF | c_bit;
    }
    first
}
