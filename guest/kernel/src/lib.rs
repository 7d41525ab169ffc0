//! Kernel images: bzImage and ELF `vmlinux`.
//!
//! The hypervisor looks at a kernel before it starts anything, to say what is wrong with it; the
//! boot code looks again, at the bytes that it has hashed, and believes nothing else. Both use this
//! parser, so they cannot differ.
//!
//! # Principles and limits
//!
//! No allocation, no unsafe code: this is compiled into measured code. Every number of a file is
//! checked before use; what parsed cannot make a later step fail for a reason of the file's.
#![no_std]
#![forbid(unsafe_code)]

pub mod bytes;
pub mod bzimage;
pub mod elf;

use elf::{MAX_PROGRAM_HEADERS as MAX_HEADERS, MAX_SEGMENTS};

pub use bzimage::{BzImage, Placement};
pub use elf::{Elf, Segment};

/// An image that can be entered at its 64-bit entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one lives at a time, and there is no allocation")]
pub enum Kernel {
    /// A bzImage: set-up header, then a compressed kernel.
    BzImage(BzImage),
    /// An ELF `vmlinux`, uncompressed.
    Elf(Elf),
}

/// Why a file is no kernel for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelError {
    /// It is neither a bzImage nor an x86-64 ELF kernel.
    NotAKernel,
    /// It is truncated: what is named lies beyond its end.
    Truncated(&'static str),
    /// Its boot protocol is older than 2.12.
    OldProtocol {
        /// Major version of its boot protocol.
        major: u8,
        /// Minor version of its boot protocol.
        minor: u8,
    },
    /// No 64-bit entry, or not loadable above 1 MiB.
    No64BitEntry,
    /// A field of the set-up header, which is named, is impossible.
    BadHeader(&'static str),
    /// A segment of the ELF file is impossible.
    BadSegment {
        /// Its index among the program headers.
        index: u16,
        /// What is wrong with it.
        what: &'static str,
    },
    /// More program headers than [`MAX_HEADERS`]; so many.
    TooManyHeaders(u16),
    /// More segments to load than [`MAX_SEGMENTS`].
    TooManySegments,
    /// The ELF file has no segment to load.
    NoSegments,
    /// Two segments share memory from this address on.
    Overlap(u64),
    /// The entry, this address, is in none of the loaded segments.
    BadEntry(u64),
    /// It does not fit where it was put.
    DoesNotFit,
}

impl core::fmt::Display for KernelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotAKernel => f.write_str("it is neither a bzImage nor an x86-64 ELF kernel"),
            Self::Truncated(what) => write!(f, "it is truncated: {what} lies beyond its end"),
            Self::OldProtocol { major, minor } => write!(
                f,
                "its boot protocol is {major}.{minor}, older than 2.12: use a kernel from this decade"
            ),
            Self::No64BitEntry => f.write_str(
                "it has no 64-bit entry point (XLF_KERNEL_64): a 64-bit kernel is needed",
            ),
            Self::BadHeader(what) => write!(f, "its set-up header is damaged: {what}"),
            Self::BadSegment { index, what } => {
                write!(f, "segment {index} of the ELF file is impossible: {what}")
            }
            Self::Overlap(at) => write!(f, "segments of the ELF file overlap at {at:#x}"),
            Self::TooManyHeaders(count) => {
                write!(
                    f,
                    "the ELF file has {count} program headers, at most {MAX_HEADERS} are read"
                )
            }
            Self::TooManySegments => {
                write!(f, "the ELF file has more than {MAX_SEGMENTS} segments to load")
            }
            Self::NoSegments => f.write_str("the ELF file has no segment to load"),
            Self::BadEntry(entry) => write!(
                f,
                "the entry point {entry:#x} of the ELF file is in none of its loaded segments \
                 (an entry must be a physical address)"
            ),
            Self::DoesNotFit => f.write_str("it does not fit where it was put"),
        }
    }
}

impl core::error::Error for KernelError {}

impl Kernel {
    /// Recognises a kernel by its first bytes, and checks its headers.
    pub fn parse(file: &[u8]) -> Result<Self, KernelError> {
        if file.starts_with(b"\x7fELF") {
            Elf::parse(file).map(Self::Elf)
        } else {
            BzImage::parse(file).map(Self::BzImage)
        }
    }
}
