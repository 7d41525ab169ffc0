//! A heap that does not grow.
//!
//! The program and the images of confined processes have [`Heap`], but for the devices' image,
//! which has glibc's malloc; a process that is a copy of its parent has whatever that had.

use super::SandboxError;
use super::heap_memory::{self, SystemMemory};
use dlmalloc::Dlmalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

/// The heap of a program that will freeze it: its `#[global_allocator]`.
///
/// musl's malloc keeps each size in mappings of its own, which come and go at every time and cannot
/// be told to stay. So the images bring a malloc that asks for memory at one place
/// (`heap_memory.rs`), which ends it.
pub struct Heap(Mutex<Dlmalloc<SystemMemory>>);

impl Heap {
    /// A heap of which nothing is used.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Dlmalloc::new_with_allocator(SystemMemory)))
    }

    /// The standard library's lock allocates nothing on Linux: it is a number that the kernel is
    /// told of when somebody has to wait.
    fn lock(&self) -> MutexGuard<'_, Dlmalloc<SystemMemory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heap")
    }
}

// SAFETY: dlmalloc gives memory as `GlobalAlloc` asks for it, and takes it back under the same
// conditions, which are this trait's on its callers. One thread at a time has it, and nothing here
// unwinds: it is arithmetic on its own memory.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see above.
        unsafe { self.lock().malloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: see above.
        unsafe { self.lock().free(block, layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see above.
        unsafe { self.lock().calloc(layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: see above.
        unsafe { self.lock().realloc(block, layout.size(), layout.align(), size) }
    }
}

/// Makes the heap keep to what it has, and `reserve` bytes more, which are taken from the kernel
/// now: as long as allocations fit, it makes no brk, mmap or munmap. Beyond that an image has no
/// memory; a copy of a process that has glibc's heap makes a call that the filter forbids. The
/// bytes are touched, so that their pages are there.
///
/// Call it before anything large is allocated: what glibc's malloc mapped by itself is unmapped
/// when it is freed.
///
/// # Errors
/// [`SandboxError::System`] when there is no memory, or the program's malloc cannot be frozen.
pub fn freeze_heap(reserve: usize) -> Result<(), SandboxError> {
    let mut block = frozen(reserve)?;
    if !heap_memory::populate(block.spare_capacity_mut()) {
        for page in block.spare_capacity_mut().iter_mut().step_by(4096) {
            page.write(1);
        }
    }
    // Freed at once, and not given back to the kernel.
    drop(black_box(block));
    Ok(())
}

/// The same for a reserve that may never be needed: no page of it is there before it is used, and a
/// host that has none left then ends the process.
///
/// # Errors
/// As [`freeze_heap`].
pub fn reserve_heap(reserve: usize) -> Result<(), SandboxError> {
    drop(black_box(frozen(reserve)?));
    Ok(())
}

fn frozen(reserve: usize) -> Result<Vec<u8>, SandboxError> {
    let failed = |call, errno| SandboxError::system(call, io::Error::from_raw_os_error(errno));
    let is_ours = heap_memory::is_used();
    if !is_ours && !keep_to_one_heap() {
        return Err(failed("mallopt", libc::EINVAL));
    }
    let mut block: Vec<u8> = Vec::new();
    block.try_reserve_exact(reserve).map_err(|_| failed("reserving a heap", libc::ENOMEM))?;
    if is_ours {
        heap_memory::freeze();
    }
    Ok(block)
}

/// Makes glibc's malloc keep to one heap, by settings from its `malloc.h`.
#[cfg(target_env = "gnu")]
fn keep_to_one_heap() -> bool {
    let settings =
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, libc::c_int::MAX)];
    // SAFETY: mallopt takes two numbers.
    settings.into_iter().all(|(setting, value)| unsafe { libc::mallopt(setting, value) } == 1)
}

/// Another malloc has no such settings.
#[cfg(not(target_env = "gnu"))]
fn keep_to_one_heap() -> bool {
    false
}
