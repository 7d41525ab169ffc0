//! A guest's memory, as its VMM has it.
#![allow(unsafe_code, reason = "memory that a device process changes at the same time")]

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// Guest memory from address 0 on.
#[derive(Debug)]
pub struct GuestRam {
    file: OwnedFd,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: every access is volatile or atomic, and made for bytes that others change.
unsafe impl Send for GuestRam {}
// SAFETY: the same.
unsafe impl Sync for GuestRam {}

impl GuestRam {
    /// `len` bytes.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let file = memfd_create("ram", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, len as u64).unwrap();
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping, where the kernel likes.
        let start = unsafe { mmap(std::ptr::null_mut(), len, prot, flags, &file, 0) }.unwrap();
        Self { file, start: NonNull::new(start.cast()).unwrap(), len }
    }

    /// The file behind it.
    #[must_use]
    pub const fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Never.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where this process has it: how rings are named to a back end.
    #[must_use]
    pub fn user(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    fn at(&self, gpa: u64, len: usize) -> NonNull<u8> {
        let offset = gpa as usize;
        assert!(offset + len <= self.len, "{gpa:#x} is no memory of the test's");
        // SAFETY: just checked.
        unsafe { self.start.add(offset) }
    }

    /// Writes bytes.
    pub fn write(&self, gpa: u64, bytes: &[u8]) {
        let to = self.at(gpa, bytes.len());
        // SAFETY: `at` has checked; nobody here holds a reference into the mapping.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    /// Reads bytes.
    #[must_use]
    pub fn read(&self, gpa: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let from = self.at(gpa, len);
        // SAFETY: as above.
        unsafe { from.copy_to_nonoverlapping(NonNull::from(&mut bytes[..]).cast(), len) };
        bytes
    }

    /// A word that both sides use.
    #[must_use]
    pub fn word(&self, gpa: u64) -> &AtomicU16 {
        // SAFETY: `at` has checked; rings are aligned.
        unsafe { AtomicU16::from_ptr(self.at(gpa, 2).as_ptr().cast()) }
    }

    /// Reads a word.
    #[must_use]
    pub fn load(&self, gpa: u64) -> u16 {
        self.word(gpa).load(Ordering::Acquire)
    }
}

impl Drop for GuestRam {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's own.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}
