//! Why the boot code refused to go on.

/// Reason-code set of the GHCB termination request; 0 and 1 are the protocol's and Linux' own.
pub const TERMINATION_SET: u8 = 0xc;

macro_rules! terminations {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why the boot code refused to go on. The code is the reason of a GHCB termination request
        /// in [`TERMINATION_SET`], or in plain mode what is written to
        /// [`REPORT_PORT`](crate::ports::REPORT_PORT).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Termination { $($(#[doc = $doc])* $name = $code,)* }

        impl Termination {
            /// All of them, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as it is sent.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// From a code that a guest gave.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// What happened, and what to do.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

terminations! {
    /// Not a parameter page.
    ParamsMagic = 0x01, "the parameter page is not there: the launch was put together wrongly";
    /// Another version of the parameters.
    ParamsVersion = 0x02, "the parameter page is of another version than the boot code: use boot code and program of one build";
    /// Parameters with a value that no encoder writes.
    ParamsMalformed = 0x03, "the parameter page is malformed";
    /// Where the kernel runs.
    ParamsKernel = 0x04, "the parameters give the kernel memory that no kernel may have";
    /// Kernel, initrd, command line or ACPI tables.
    ParamsBlob = 0x07, "kernel, initrd, command line or ACPI tables of the parameters fit no guest";
    /// The mode is SNP, the processor's word is not.
    SnpNotActive = 0x10, "the parameters promise SEV-SNP but the processor does not run this guest under it";
    /// Three places name the C-bit, and have to agree.
    CBitMismatch = 0x11, "the C-bit positions of parameters, page tables and CPUID page differ";
    /// The CPUID page is not usable.
    CpuidPage = 0x12, "the CPUID page is empty, too long, or lacks the encryption leaf";
    /// SEV_FEATURES with unknown bits.
    SnpFeatures = 0x13, "the guest was started with SEV features that the boot code does not know";
    /// PVALIDATE left the carry flag set: the page was valid before.
    AlreadyValidated = 0x20, "memory was valid before the guest accepted it: the host tried to replay or alias a page";
    /// PVALIDATE gave an error code.
    ValidateFailed = 0x21, "PVALIDATE failed: the host does not back a page as it must";
    /// A page state change that the host did not make.
    PageStateChange = 0x22, "the host refused to make a staging page private";
    /// An answer that no request has.
    GhcbProtocol = 0x23, "the host answered a GHCB request with something else";
    /// #VC, or any other exception.
    Exception = 0x24, "an exception: the host took away or replaced a page that the guest had accepted, or backs none";
    /// The kernel's SHA-256 is another.
    KernelHash = 0x30, "the kernel is not the measured one";
    /// The initrd's SHA-256 is another.
    InitrdHash = 0x31, "the initrd is not the measured one";
    /// The command line's SHA-256 is another.
    CmdlineHash = 0x32, "the kernel command line is not the measured one";
    /// The ACPI tables' SHA-256 is another.
    AcpiHash = 0x33, "the ACPI tables are not the measured ones";
    /// The command line has a zero byte within.
    CmdlineContents = 0x34, "the kernel command line contains a zero byte";
    /// No RSDP where it should be.
    Rsdp = 0x35, "there is no RSDP where the parameters say";
    /// The kernel file is not usable.
    KernelFormat = 0x40, "the kernel is neither a bzImage nor an ELF vmlinux for x86-64, or is damaged";
    /// The kernel's boot protocol is too old.
    KernelProtocol = 0x41, "the kernel's boot protocol is older than 2.12 or it has no 64-bit entry";
    /// The kernel does not fit its place.
    KernelFit = 0x42, "the kernel needs more memory around its place than there is";
    /// Too many entries for E820.
    E820 = 0x43, "the memory map has more entries than the zero page can hold";
    /// The memory map has another form.
    MapForm = 0x50, "the host's memory map is not there or malformed: use boot code and program of one build";
    /// A range is not whole pages, or is empty.
    MapPages = 0x51, "the host's memory map has a range that is empty or not whole pages";
    /// Ranges are not ascending and disjoint.
    MapOrder = 0x52, "the host's memory map has ranges that are out of order or overlap";
    /// Memory beyond the physical address width.
    MapAddress = 0x53, "the host's memory map has memory above the processor's addresses";
    /// Memory in the device hole: APICs, ECAM.
    MapDevices = 0x54, "the host's memory map has memory where devices are";
    /// The first MiB, with all launched pages, is not RAM.
    MapLow = 0x55, "the host's memory map lacks the first MiB, which has the launched pages";
    /// Less memory than what is staged needs.
    MapTooSmall = 0x56, "the host's memory map has too little memory for kernel, initrd and their staging";
    /// A bug in the boot code.
    Internal = 0x7f, "the boot code stopped at an inconsistency of its own: please report it";
}

impl core::fmt::Display for Termination {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.sentence())
    }
}

impl core::error::Error for Termination {}
