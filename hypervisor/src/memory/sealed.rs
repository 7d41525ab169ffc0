//! A file in memory that nobody can change any more, as bytes.
#![allow(unsafe_code, reason = "maps a file, and gives its bytes as a slice")]

use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ops::Deref;
use std::os::fd::AsFd;
use std::ptr::NonNull;

/// Seals without which a mapping could change, or end, under its reader.
const UNCHANGEABLE: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// The contents of a sealed file, mapped: read in place, not copied.
#[derive(Debug)]
pub struct SealedBytes {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is read-only and its file is sealed, so nobody changes the bytes; `at` is
// tied to no thread.
unsafe impl Send for SealedBytes {}
// SAFETY: as above.
unsafe impl Sync for SealedBytes {}

impl SealedBytes {
    /// Maps all of `file`, whose descriptor is not needed any more then.
    ///
    /// # Errors
    /// `EPERM` for a file that is not sealed against writing, shrinking and growing; else the
    /// kernel's reason.
    pub fn map(file: impl AsFd) -> Result<Self, Errno> {
        if !fcntl_get_seals(&file)?.contains(UNCHANGEABLE) {
            return Err(Errno::PERM);
        }
        let len = usize::try_from(fstat(&file)?.st_size).map_err(|_| Errno::FBIG)?;
        if len == 0 {
            return Ok(Self { at: NonNull::dangling(), len });
        }
        // Private, because Linux before 6.7 maps no write-sealed file as shared, not even to read.
        // All at once: every byte will be read.
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        // SAFETY: the kernel chooses the place, so no other mapping is touched.
        let at = unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ, flags, file, 0) }?;
        NonNull::new(at.cast()).map(|at| Self { at, len }).ok_or(Errno::NOMEM)
    }
}

impl Deref for SealedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `at` has `len` mapped bytes until `drop`, or `len` is 0. The file was sealed
        // before its size was read: its bytes cannot be written, and none of them taken away.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl Drop for SealedBytes {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: it is this value's own mapping, and no slice of it outlives the value.
            let _ = unsafe { munmap(self.at.as_ptr().cast(), self.len) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, fcntl_add_seals, memfd_create};

    fn file(bytes: &[u8]) -> std::os::fd::OwnedFd {
        let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        assert_eq!(rustix::io::write(&file, bytes), Ok(bytes.len()));
        file
    }

    /// Protects a reader from bytes that change, and from a mapping that ends, under it.
    #[test]
    fn only_a_file_that_can_neither_change_nor_shrink_nor_grow_is_mapped() {
        let all = [SealFlags::WRITE, SealFlags::SHRINK, SealFlags::GROW];
        for left_out in all {
            let file = file(b"bytes");
            assert_eq!(SealedBytes::map(&file).unwrap_err(), Errno::PERM);
            let seals = all.into_iter().filter(|seal| *seal != left_out).collect();
            fcntl_add_seals(&file, seals).unwrap();
            assert_eq!(SealedBytes::map(&file).unwrap_err(), Errno::PERM, "without {left_out:?}");
            fcntl_add_seals(&file, left_out).unwrap();
            let bytes = SealedBytes::map(&file).unwrap();
            drop(file);
            assert_eq!(*bytes, *b"bytes");
        }
        let empty = file(b"");
        fcntl_add_seals(&empty, UNCHANGEABLE).unwrap();
        assert!(SealedBytes::map(&empty).unwrap().is_empty());
    }
}
