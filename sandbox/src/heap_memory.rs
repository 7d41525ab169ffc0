//! Where [`super::Heap`] has its memory from: anonymous mappings, until it is frozen.

use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a heap of this program has memory from here.
static USED: AtomicBool = AtomicBool::new(false);
/// Whether there is no more.
static FROZEN: AtomicBool = AtomicBool::new(false);

/// Taken at least: fewer calls while a program begins, and no page of it before it is used.
const STEP: usize = 256 * 1024;

pub(super) fn is_used() -> bool {
    USED.load(Ordering::Relaxed)
}

/// From here on no heap of this program grows.
///
/// A thread that is asking for more at this moment may still get it, as one that asked before.
pub(super) fn freeze() {
    FROZEN.store(true, Ordering::Relaxed);
}

/// Has the kernel put pages behind these bytes, and behind the rest of the first and last page, at
/// once: a fault for each costs three times as much. False where it does not know how (before Linux
/// 5.14).
pub(super) fn populate(bytes: &mut [MaybeUninit<u8>]) -> bool {
    const PAGE: usize = 4096;
    let ahead = bytes.as_ptr().addr() % PAGE;
    let from = bytes.as_mut_ptr().wrapping_byte_sub(ahead);
    let len = (bytes.len() + ahead).next_multiple_of(PAGE);
    // SAFETY: as if each page were written to with what it holds; they are mapped and writable,
    // since a part of each is `bytes`.
    unsafe { libc::madvise(from.cast(), len, libc::MADV_POPULATE_WRITE) == 0 }
}

/// The kernel's memory. What is not used any more is given back, until the heap is frozen: a
/// program may have read files of any size before.
#[derive(Debug)]
pub struct SystemMemory;

// SAFETY: memory that is given is a new mapping, readable and writable, of the size that is said,
// aligned to a page; it is unmapped where the heap gives it back and not otherwise.
unsafe impl dlmalloc::Allocator for SystemMemory {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        USED.store(true, Ordering::Relaxed);
        if FROZEN.load(Ordering::Relaxed) {
            return (null_mut(), 0, 0);
        }
        let size = size.max(STEP);
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at a place that the kernel chooses touches nothing that is there.
        let at = unsafe { libc::mmap(null_mut(), size, access, kind, -1, 0) };
        if at == libc::MAP_FAILED { (null_mut(), 0, 0) } else { (at.cast(), size, 0) }
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        null_mut()
    }

    fn free_part(&self, at: *mut u8, size: usize, left: usize) -> bool {
        let (page, gone) = (self.page_size(), size.saturating_sub(left));
        // What begins in the middle of a page stays: its page is used.
        left.is_multiple_of(page) && gone > 0 && self.free(at.wrapping_add(left), gone)
    }

    fn free(&self, at: *mut u8, size: usize) -> bool {
        // SAFETY: the heap has taken these bytes from here and uses them no more.
        !FROZEN.load(Ordering::Relaxed) && unsafe { libc::munmap(at.cast(), size) } == 0
    }

    fn can_release_part(&self, _: u32) -> bool {
        !FROZEN.load(Ordering::Relaxed)
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        4096
    }
}
