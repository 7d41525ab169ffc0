//! The host mappings behind guest RAM: one memfd, mapped once, one region per range of the
//! [`RamMap`].

use crate::memory::{GpaRange, RamMap};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{Advice, madvise};
use rustix::process::{Resource, getrlimit};
use std::fs::File;
use std::sync::Arc;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};

/// Why guest RAM could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum RamError {
    /// The memory file could not be made.
    #[error("cannot make a memory file of {size} bytes for guest RAM: {source}")]
    File {
        /// How many bytes it was to have.
        size: u64,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// A limit of the caller's shell forbids a file of that size, and memory is a file.
    #[error(
        "guest RAM is a memory file of {size} bytes, and this process may make files of at most {limit}: \
         raise the limit (`ulimit -f unlimited`)"
    )]
    FileLimit {
        /// How many bytes it was to have.
        size: u64,
        /// The limit in force, RLIMIT_FSIZE.
        limit: u64,
    },
    /// The kernel cannot be told how guest RAM is to be backed.
    #[error("cannot have guest RAM backed by single pages: {0}")]
    SmallPages(#[source] std::io::Error),
    /// The memory file could not be mapped.
    #[error("cannot map {size} bytes of guest RAM: {reason}")]
    Map {
        /// How many bytes it was to have.
        size: u64,
        /// What the crate vm-memory said.
        reason: String,
    },
    /// Contents do not fit into RAM where they should go.
    #[error("{len} bytes at {gpa:#x} are not inside guest RAM")]
    OutOfRam {
        /// The first guest physical address.
        gpa: u64,
        /// How many bytes from there on.
        len: usize,
    },
}

/// Guest RAM as this process sees it.
#[derive(Debug, Clone)]
pub struct GuestRam {
    map: RamMap,
    memory: GuestMemoryMmap<()>,
    file: Arc<File>,
}

impl GuestRam {
    /// Makes zeroed RAM; pages are allocated when first touched.
    ///
    /// # Errors
    /// [`RamError`].
    pub fn new(map: RamMap) -> Result<Self, RamError> {
        let size = map.size();
        // Beyond the limit the kernel does not only refuse: it ends the process by SIGXFSZ, which
        // no one would understand.
        if let Some(limit) = getrlimit(Resource::Fsize).current.filter(|limit| *limit < size) {
            return Err(RamError::FileLimit { size, limit });
        }
        let file = sized_for_good(size).map_err(|e| RamError::File { size, source: e.into() })?;
        let file = Arc::new(File::from(file));
        let mut offset = 0;
        let mut ranges = Vec::with_capacity(map.ranges().len());
        for range in map.ranges() {
            let len = usize::try_from(range.size())
                .map_err(|e| RamError::Map { size, reason: e.to_string() })?;
            let at = FileOffset::from_arc(file.clone(), offset);
            ranges.push((GuestAddress(range.start()), len, Some(at)));
            offset += range.size();
        }
        let memory = GuestMemoryMmap::from_ranges_with_files(ranges)
            .map_err(|e| RamError::Map { size, reason: e.to_string() })?;
        Ok(Self { map, memory, file })
    }

    /// Has the kernel back it page by page: for a confidential guest, before its first page is
    /// touched. Where shared memory is given in huge pages (`shmem_enabled`), one that the guest
    /// shares would bring 511 neighbours, which it holds as private, and devices could reach those.
    /// They hold zeros; but the host would hold them twice.
    ///
    /// # Errors
    /// [`RamError::SmallPages`].
    #[allow(unsafe_code, reason = "advice about memory has no safe wrapper")]
    pub fn in_single_pages(&self) -> Result<(), RamError> {
        for region in self.memory.iter() {
            let len = usize::try_from(region.len()).unwrap_or(0);
            // SAFETY: the range is a mapping of this object's; the advice changes no byte and no
            // mapping, only which pages the kernel takes for it.
            let told = unsafe { madvise(region.as_ptr().cast(), len, Advice::LinuxNoHugepage) };
            match told {
                // A kernel without huge pages knows no advice about them.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(e) => return Err(RamError::SmallPages(e.into())),
            }
        }
        Ok(())
    }

    /// Where the guest has RAM.
    #[must_use]
    pub fn map(&self) -> &RamMap {
        &self.map
    }

    /// The file behind RAM: offset 0 is the first range, the next one follows.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Each range with the host address it is mapped at.
    pub fn host_ranges(&self) -> impl Iterator<Item = (GpaRange, u64)> + '_ {
        self.map.ranges().iter().filter_map(|range| {
            let region = self.memory.find_region(GuestAddress(range.start()))?;
            Some((*range, region.as_ptr() as u64))
        })
    }

    /// Writes `bytes` at `gpa`.
    ///
    /// # Errors
    /// [`RamError::OutOfRam`].
    pub fn write(&self, gpa: u64, bytes: &[u8]) -> Result<(), RamError> {
        self.memory
            .write_slice(bytes, GuestAddress(gpa))
            .map_err(|_| RamError::OutOfRam { gpa, len: bytes.len() })
    }

    /// Reads `bytes.len()` bytes at `gpa`. A guest may change them at any time: read once, then
    /// decide.
    ///
    /// # Errors
    /// [`RamError::OutOfRam`].
    pub fn read(&self, gpa: u64, bytes: &mut [u8]) -> Result<(), RamError> {
        let len = bytes.len();
        self.memory
            .read_slice(bytes, GuestAddress(gpa))
            .map_err(|_| RamError::OutOfRam { gpa, len })
    }
}

/// A file in memory that keeps its size.
///
/// Device processes get it, those of other projects, too. One that could shrink it would end the
/// vmm process, by SIGBUS at the next access to a page behind the end; one that could grow it would
/// have the host hold memory that belongs to nobody. Seals are the file's, whoever holds it. Not
/// F_SEAL_WRITE or F_SEAL_FUTURE_WRITE: under them nobody gives pages back (`shmem_fallocate`
/// refuses to punch), and conversions do.
fn sized_for_good(size: u64) -> Result<std::os::fd::OwnedFd, rustix::io::Errno> {
    let file = memfd_create("guest-ram", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, size)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{HOLE_END, HOLE_START, PAGE_SIZE};

    #[test]
    fn bytes_are_read_back_from_where_they_were_written_and_nowhere_else() {
        let ram = GuestRam::new(RamMap::new(HOLE_START + 4 * PAGE_SIZE).unwrap()).unwrap();
        for gpa in [0x1234, HOLE_START - 3, HOLE_END + 5] {
            ram.write(gpa, b"abc").unwrap();
            let mut bytes = [0; 3];
            ram.read(gpa, &mut bytes).unwrap();
            assert_eq!(&bytes, b"abc");
        }
        // The hole is no RAM, and what reaches into it is not there.
        for gpa in
            [HOLE_START - 2, HOLE_START, HOLE_END - 1, HOLE_END + 4 * PAGE_SIZE - 2, u64::MAX]
        {
            assert!(matches!(ram.write(gpa, b"abc"), Err(RamError::OutOfRam { len: 3, .. })));
            assert!(matches!(ram.read(gpa, &mut [0; 3]), Err(RamError::OutOfRam { len: 3, .. })));
        }
        let ranges: Vec<_> = ram.host_ranges().collect();
        assert_eq!(ranges.len(), 2);
        assert!(ranges.iter().all(|(_, host)| host.is_multiple_of(PAGE_SIZE)));
        assert_eq!(ram.file().metadata().unwrap().len(), HOLE_START + 4 * PAGE_SIZE);
    }

    /// Protects the vmm process, and the host's memory, from who is given the memory file.
    #[test]
    fn the_memory_file_neither_shrinks_nor_grows_and_gives_pages_back() {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::{Errno, pwrite};
        let size = 4 * PAGE_SIZE;
        let ram = GuestRam::new(RamMap::new(size).unwrap()).unwrap();
        ram.write(PAGE_SIZE, &[1]).unwrap();
        for other in [0, size - PAGE_SIZE, size + PAGE_SIZE] {
            assert_eq!(ftruncate(ram.file(), other), Err(Errno::PERM), "{other}");
        }
        let grow = fallocate(ram.file(), FallocateFlags::empty(), size, PAGE_SIZE);
        assert_eq!(grow, Err(Errno::PERM));
        assert_eq!(pwrite(ram.file(), &[1], size), Err(Errno::PERM));
        assert_eq!(fcntl_add_seals(ram.file(), SealFlags::WRITE), Err(Errno::PERM));
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(ram.file(), punch, PAGE_SIZE, PAGE_SIZE).unwrap();
        let mut byte = [9];
        ram.read(PAGE_SIZE, &mut byte).unwrap();
        assert_eq!((byte, ram.file().metadata().unwrap().len()), ([0], size));
    }

    /// Cannot tell what a kernel that gives shared memory in huge pages would do without it.
    #[test]
    fn ram_in_single_pages_is_told_by_the_kernel_and_still_there() {
        let ram = GuestRam::new(RamMap::new(HOLE_START + 4 * PAGE_SIZE).unwrap()).unwrap();
        ram.in_single_pages().unwrap();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        for (_, host) in ram.host_ranges() {
            let from = smaps.split(&format!("\n{host:x}-")).nth(1).unwrap();
            let flags = from.lines().find(|line| line.starts_with("VmFlags:")).unwrap();
            // A kernel without huge pages has no such flag to show.
            let has_huge_pages =
                std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
            assert_eq!(flags.split(' ').any(|flag| flag == "nh"), has_huge_pages, "{flags}");
        }
        ram.write(HOLE_END, b"abc").unwrap();
    }

    #[test]
    fn ram_that_cannot_be_had_is_an_error_with_its_size() {
        let Err(error) = GuestRam::new(RamMap::new(1 << 62).unwrap()) else {
            panic!("no host has 4 EiB of address space")
        };
        assert!(error.to_string().contains(&(1_u64 << 62).to_string()), "{error}");
    }
}
