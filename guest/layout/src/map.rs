//! Low memory: where everything is that is there before Linux is.
//!
//! | from | to | what | launched |
//! |---|---|---|---|
//! | `0x00000` | `0x01000` | BIOS data area: all zero, since Linux reads words 0x40e and 0x413 | no |
//! | `0x01000` | `0x04000` | first page tables: PML4, PDPT, PD | 3 pages |
//! | `0x04000` | `0x05000` | parameters | 1 page |
//! | `0x05000` | `0x06000` | CPUID page (SNP) | 1 page |
//! | `0x06000` | `0x07000` | secrets page (SNP) | 1 page |
//! | `0x07000` | `0x08000` | `cc_blob_sev_info` and its `setup_data` (SNP) | no |
//! | `0x08000` | `0x09000` | zero page (`boot_params`) | no |
//! | `0x09000` | `0x0a000` | kernel command line | no |
//! | `0x0a000` | `0x10000` | nothing | no |
//! | `0x10000` | `0x18000` | boot code | at most 8 pages |
//! | `0x18000` | `0x28000` | the boot code's own page tables and stack | no |
//! | `0x28000` | `0x80000` | nothing | no |
//! | `0x80000` | `0xa0000` | ACPI tables | no |
//! | `0xa0000` | `0x100000` | legacy video and ROMs: RAM that Linux is not told of; at its end the reset vector | no |
//!
//! With one VMSA a launch measures at most 15 pages. To Linux all of it below `0x80000` is RAM but the CPUID and
//! secrets pages; it keeps the first 64 KiB to itself. `setup_data` must be RAM: Linux maps reserved memory shared,
//! where it looks at `setup_data` again (arch/x86/kernel/ksysfs.c). "No" under launched: the boot code accepts the page
//! and fills it.

use crate::Range;

/// Bytes of a page.
pub const PAGE_SIZE: u64 = 0x1000;
/// [`PAGE_SIZE`] as a length.
pub const PAGE_BYTES: usize = 0x1000;
/// Bytes of a large page.
pub const LARGE_PAGE_SIZE: u64 = 0x20_0000;

/// BIOS data area.
pub const BIOS_DATA: Range = Range { start: 0, size: 0x1000 };
/// First page tables.
pub const BOOT_TABLES: Range = Range { start: 0x1000, size: 0x3000 };
/// Parameters.
pub const PARAMS: Range = Range { start: 0x4000, size: 0x1000 };
/// CPUID page.
pub const CPUID: Range = Range { start: 0x5000, size: 0x1000 };
/// Secrets page.
pub const SECRETS: Range = Range { start: 0x6000, size: 0x1000 };
/// Confidential-computing blob and its `setup_data`.
pub const CC_BLOB: Range = Range { start: 0x7000, size: 0x1000 };
/// Zero page.
pub const ZERO_PAGE: Range = Range { start: 0x8000, size: 0x1000 };
/// Kernel command line with its terminating zero.
pub const CMDLINE: Range = Range { start: 0x9000, size: 0x1000 };
/// CPUID and secrets page: reserved in E820, since Linux maps the latter as a device would be.
pub const SNP_PAGES: Range = Range { start: 0x5000, size: 0x2000 };
/// Boot code: entry at its first byte.
pub const BOOT_CODE: Range = Range { start: 0x1_0000, size: 0x8000 };
/// The boot code's page tables and stack; it accepts this range before it has a stack.
pub const SCRATCH: Range = Range { start: 0x1_8000, size: 0x1_0000 };
/// Page tables within [`SCRATCH`].
pub const SCRATCH_TABLES: Range = Range { start: 0x1_8000, size: 0x8000 };
/// ACPI tables.
pub const ACPI: Range = Range { start: 0x8_0000, size: 0x2_0000 };
/// Legacy video and ROMs.
pub const LEGACY: Range = Range { start: 0xa_0000, size: 0x6_0000 };
/// Where a processor in real mode goes to be reset, in [`LEGACY`].
pub const RESET_VECTOR: Range = Range { start: 0xf_fff0, size: 0x10 };
/// Kernel and initrd lie above.
pub const HIGH_START: u64 = 0x10_0000;

/// The hole for device memory. RAM goes on at its end.
pub const DEVICE_HOLE: Range = Range { start: 0xc000_0000, size: 0x4000_0000 };
/// RAM and staging end here at the latest: 46 bits, the least that an SNP guest has.
pub const ADDRESS_LIMIT: u64 = 1 << 46;
/// Linux takes no longer command line on x86 (`COMMAND_LINE_SIZE`), with the zero.
pub const MAX_CMDLINE: u64 = 2048;

/// Pages that a launch may measure with one vCPU, its VMSA included.
pub const PAGE_BUDGET: usize = 20;
