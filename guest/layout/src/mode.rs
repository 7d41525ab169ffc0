//! What kind of guest, and what kind of kernel.

/// Whether the guest is a confidential one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// No protection from the host.
    ///
    /// A host cannot choose this for an SNP guest unnoticed: the page is measured. Nor would the
    /// guest get far: it accepts no memory in this mode, so its first access outside launched pages
    /// ends it.
    Plain = 1,
    /// SEV-SNP: memory is encrypted, and its pages are accepted by the guest.
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
