//! Low memory: where everything is that is there before Linux is.
//!
//! | from | to | what | launched |
//! |---|---|---|---|
//! | `0x00000` | `0x01000` | BIOS data area: zero, as Linux reads words 0x40e and 0x413 | no |
//! | `0x01000` | `0x02000` | first page table, which serves as all four levels | 1 page |
//! | `0x02000` | `0x04000` | nothing | no |
//! | `0x04000` | `0x05000` | parameters | 1 page |
//! | `0x05000` | `0x06000` | CPUID page (SNP) | 1 page |
//! | `0x06000` | `0x07000` | secrets page (SNP) | 1 page |
//! | `0x07000` | `0x08000` | `cc_blob_sev_info` and its `setup_data` (SNP) | no |
//! | `0x08000` | `0x09000` | zero page (`boot_params`) | no |
//! | `0x09000` | `0x0a000` | kernel command line | no |
//! | `0x0a000` | `0x10000` | nothing | no |
//! | `0x10000` | `0x14000` | boot code, always all four pages | 4 pages |
//! | `0x14000` | `0x18000` | nothing | no |
//! | `0x18000` | `0x28000` | the boot code's own page tables, gates and stack | no |
//! | `0x28000` | `0x80000` | nothing | no |
//! | `0x80000` | `0xa0000` | ACPI tables | no |
//! | `0xa0000` | `0xa1000` | the host's memory map: shared, unmeasured, read once | no |
//! | `0xa1000` | `0xbf000` | legacy video: never accepted | no |
//! | `0xbf000` | `0xc0000` | where unwanted processors stand: never accepted | no |
//! | `0xc0000` | `0x100000` | legacy ROMs; at their end the reset vector | no |
//!
//! With one VMSA a launch measures 9 pages. From `0xa0000` to `0x100000` is RAM that Linux is not
//! told of. To Linux all of it below `0x80000` is RAM but the CPUID and secrets pages; it keeps the
//! first 64 KiB to itself. `setup_data` must be RAM: Linux maps reserved memory shared, where it
//! looks at `setup_data` again (arch/x86/kernel/ksysfs.c). "No" under launched: the boot code
//! accepts the page and fills it, unless it says otherwise here.
//!
//! Kernel, initrd and staging lie above 1 MiB, where [`Params::places`](crate::Params::places) puts
//! them.

use crate::mode::Mode;
use crate::range::Range;

/// Bytes of a page, the unit in which memory is accepted, shared and measured.
pub const PAGE_SIZE: u64 = 0x1000;
/// [`PAGE_SIZE`] as the length of an array.
pub const PAGE_BYTES: usize = 0x1000;
/// Bytes of a large page: one entry of a page directory.
pub const LARGE_PAGE_SIZE: u64 = 0x20_0000;

/// BIOS data area, which Linux looks into and finds zero.
pub const BIOS_DATA: Range = Range { start: 0, size: 0x1000 };
/// First page table: [`boot_table`](crate::paging::boot_table).
pub const BOOT_TABLE: Range = Range { start: 0x1000, size: 0x1000 };
/// The measured parameters of the boot code, [`Params`](crate::Params).
pub const PARAMS: Range = Range { start: 0x4000, size: 0x1000 };
/// CPUID page: the host's words, which the firmware has filtered.
pub const CPUID: Range = Range { start: 0x5000, size: 0x1000 };
/// Secrets page: the keys of the guest's messages to the firmware.
pub const SECRETS: Range = Range { start: 0x6000, size: 0x1000 };
/// Confidential-computing blob and its `setup_data`.
pub const CC_BLOB: Range = Range { start: 0x7000, size: 0x1000 };
/// Zero page: what Linux calls `boot_params`.
pub const ZERO_PAGE: Range = Range { start: 0x8000, size: 0x1000 };
/// Kernel command line with its terminating zero.
pub const CMDLINE: Range = Range { start: 0x9000, size: 0x1000 };
/// CPUID and secrets page: reserved in E820, since Linux maps the latter as a device would be.
pub const SNP_PAGES: Range = Range { start: 0x5000, size: 0x2000 };
/// Boot code: entry at its first byte. All of it is launched, padded with zeros.
pub const BOOT_CODE: Range = Range { start: 0x1_0000, size: 0x4000 };
/// The boot code's page tables and stack; it accepts this range before it has a stack.
pub const SCRATCH: Range = Range { start: 0x1_8000, size: 0x1_0000 };
/// Page tables within [`SCRATCH`].
pub const SCRATCH_TABLES: Range = Range { start: 0x1_8000, size: 0x8000 };
/// Interrupt gates within [`SCRATCH`].
pub const SCRATCH_GATES: Range = Range { start: 0x2_0000, size: 0x200 };
/// The task state within [`SCRATCH`], where the launched task register points.
pub const SCRATCH_TASK: Range = Range { start: 0x2_0200, size: 0x68 };
/// Where every exception's frame goes, within [`SCRATCH`]; the stack comes down to its end.
pub const SCRATCH_FRAME: Range = Range { start: 0x2_0280, size: 0x80 };
const _: () = {
    assert!(SCRATCH.contains(SCRATCH_TASK) && SCRATCH.contains(SCRATCH_FRAME));
    assert!(SCRATCH_TABLES.end() <= SCRATCH_GATES.start);
    assert!(SCRATCH_GATES.end() <= SCRATCH_TASK.start && SCRATCH_TASK.end() <= SCRATCH_FRAME.start);
    // The processor aligns a frame so; one has six words at most.
    assert!(SCRATCH_FRAME.end().is_multiple_of(16) && SCRATCH_FRAME.size >= 6 * 8);
};
/// ACPI tables, copied here by the boot code after they were checked.
pub const ACPI: Range = Range { start: 0x8_0000, size: 0x2_0000 };
/// Legacy video and ROMs, which Linux is not told of.
pub const LEGACY: Range = Range { start: 0xa_0000, size: 0x6_0000 };
/// The part of [`LEGACY`] that nobody accepts: its pages never become valid, so no access to them
/// as private memory ever succeeds.
pub const VIDEO: Range = Range { start: 0xa_0000, size: 0x2_0000 };
/// The host's [`MemoryMap`](crate::MemoryMap), in [`VIDEO`]: shared memory that nothing measures.
pub const HOST_MAP: Range = Range { start: 0xa_0000, size: 0x1000 };
/// Code and stack of the measured state of every processor but the first, in [`VIDEO`].
pub const PARKED: Range = Range { start: 0xb_f000, size: 0x1000 };
/// Where a processor in real mode goes to be reset, in [`LEGACY`].
pub const RESET_VECTOR: Range = Range { start: 0xf_fff0, size: 0x10 };
/// Kernel and initrd lie above.
pub const HIGH_START: u64 = 0x10_0000;

/// The hole for device memory. RAM goes on at its end.
pub const DEVICE_HOLE: Range = Range { start: 0xc000_0000, size: 0x4000_0000 };
/// PCI configuration space of bus 0 (ECAM), in [`DEVICE_HOLE`].
pub const ECAM: Range = Range { start: 0xe000_0000, size: 0x10_0000 };
/// The IOAPIC, at its usual address, in [`DEVICE_HOLE`].
pub const IOAPIC: Range = Range { start: 0xfec0_0000, size: 0x1000 };
/// Every processor's local APIC, in [`DEVICE_HOLE`].
pub const LOCAL_APIC: Range = Range { start: 0xfee0_0000, size: 0x1000 };
const _: () = {
    assert!(DEVICE_HOLE.contains(ECAM));
    assert!(DEVICE_HOLE.contains(IOAPIC) && DEVICE_HOLE.contains(LOCAL_APIC));
};
/// RAM ends here at the latest: 46 bits, the least that an SNP guest has.
pub const ADDRESS_LIMIT: u64 = 1 << 46;
/// Linux takes no longer command line on x86 (`COMMAND_LINE_SIZE`), with the zero.
pub const MAX_CMDLINE: u64 = 2048;

/// What a launch fills, and the boot code therefore finds valid: ascending, none touching another
/// but by a border.
#[must_use]
pub const fn launched(mode: Mode) -> &'static [Range] {
    match mode {
        Mode::Plain => &[BOOT_TABLE, PARAMS, BOOT_CODE],
        Mode::Snp => &[BOOT_TABLE, PARAMS, CPUID, SECRETS, BOOT_CODE],
    }
}

/// Pages that a launch may measure with one vCPU, its VMSA included.
pub const PAGE_BUDGET: usize = 10;
