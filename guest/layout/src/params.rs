//! The parameter page as a value: everything that is measured but the boot code itself.
//!
//! It says what the guest is, not what it runs on: no memory size, and no address that depends on
//! one. So one image has one launch digest for each number of vCPUs, whatever its memory.

use crate::map::{ACPI, ADDRESS_LIMIT, CMDLINE, DEVICE_HOLE, HIGH_START, MAX_CMDLINE, PAGE_SIZE};
use crate::mode::{KernelKind, Mode};
use crate::range::Range;
use crate::termination::Termination;

/// Something that the hypervisor stages and the boot code copies and checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Blob {
    /// Bytes. With size 0 there is none, and the hash is 0.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

impl Blob {
    /// Whether there is one, that is, whether it has a byte.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        self.size != 0
    }
}

/// The parameters of the boot code. [`Params::encode`] gives the page, [`Params::decode`] reads and
/// checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// Whether memory is protected from the host.
    pub mode: Mode,
    /// Hash with the processor's SHA instructions if it has them. Off for hosts that emulate CPL 0.
    pub sha_extensions: bool,
    /// Position of the C-bit; 0 in plain mode.
    pub c_bit: u8,
    /// Port for the boot code's [`Termination`](crate::Termination), as four bytes, in plain mode;
    /// 0 for none.
    pub report_port: u16,
    /// Port for marks; 0 for none. Under SNP, where the boot code does no port I/O, marks are
    /// page-state requests ([`mark::page`](crate::ports::mark::page)), and none are made when this
    /// is 0.
    pub mark_port: u16,
    /// Address of the RSDP within the ACPI tables; 0 without tables.
    pub rsdp: u64,
    /// How the kernel is entered.
    pub kernel_kind: KernelKind,
    /// Whole pages that the kernel runs in, and may write before it knows the memory map: of a
    /// bzImage from where it prefers to be, of an ELF file all its segments.
    pub kernel_memory: Range,
    /// First address that no byte of the initrd may have: the kernel's own limit.
    pub initrd_limit: u64,
    /// The kernel file as a whole, of either kind.
    pub kernel: Blob,
    /// The initrd, or whatever the kernel takes for one.
    pub initrd: Blob,
    /// Kernel command line without a terminating zero; goes to [`CMDLINE`].
    pub cmdline: Blob,
    /// ACPI tables, built for [`ACPI`].
    pub acpi: Blob,
}

/// Version of the page's format.
pub const VERSION: u32 = 2;

/// Why parameters are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamsError {
    /// Not a parameter page: its magic is another.
    Magic,
    /// Of another version, which is given.
    Version(u32),
    /// A field has a value that no encoder writes.
    Malformed(&'static str),
    /// Where the kernel runs is impossible; why is told.
    Kernel(&'static str),
    /// Blobs: which, and why.
    Blob(&'static str, &'static str),
}

impl ParamsError {
    /// How the boot code says it: a code for each kind.
    #[must_use]
    pub const fn termination(self) -> Termination {
        match self {
            Self::Magic => Termination::ParamsMagic,
            Self::Version(_) => Termination::ParamsVersion,
            Self::Malformed(_) => Termination::ParamsMalformed,
            Self::Kernel(_) => Termination::ParamsKernel,
            Self::Blob(..) => Termination::ParamsBlob,
        }
    }
}

impl core::fmt::Display for ParamsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic => f.write_str("not a parameter page"),
            Self::Version(found) => write!(f, "parameters of version {found}, not {VERSION}"),
            Self::Malformed(field) => write!(f, "parameters: {field} has no legal value"),
            Self::Kernel(why) => write!(f, "kernel: {why}"),
            Self::Blob(which, why) => write!(f, "{which}: {why}"),
        }
    }
}

impl core::error::Error for ParamsError {}

/// Bits 1:0 to 31 are never the C-bit, nor are those that a 4-level table has no address for.
/// The RSDP of ACPI 2.0 and later (ACPI 6.5, section 5.2.5.3).
const C_BITS: core::ops::RangeInclusive<u8> = 32..=51;
const RSDP_SIZE: u64 = 36;

impl Params {
    /// Checks everything that can be checked without the memory itself. The hypervisor runs the
    /// same check before a launch.
    ///
    /// # Errors
    /// [`ParamsError`] for the first thing that is wrong.
    pub fn check(&self) -> Result<(), ParamsError> {
        // The bit's position is checked before anything uses it: a wrong one would make a part of
        // an address of it.
        let c_bit_legal = match self.mode {
            Mode::Plain => self.c_bit == 0,
            Mode::Snp => C_BITS.contains(&self.c_bit),
        };
        if !c_bit_legal {
            return Err(ParamsError::Malformed("C-bit"));
        }
        self.check_kernel()?;
        self.check_sizes()?;
        // The RSDP is the one address among the parameters that points into something staged; it
        // has to lie in the tables as a whole.
        let rsdp = Range { start: self.rsdp, size: RSDP_SIZE };
        let tables = Range { start: ACPI.start, size: self.acpi.size };
        let rsdp_legal = match self.acpi.is_present() {
            true => tables.contains(rsdp),
            false => self.rsdp == 0,
        };
        if rsdp_legal { Ok(()) } else { Err(ParamsError::Blob("RSDP", "outside the ACPI tables")) }
    }

    /// Where the kernel runs: high enough not to meet the boot code, low enough for every processor
    /// to enter it.
    fn check_kernel(&self) -> Result<(), ParamsError> {
        let memory = self.kernel_memory;
        let wrong = |why| Err(ParamsError::Kernel(why));
        if !memory.is_aligned(PAGE_SIZE) || memory.size == 0 {
            return wrong("its memory is not whole pages");
        }
        if memory.start < HIGH_START {
            return wrong("its memory starts below 1 MiB");
        }
        // Saturating: what wraps ends above the limit.
        if memory.end() > DEVICE_HOLE.start {
            return wrong("its memory ends above 3 GiB");
        }
        if self.initrd_limit > ADDRESS_LIMIT {
            return wrong("its limit for an initrd is above what any guest has");
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), ParamsError> {
        // The kernel alone has to be there. What is absent has no hash either, so that "none" has
        // one encoding.
        if !self.kernel.is_present() {
            return Err(ParamsError::Blob("kernel", "missing"));
        }
        let blobs = [
            ("kernel", &self.kernel, ADDRESS_LIMIT),
            ("initrd", &self.initrd, ADDRESS_LIMIT),
            ("command line", &self.cmdline, MAX_CMDLINE - 1),
            ("ACPI tables", &self.acpi, ACPI.size),
        ];
        for (what, blob, most) in blobs {
            if blob.size > most {
                return Err(ParamsError::Blob(what, "longer than its place"));
            }
            if !blob.is_present() && *blob != Blob::default() {
                return Err(ParamsError::Blob(what, "absent, but has a hash"));
            }
        }
        Ok(())
    }
}

const _: () = assert!(MAX_CMDLINE <= CMDLINE.size, "a command line fits its page");
