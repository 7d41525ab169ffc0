//! Memory whose physical addresses are known: what a device is told of.
//!
//! UNSAFETY: pages that a device reads and writes at the same time are reached by raw pointers.
#![allow(unsafe_code, reason = "memory that a device changes at the same time")]

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// Pages, locked and present. They are never given back: PID 1 does not end.
#[derive(Debug)]
pub struct Memory {
    start: NonNull<u8>,
    physical: Vec<u64>,
}

impl Memory {
    /// So many pages of zeros.
    pub fn new(pages: usize) -> Self {
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE | MapFlags::LOCKED;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, where the kernel likes.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), pages * PAGE, prot, flags) };
        let start = NonNull::new(start.unwrap().cast()).unwrap();
        Self { start, physical: physical(start, pages) }
    }

    /// Whether every page is still where it was: else what a device was told is not ours.
    pub fn stayed(&self) -> bool {
        physical(self.start, self.physical.len()) == self.physical
    }

    /// The physical address of a byte.
    pub fn physical(&self, at: usize) -> u64 {
        self.physical[at / PAGE] + (at % PAGE) as u64
    }

    fn at(&self, at: usize, len: usize) -> NonNull<u8> {
        assert!(at + len <= self.physical.len() * PAGE, "{at:#x} is beyond the pages");
        // SAFETY: just checked.
        unsafe { self.start.add(at) }
    }

    /// Writes bytes.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        let to = self.at(at, bytes.len());
        // SAFETY: `at` has checked; nobody here holds a reference to these pages.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    /// Reads bytes.
    pub fn read(&self, at: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let from = self.at(at, len);
        // SAFETY: as above.
        unsafe { from.copy_to_nonoverlapping(NonNull::from(&mut bytes[..]).cast(), len) };
        bytes
    }

    fn word(&self, at: usize) -> &AtomicU16 {
        assert!(at.is_multiple_of(2));
        // SAFETY: `at` has checked the place, the line above that it is aligned.
        unsafe { AtomicU16::from_ptr(self.at(at, 2).as_ptr().cast()) }
    }

    /// Reads a word that both sides use.
    pub fn load(&self, at: usize) -> u16 {
        self.word(at).load(Ordering::SeqCst)
    }

    /// Writes a word that both sides use.
    pub fn store(&self, at: usize, value: u16) {
        self.word(at).store(value, Ordering::SeqCst);
    }
}

/// Where the pages are, by `/proc/self/pagemap` (Documentation/admin-guide/mm/pagemap.rst: bit 63
/// is "present", bits 0 to 54 are the page's frame).
fn physical(start: NonNull<u8>, pages: usize) -> Vec<u64> {
    let pagemap = File::open("/proc/self/pagemap").unwrap();
    let page = |index: usize| {
        let mut entry = [0; 8];
        let number = start.as_ptr() as usize / PAGE + index;
        pagemap.read_exact_at(&mut entry, number as u64 * 8).unwrap();
        let entry = u64::from_le_bytes(entry);
        assert!(entry >> 63 == 1, "a locked page is not there");
        (entry & ((1 << 55) - 1)) * PAGE as u64
    };
    (0..pages).map(page).collect()
}
