//! A heap that does not grow.

use super::SandboxError;
use std::hint::black_box;
use std::io;

/// Settings of glibc's malloc, from its `malloc.h`.
const SETTINGS: [(libc::c_int, libc::c_int); 3] =
    [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, libc::c_int::MAX)];

/// Makes glibc's malloc keep to one heap, of which `reserve` bytes more are taken from the kernel
/// now: as long as allocations fit, it makes no brk, mmap or munmap. Growth beyond that is a call
/// that the filter forbids. The bytes are touched, so that their pages are there.
///
/// Call it before anything large is allocated: what malloc mapped by itself is unmapped when it is
/// freed.
///
/// # Errors
/// [`SandboxError::System`] when malloc refuses a setting.
pub fn freeze_heap(reserve: usize) -> Result<(), SandboxError> {
    let mut block = frozen(reserve)?;
    for page in block.spare_capacity_mut().iter_mut().step_by(4096) {
        page.write(1);
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
    for (setting, value) in SETTINGS {
        // SAFETY: mallopt takes two numbers.
        if unsafe { libc::mallopt(setting, value) } != 1 {
            return Err(SandboxError::system(
                "mallopt",
                io::Error::from_raw_os_error(libc::EINVAL),
            ));
        }
    }
    let mut block: Vec<u8> = Vec::new();
    let out_of_memory = |_| SandboxError::system("brk", io::Error::from_raw_os_error(libc::ENOMEM));
    block.try_reserve_exact(reserve).map_err(out_of_memory)?;
    Ok(block)
}
