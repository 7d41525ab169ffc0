//! ELF `vmlinux`: program headers, checked, one segment at a time (System V ABI, ELF-64 object file format).

use crate::bytes::{array, u16_at, u32_at, u64_at};
use casemate_layout::map::{DEVICE_HOLE, HIGH_START};
use casemate_layout::{Range, Termination};

const IDENT: [u8; 7] = *b"\x7fELF\x02\x01\x01";
const EXECUTABLE: u16 = 2;
const X86_64: u16 = 62;
const HEADER_BYTES: u16 = 64;
const PROGRAM_HEADER_BYTES: u16 = 56;
const LOAD: u32 = 1;
const EXECUTE: u32 = 1;
/// A kernel has four or five.
pub const MAX_PROGRAM_HEADERS: u16 = 16;

/// A segment to be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Offset and size in the file.
    pub file: Range,
    /// Physical address and size in memory; what is beyond the file's size is zero.
    pub memory: Range,
    executable: bool,
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
    /// Checks header and segments of `file`: each segment within the file and within low RAM's addresses, none overlapping another,
    /// and the entry in one with code.
    ///
    /// # Errors
    /// [`Termination::KernelFormat`].
    pub fn parse(file: &[u8]) -> Result<Self, Termination> {
        let elf = read_header(file).ok_or(Termination::KernelFormat)?;
        let mut has_entry = false;
        for index in 0..elf.count {
            let Some(segment) = elf.segment(file, index)? else { continue };
            let entry = Range { start: elf.entry, size: 1 };
            has_entry |= segment.executable && segment.memory.contains(entry);
            for other in 0..index {
                let other = elf.segment(file, other)?;
                if other.is_some_and(|other| other.memory.overlaps(segment.memory)) {
                    return Err(Termination::KernelFormat);
                }
            }
        }
        if has_entry { Ok(elf) } else { Err(Termination::KernelFormat) }
    }

    /// Segments to load, in file order.
    ///
    /// # Errors
    /// [`Termination::KernelFormat`]; never for a file that parsed.
    pub fn segments<'a>(
        &'a self,
        file: &'a [u8],
    ) -> impl Iterator<Item = Result<Segment, Termination>> + 'a {
        (0..self.count).filter_map(|index| self.segment(file, index).transpose())
    }

    /// Segment `index`; `None` when it is not to be loaded.
    ///
    /// # Errors
    /// [`Termination::KernelFormat`].
    pub fn segment(&self, file: &[u8], index: u16) -> Result<Option<Segment>, Termination> {
        let damaged = Termination::KernelFormat;
        let (kind, segment) = self.read_segment(file, index).ok_or(damaged)?;
        if kind != LOAD || segment.memory.size == 0 {
            return Ok(None);
        }
        let file_end = segment.file.checked_end().ok_or(damaged)?;
        let memory_end = segment.memory.checked_end().ok_or(damaged)?;
        if file_end > file.len() as u64
            || segment.file.size > segment.memory.size
            || segment.memory.start < HIGH_START
            || memory_end > DEVICE_HOLE.start
        {
            return Err(damaged);
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
            executable: u32_at(&header, 4)? & EXECUTE != 0,
        };
        Some((u32_at(&header, 0)?, segment))
    }
}

fn read_header(file: &[u8]) -> Option<Elf> {
    let count = u16_at(file, 0x38)?;
    let sizes = (u16_at(file, 0x34)?, u16_at(file, 0x36)?);
    let legal = array(file, 0) == Some(IDENT)
        && u16_at(file, 0x10)? == EXECUTABLE
        && u16_at(file, 0x12)? == X86_64
        && sizes == (HEADER_BYTES, PROGRAM_HEADER_BYTES)
        && (1..=MAX_PROGRAM_HEADERS).contains(&count);
    legal.then_some(())?;
    Some(Elf { entry: u64_at(file, 0x18)?, table: u64_at(file, 0x20)?, count })
}
