//! Guest memory as a front end hands it over: regions of files, mapped.
#![allow(unsafe_code, reason = "guest memory is mapped, and reached through raw pointers")]

use crate::memory::{GuestMemory, Segment, Unreachable};
use casemate_values::{Guest, MAX_GPA, PAGE_SIZE};
use rustix::fs::{FileType, fstat};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// Why a region of guest memory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// An address, size or offset is not of whole pages.
    #[error("region at {gpa:#x}: {size:#x} bytes at offset {offset:#x} are not whole pages")]
    Unaligned {
        /// Where the region would begin, in guest physical addresses.
        gpa: u64,
        /// How long it would be, in bytes.
        size: u64,
        /// Offset in the file.
        offset: u64,
    },
    /// It is empty, or reaches beyond every guest physical address.
    #[error("region at {gpa:#x}: {size:#x} bytes are none, or too many")]
    Size {
        /// Where the region would begin, in guest physical addresses.
        gpa: u64,
        /// How long it would be, in bytes.
        size: u64,
    },
    /// What was sent is no file, or ends before the region does: touching the rest would end this
    /// process.
    #[error("region at {gpa:#x}: its file is none, or ends before {end:#x}")]
    File {
        /// Where the region would begin, in guest physical addresses.
        gpa: u64,
        /// Where the region ends in the file.
        end: u64,
    },
    /// Two regions have the same address.
    #[error("two regions have {gpa:#x}")]
    Overlap {
        /// An address that both have.
        gpa: u64,
    },
    /// The kernel refused to map it.
    #[error("region at {gpa:#x}: mmap: {source}")]
    Map {
        /// Where the region would begin, in guest physical addresses.
        gpa: u64,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

/// A region of guest memory, mapped as long as it lives.
#[derive(Debug)]
pub struct Region {
    gpa: u64,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the region alone, and every access to it is made for bytes that
// others change at the same time.
unsafe impl Send for Region {}
// SAFETY: as above; there are no references into the mapping.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `size` bytes of `file` from `offset` on, to be found at `gpa`.
    ///
    /// # Errors
    /// [`MapError`].
    pub fn map(file: &impl AsFd, offset: u64, gpa: u64, size: u64) -> Result<Self, MapError> {
        if [offset, gpa, size].iter().any(|number| !number.is_multiple_of(PAGE_SIZE)) {
            return Err(MapError::Unaligned { gpa, size, offset });
        }
        let within = gpa.checked_add(size).is_some_and(|end| end <= MAX_GPA + 1);
        let len = usize::try_from(size).ok().filter(|len| *len > 0 && within);
        let Some(len) = len else { return Err(MapError::Size { gpa, size }) };
        let end = offset.saturating_add(size);
        let whole = fstat(file).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && u64::try_from(stat.st_size).is_ok_and(|have| end <= have)
        });
        if !whole {
            return Err(MapError::File { gpa, end });
        }
        let (prot, flags) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::NORESERVE);
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let start = unsafe { mmap(std::ptr::null_mut(), len, prot, flags, file, offset) }
            .map_err(|e| MapError::Map { gpa, source: e.into() })?;
        let start = NonNull::new(start.cast::<u8>());
        let start =
            start.ok_or_else(|| MapError::Map { gpa, source: std::io::Error::other("0") })?;
        Ok(Self { gpa, start, len })
    }

    /// Where it is mapped, and how long it is: to fence it before anything reads it.
    #[must_use]
    pub const fn mapping(&self) -> (NonNull<u8>, usize) {
        (self.start, self.len)
    }

    /// First guest physical address.
    #[must_use]
    pub const fn gpa(&self) -> u64 {
        self.gpa
    }

    /// How far `gpa` is into the region.
    fn offset_of(&self, gpa: u64) -> Option<usize> {
        let offset = usize::try_from(gpa.checked_sub(self.gpa)?).ok()?;
        (offset < self.len).then_some(offset)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is the region's own, and nothing borrows it any more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// All regions of a guest's memory.
#[derive(Debug, Default)]
pub struct Memory {
    /// Ascending by address, and none overlaps the next.
    regions: Vec<Region>,
}

impl Memory {
    /// Memory of these regions.
    ///
    /// # Errors
    /// [`MapError::Overlap`].
    pub fn new(mut regions: Vec<Region>) -> Result<Self, MapError> {
        regions.sort_unstable_by_key(|region| region.gpa);
        for (low, high) in regions.iter().zip(regions.iter().skip(1)) {
            if low.offset_of(high.gpa).is_some() {
                return Err(MapError::Overlap { gpa: high.gpa });
            }
        }
        Ok(Self { regions })
    }

    /// The regions, ascending by guest physical address.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Calls `each` for the pieces behind `len` bytes at `gpa`. Where the last bytes are missing,
    /// the pieces before have been named.
    fn walk(
        &self,
        gpa: u64,
        len: usize,
        mut each: impl FnMut(NonNull<u8>, usize),
    ) -> Result<(), Unreachable> {
        let (mut at, mut left) = (gpa, len);
        while left > 0 {
            let found = self.regions.iter().find_map(|r| r.offset_of(at).map(|offset| (r, offset)));
            let (region, offset) = found.ok_or(Unreachable { gpa: at })?;
            let part = left.min(region.len - offset);
            // SAFETY: `offset` is below the region's length.
            each(unsafe { region.start.add(offset) }, part);
            left -= part;
            at = at.checked_add(part as u64).ok_or(Unreachable { gpa: at })?;
        }
        Ok(())
    }

    /// A 16-bit word that both sides use as an atomic one. Rings are aligned, so one that is not
    /// is none.
    fn word(&self, gpa: u64) -> Result<&AtomicU16, Unreachable> {
        let missing = Unreachable { gpa };
        let found = self.regions.iter().find_map(|r| r.offset_of(gpa).map(|offset| (r, offset)));
        let (region, offset) = found.ok_or(missing)?;
        if !gpa.is_multiple_of(2) || region.len - offset < 2 {
            return Err(missing);
        }
        // SAFETY: two bytes from `offset` on are inside the mapping, which lives as long as `self`;
        // regions begin on a page, so the address is even; atomics may be shared with other
        // processes.
        Ok(unsafe { AtomicU16::from_ptr(region.start.add(offset).as_ptr().cast()) })
    }
}

// SAFETY: pieces are inside mappings, which live as long as the memory.
unsafe impl GuestMemory for Memory {
    fn segment(&self, gpa: Guest<u64>, len: Guest<u32>) -> Option<Segment> {
        let gpa = gpa.at_most(MAX_GPA, "the guest physical addresses").ok()?;
        let len = len.at_most(u32::MAX.into(), "the lengths of descriptors").ok()?;
        self.walk(gpa, usize::try_from(len).ok()?, |_, _| ()).ok()?;
        Some(Segment { gpa, len: u32::try_from(len).ok()? })
    }

    fn read(&self, gpa: u64, to: &mut [u8]) -> Result<(), Unreachable> {
        let mut rest = to;
        self.walk(gpa, rest.len(), |from, len| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(len);
            copy_out(from, now);
            rest = later;
        })
    }

    fn write(&self, gpa: u64, from: &[u8]) -> Result<(), Unreachable> {
        let mut rest = from;
        self.walk(gpa, rest.len(), |to, len| {
            let (now, later) = rest.split_at(len);
            for (index, byte) in now.iter().enumerate() {
                // SAFETY: `len` bytes from `to` on are inside the mapping, see `walk`.
                unsafe { to.add(index).as_ptr().write_volatile(*byte) };
            }
            rest = later;
        })
    }

    fn load(&self, gpa: u64) -> Result<u16, Unreachable> {
        Ok(u16::from_le(self.word(gpa)?.load(Ordering::Acquire)))
    }

    fn store(&self, gpa: u64, value: u16) -> Result<(), Unreachable> {
        self.word(gpa)?.store(value.to_le(), Ordering::Release);
        Ok(())
    }

    fn pieces(
        &self,
        segment: Segment,
        each: &mut dyn FnMut(NonNull<u8>, usize),
    ) -> Result<(), Unreachable> {
        self.walk(segment.gpa, segment.len as usize, each)
    }
}

/// Copies bytes that change meanwhile: each is loaded exactly once, which a plain copy does not
/// promise. By words where that is possible, since descriptors are 16 aligned bytes.
fn copy_out(from: NonNull<u8>, to: &mut [u8]) {
    let words = from.cast::<u64>();
    let (chunks, tail) = to.as_chunks_mut::<8>();
    if words.is_aligned() && tail.is_empty() {
        for (index, chunk) in chunks.iter_mut().enumerate() {
            // SAFETY: the caller's piece is as long as `to`, and aligned, as was asked.
            *chunk = unsafe { words.add(index).as_ptr().read_volatile() }.to_ne_bytes();
        }
        return;
    }
    for (index, byte) in to.iter_mut().enumerate() {
        // SAFETY: the caller's piece is as long as `to`.
        *byte = unsafe { from.add(index).as_ptr().read_volatile() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use std::os::fd::OwnedFd;

    fn file(pages: u64) -> OwnedFd {
        let file = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, pages * PAGE_SIZE).unwrap();
        file
    }

    /// Two regions that meet at 0x2000, and one behind a hole.
    fn memory() -> Memory {
        let file = file(4);
        let region = |offset, gpa, size| Region::map(&file, offset, gpa, size).unwrap();
        Memory::new(vec![
            region(0x3000, 0x8000, 0x1000),
            region(0x2000, 0x2000, 0x1000),
            region(0, 0x1000, 0x1000),
        ])
        .unwrap()
    }

    #[test]
    fn bytes_are_found_where_they_were_written_across_regions_that_meet() {
        let memory = memory();
        memory.write(0x1ffb, b"across the seam").unwrap();
        let mut bytes = [0; 15];
        memory.read(0x1ffb, &mut bytes).unwrap();
        assert_eq!(&bytes, b"across the seam");
        let mut lens = Vec::new();
        memory.pieces(Segment { gpa: 0x1ffb, len: 15 }, &mut |_, len| lens.push(len)).unwrap();
        assert_eq!(lens, [5, 10]);
        memory.store(0x8000, 0xbeef).unwrap();
        assert_eq!(memory.load(0x8000), Ok(0xbeef));
    }

    #[test]
    fn what_is_outside_wraps_or_is_odd_is_not_there() {
        let memory = memory();
        for (gpa, len) in
            [(0xfff, 1), (0x2fff, 2), (0x8fff, 2), (0x9000, 1), (u64::MAX, 1), (u64::MAX - 3, 4)]
        {
            assert!(memory.read(gpa, &mut vec![0; len]).is_err(), "{gpa:#x}");
            assert!(memory.write(gpa, &vec![0; len]).is_err(), "{gpa:#x}");
            let len = u32::try_from(len).unwrap();
            assert_eq!(memory.segment(Guest::new(gpa), Guest::new(len)), None);
        }
        assert_eq!(memory.segment(Guest::new(0x1000), Guest::new(u32::MAX)), None);
        assert!(memory.segment(Guest::new(0x1000), Guest::new(0x2000)).is_some());
        assert!(memory.load(0x1001).is_err() && memory.load(0x3000).is_err());
    }

    #[test]
    fn a_region_that_its_file_does_not_have_is_refused_before_it_is_touched() {
        let file = file(2);
        let map = |offset, gpa, size| Region::map(&file, offset, gpa, size);
        assert!(matches!(map(0x1000, 0, 0x2000), Err(MapError::File { .. })));
        assert!(matches!(map(0, 0, 0), Err(MapError::Size { .. })));
        assert!(matches!(map(0, MAX_GPA + 1, 0x1000), Err(MapError::Size { .. })));
        assert!(matches!(map(u64::MAX - 0xfff, 0, 0x1000), Err(MapError::File { .. })));
        assert!(matches!(map(1, 0, 0x1000), Err(MapError::Unaligned { .. })));
        let (read, _write) = std::io::pipe().unwrap();
        assert!(matches!(Region::map(&read, 0, 0, 0x1000), Err(MapError::File { .. })));
        let two = vec![map(0, 0x1000, 0x2000).unwrap(), map(0, 0x2000, 0x1000).unwrap()];
        assert!(matches!(Memory::new(two), Err(MapError::Overlap { gpa: 0x2000 })));
    }
}
