//! The zero page, `struct boot_params` (Linux, Documentation/arch/x86/zero-page.rst and boot.rst).

use casemate_kernel::bytes::put;
use casemate_kernel::bzimage::{BzImage, HEADER_START};
use casemate_layout::Range;
use casemate_layout::map::CMDLINE;

const RSDP: usize = 0x070;
const BOOT_FLAG: usize = 0x1fe;
const SIGNATURE: usize = 0x202;
const VERSION: usize = 0x206;
const LOADER: usize = 0x210;
const LOAD_FLAGS: usize = 0x211;
const INITRD: usize = 0x218;
const INITRD_SIZE: usize = 0x21c;
/// `ext_ramdisk_image`, then `ext_ramdisk_size`: bits 63:32 of the address and of the size.
const INITRD_HIGH: usize = 0x0c0;
const INITRD_SIZE_HIGH: usize = 0x0c4;
const CMDLINE_POINTER: usize = 0x228;
const ALIGNMENT: usize = 0x230;
const SETUP_DATA: usize = 0x250;

/// A loader without a number of its own.
const UNDEFINED_LOADER: u8 = 0xff;
const LOADED_HIGH: u8 = 1;
const PROTOCOL: u16 = 0x020f;
const DEFAULT_ALIGNMENT: u32 = 0x20_0000;

/// Fills `page`, all zero, with everything but the memory map. `setup_data` is 0 for none.
pub fn fill(
    page: &mut [u8],
    rsdp: u64,
    initrd: Range,
    header: Option<&BzImage>,
    setup_data: u64,
) -> Option<()> {
    match header {
        Some(image) => put(page, HEADER_START, image.header_bytes())?,
        None => {
            put(page, BOOT_FLAG, &0xaa55_u16.to_le_bytes())?;
            put(page, SIGNATURE, b"HdrS")?;
            put(page, VERSION, &PROTOCOL.to_le_bytes())?;
            put(page, ALIGNMENT, &DEFAULT_ALIGNMENT.to_le_bytes())?;
            put(page, LOAD_FLAGS, &[LOADED_HIGH])?;
        }
    }
    put(page, LOADER, &[UNDEFINED_LOADER])?;
    // Low and high half of each. Linux reads the latter of any kernel with a 64-bit entry.
    for (number, low, high) in
        [(initrd.start, INITRD, INITRD_HIGH), (initrd.size, INITRD_SIZE, INITRD_SIZE_HIGH)]
    {
        let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
        put(page, low, &[a, b, c, d])?;
        put(page, high, &[e, f, g, h])?;
    }
    put(page, CMDLINE_POINTER, &u32::try_from(CMDLINE.start).ok()?.to_le_bytes())?;
    put(page, SETUP_DATA, &setup_data.to_le_bytes())?;
    put(page, RSDP, &rsdp.to_le_bytes())
}
