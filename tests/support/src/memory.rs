//! A file in memory as a guest's is, and what a process can do to it: to see who makes it grow.

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, fstat, ftruncate, memfd_create};
use rustix::io::{Errno, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// A file in memory.
#[derive(Debug)]
pub struct MemoryFile(pub OwnedFd);

impl MemoryFile {
    /// An empty one of so many pages, all of them holes.
    pub fn new(pages: usize) -> Self {
        let file = memfd_create("guest-ram", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, (pages * PAGE) as u64).unwrap();
        Self(file)
    }

    /// Pages that the host holds for it.
    pub fn held(&self) -> usize {
        held(&self.0)
    }

    /// Gives up pages, as a guest's does that become private.
    pub fn punch(&self, page: usize, pages: usize) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.0, flags, (page * PAGE) as u64, (pages * PAGE) as u64).unwrap();
    }
}

/// Pages that the host holds for a file in memory.
pub fn held(file: &impl AsFd) -> usize {
    let blocks = fstat(file).unwrap().st_blocks;
    usize::try_from(blocks).unwrap() * 512 / PAGE
}

/// A shared mapping.
#[derive(Debug)]
pub struct Mapping {
    pub start: usize,
    pub pages: usize,
}

impl Mapping {
    /// Maps a whole file to read and write.
    pub fn of(file: &impl AsFd, pages: usize) -> Self {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe {
            mmap(std::ptr::null_mut(), pages * PAGE, prot, MapFlags::SHARED, file, 0).unwrap()
        };
        Self { start: start.addr(), pages }
    }

    /// Its size.
    pub fn size(&self) -> usize {
        self.pages * PAGE
    }

    fn page(&self, page: usize) -> *mut u8 {
        assert!(page < self.pages);
        std::ptr::with_exposed_provenance_mut(self.start + page * PAGE)
    }

    /// Reads a byte of a page.
    pub fn load(&self, page: usize) -> u8 {
        // SAFETY: inside the mapping; others may change it at any time.
        unsafe { self.page(page).read_volatile() }
    }

    /// Writes a byte of a page.
    pub fn store(&self, page: usize, byte: u8) {
        // SAFETY: as in `load`.
        unsafe { self.page(page).write_volatile(byte) }
    }

    /// What `pread` makes of a page as the place to read a file to.
    pub fn pread_into(&self, page: usize, from: &impl AsFd) -> Result<usize, Errno> {
        // SAFETY: as in `load`; the slice is used by the kernel only, and gone after the call.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.page(page), PAGE) };
        rustix::io::preadv(from, &mut [IoSliceMut::new(bytes)], 0)
    }

    /// What `writev` makes of a page as what to write to a file.
    pub fn writev_from(&self, page: usize, to: &impl AsFd) -> Result<usize, Errno> {
        // SAFETY: as in `pread_into`.
        let bytes = unsafe { std::slice::from_raw_parts(self.page(page), PAGE) };
        rustix::io::writev(to, &[std::io::IoSlice::new(bytes)])
    }

    /// Writes a byte of every page by an instruction that SIGBUS skips; how many it skipped.
    ///
    /// The handler stays: for a process that ends soon.
    pub fn store_to_every_page(&self) -> usize {
        static SKIPPED: AtomicUsize = AtomicUsize::new(0);
        extern "C" fn skip(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
            SKIPPED.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the kernel gives the interrupted context, whose instruction is the one below:
            // `mov byte ptr [rdi], 1`, three bytes.
            unsafe {
                let context = &mut *context.cast::<libc::ucontext_t>();
                context.uc_mcontext.gregs[libc::REG_RIP as usize] += 3;
            }
        }
        // SAFETY: a handler that touches the interrupted context and an atomic only.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(_, _, _) = skip;
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()), 0);
        }
        for page in 0..self.pages {
            // SAFETY: writes one byte inside the mapping, or nothing.
            unsafe { std::arch::asm!("mov byte ptr [rdi], 1", in("rdi") self.page(page)) };
        }
        SKIPPED.load(Ordering::Relaxed)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, whose users borrow it.
        unsafe { rustix::mm::munmap(self.page(0).cast(), self.size()).unwrap() }
    }
}
