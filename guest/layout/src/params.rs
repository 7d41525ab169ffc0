//! The parameter page as a value.

use crate::Ranges;
use crate::range::Range;

/// Ranges of each list of the parameters.
pub const MAX_RANGES: usize = 32;

/// Whether the guest is a confidential one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// No protection from the host.
    ///
    /// A host cannot choose this for an SNP guest unnoticed: the page is measured. Nor would the guest get far:
    /// it accepts no memory in this mode, so its first access outside launched pages ends it.
    Plain = 1,
    /// SEV-SNP.
    Snp = 2,
}

/// How the kernel is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum KernelKind {
    /// bzImage, at its 64-bit entry.
    BzImage = 1,
    /// ELF `vmlinux`, at its entry point.
    Elf = 2,
}

/// Choices of the hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// Hash with the processor's SHA instructions if it has them. Off for hosts that emulate CPL 0.
    pub sha_extensions: bool,
    /// Make the staging window ordinary private RAM after use; else Linux is not told of it.
    pub reclaim_staging: bool,
}

/// Something that the hypervisor staged and the boot code copies and checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Blob {
    /// Where it is staged. With size 0 there is none, and all fields are 0.
    pub staged: Range,
    /// Where it goes.
    pub destination: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

impl Blob {
    /// Whether there is one.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        self.staged.size != 0
    }

    /// Where its copy is.
    #[must_use]
    pub const fn target(&self) -> Range {
        Range { start: self.destination, size: self.staged.size }
    }
}

/// The parameters of the boot code. [`Params::encode`] gives the page, [`Params::decode`] reads and checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// Protection.
    pub mode: Mode,
    /// Choices.
    pub flags: Flags,
    /// Position of the C-bit; 0 in plain mode.
    pub c_bit: u8,
    /// Port for the boot code's [`Termination`](crate::Termination), as four bytes, in plain mode; 0 for none.
    pub report_port: u16,
    /// Port for marks; 0 for none. Under SNP, where the boot code does no port I/O, marks are page-state requests
    /// ([`mark::page`](crate::ports::mark::page)), and none are made when this is 0.
    pub mark_port: u16,
    /// Address of the RSDP within the ACPI tables; 0 without tables.
    pub rsdp: u64,
    /// All RAM, ascending. The first range starts at 0; none is in the device hole.
    pub ram: Ranges<MAX_RANGES>,
    /// Launched pages, which are valid already: page tables, parameters, CPUID, secrets, boot code. Ascending.
    pub launched: Ranges<MAX_RANGES>,
    /// The window that all staged blobs are in: shared memory; within one RAM range above 1 MiB, or outside RAM.
    pub staging: Range,
    /// How the kernel is entered.
    pub kernel_kind: KernelKind,
    /// Kernel file. A bzImage goes where its protected-mode part should be, less its set-up sectors; of an ELF this
    /// is where the file goes, and its segments go to their physical addresses.
    pub kernel: Blob,
    /// Initrd.
    pub initrd: Blob,
    /// Kernel command line without a terminating zero; goes to [`map::CMDLINE`](crate::map::CMDLINE).
    pub cmdline: Blob,
    /// ACPI tables, built for [`map::ACPI`](crate::map::ACPI).
    pub acpi: Blob,
}
