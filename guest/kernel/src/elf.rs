//! ELF `vmlinux`: program headers, checked, one segment at a time (System V ABI, ELF-64 object file
//! format).

use crate::KernelError;
use crate::bytes::{array, u16_at, u32_at, u64_at};
use casemate_layout::Range;
use casemate_layout::map::{DEVICE_HOLE, HIGH_START};

/// Magic, 64-bit, little-endian, version 1.
const IDENT: [u8; 7] = *b"\x7fELF\x02\x01\x01";
const EXECUTABLE: u16 = 2;
const X86_64: u16 = 62;
const HEADER_BYTES: u16 = 64;
const PROGRAM_HEADER_BYTES: u16 = 56;
const LOAD: u32 = 1;
/// Program headers that are read, of any type. A kernel has four or five.
pub const MAX_PROGRAM_HEADERS: u16 = 64;
/// Segments that are loaded. Others (notes, PT_NULL, the stack's flags) cost nothing and are not
/// counted.
pub const MAX_SEGMENTS: u16 = 16;

/// A segment to be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Offset and size in the file.
    pub file: Range,
    /// Physical address and size in memory; what is beyond the file's size is zero.
    pub memory: Range,
}

/// A checked ELF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elf {
    /// First instruction, a physical address.
    pub entry: u64,
    table: u64,
    count: u16,
}

impl Elf {
    /// Checks header and segments of `file`: each segment within the file and within low RAM's
    /// addresses, none overlapping another, and the entry in one of them.
    ///
    /// What a segment's flags say is not asked. Linux's own loaders load every PT_LOAD by address
    /// and size alone (arch/x86/boot/compressed/misc.c, `parse_elf`), the boot code's page tables
    /// map all memory alike, and kernels use that: the entry of Linux 7.3 is in a segment that its
    /// linker script calls data, readable and writable.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn parse(file: &[u8]) -> Result<Self, KernelError> {
        let elf = checked_header(file)?;
        // Segments are read again for every comparison instead of being kept: there is no
        // allocation here, and at most 64 headers.
        let (mut has_entry, mut segments) = (false, 0);
        for index in 0..elf.count {
            let Some(segment) = elf.segment(file, index)? else { continue };
            segments += 1;
            if segments > MAX_SEGMENTS {
                return Err(KernelError::TooManySegments);
            }
            has_entry |= segment.memory.contains(Range { start: elf.entry, size: 1 });
            for other in 0..index {
                let other = elf.segment(file, other)?;
                if let Some(other) = other.filter(|other| other.memory.overlaps(segment.memory)) {
                    return Err(KernelError::Overlap(other.memory.start.max(segment.memory.start)));
                }
            }
        }
        match (segments, has_entry) {
            (0, _) => Err(KernelError::NoSegments),
            (_, false) => Err(KernelError::BadEntry(elf.entry)),
            _ => Ok(elf),
        }
    }

    /// Segments to load, in file order.
    ///
    /// # Errors
    /// [`KernelError`]; never for a file that parsed.
    pub fn segments<'a>(
        &'a self,
        file: &'a [u8],
    ) -> impl Iterator<Item = Result<Segment, KernelError>> + 'a {
        (0..self.count).filter_map(|index| self.segment(file, index).transpose())
    }

    /// Segment `index`; `None` when it is not to be loaded.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn segment(&self, file: &[u8], index: u16) -> Result<Option<Segment>, KernelError> {
        let (kind, segment) =
            self.read_segment(file, index).ok_or(KernelError::Truncated("a program header"))?;
        // A segment of no memory loads nothing, wherever it says that it lies.
        if kind != LOAD || segment.memory.size == 0 {
            return Ok(None);
        }
        // Each number by itself before any two are put together: the end in the file, the size, the
        // start, the end in memory.
        let bad = |what| KernelError::BadSegment { index, what };
        if segment.file.checked_end().is_none_or(|end| end > file.len() as u64) {
            return Err(KernelError::Truncated("a segment"));
        }
        if segment.file.size > segment.memory.size {
            return Err(bad("it is larger in the file than in memory"));
        }
        if segment.memory.start < HIGH_START {
            return Err(bad("it starts below 1 MiB"));
        }
        let end = segment.memory.checked_end().ok_or(bad("it wraps"))?;
        if end > DEVICE_HOLE.start {
            return Err(bad("it ends above 3 GiB"));
        }
        Ok(Some(segment))
    }

    /// Number of program headers.
    #[must_use]
    pub const fn count(&self) -> u16 {
        self.count
    }

    fn read_segment(&self, file: &[u8], index: u16) -> Option<(u32, Segment)> {
        let offset = u64::from(index) * u64::from(PROGRAM_HEADER_BYTES);
        let at = usize::try_from(self.table.checked_add(offset)?).ok()?;
        let header: [u8; PROGRAM_HEADER_BYTES as usize] = array(file, at)?;
        let segment = Segment {
            file: Range { start: u64_at(&header, 0x08)?, size: u64_at(&header, 0x20)? },
            memory: Range { start: u64_at(&header, 0x18)?, size: u64_at(&header, 0x28)? },
        };
        Some((u32_at(&header, 0)?, segment))
    }
}

/// The file header, checked: an executable for x86-64 with program headers of the usual size.
fn checked_header(file: &[u8]) -> Result<Elf, KernelError> {
    if array(file, 0) != Some(IDENT) {
        return Err(KernelError::NotAKernel);
    }
    let cut = KernelError::Truncated("the ELF header");
    if u16_at(file, 0x10).ok_or(cut)? != EXECUTABLE || u16_at(file, 0x12).ok_or(cut)? != X86_64 {
        return Err(KernelError::NotAKernel);
    }
    let elf = read_header(file).ok_or(cut)?.ok_or(KernelError::NotAKernel)?;
    match elf.count {
        0 => Err(KernelError::NoSegments),
        1..=MAX_PROGRAM_HEADERS => Ok(elf),
        _ => Err(KernelError::TooManyHeaders(elf.count)),
    }
}

/// The header; None within when it is not that of an executable as linkers make them.
fn read_header(file: &[u8]) -> Option<Option<Elf>> {
    let (size, entry_size, count) = (u16_at(file, 0x34)?, u16_at(file, 0x36)?, u16_at(file, 0x38)?);
    let legal = (size, entry_size) == (HEADER_BYTES, PROGRAM_HEADER_BYTES);
    let elf = Elf { entry: u64_at(file, 0x18)?, table: u64_at(file, 0x20)?, count };
    Some(legal.then_some(elf))
}
