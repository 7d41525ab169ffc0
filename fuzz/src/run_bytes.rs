//! `kvm_run` as the kernel fills it: the inverse of the translation under test, written from the
//! kernel's header.

use casemate_hypervisor::exits::{RUN_HEAD, RunArea};

/// Bytes of a vCPU's mapping: `kvm_run`'s page, the PIO data page, the coalesced-MMIO page.
const SIZE: usize = 3 * 4096;
/// Where KVM puts port data: the second page.
pub const IO_DATA: usize = 4096;
/// Offset of the union of `kvm_run`.
pub const U: usize = 32;

/// One vCPU's mapping.
#[derive(Debug)]
pub struct RunBytes {
    bytes: Vec<u8>,
}

impl RunBytes {
    /// A mapping with this exit reason; everything else is zero.
    pub fn new(reason: u32) -> Self {
        let mut run = Self { bytes: vec![0; SIZE] };
        run.put(8, &reason.to_le_bytes());
        run
    }

    /// A mapping whose first bytes are `head`.
    pub fn raw(head: &[u8]) -> Self {
        let mut run = Self { bytes: vec![0; SIZE] };
        let len = head.len().min(SIZE);
        run.put(0, &head[..len]);
        run
    }

    /// Writes `bytes` at offset `at` of `kvm_run`.
    pub fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Writes an eight-byte field.
    pub fn put_u64(&mut self, at: usize, value: u64) -> &mut Self {
        self.put(at, &value.to_le_bytes())
    }

    /// Writes a four-byte field.
    pub fn put_u32(&mut self, at: usize, value: u32) -> &mut Self {
        self.put(at, &value.to_le_bytes())
    }

    /// An eight-byte field.
    pub fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    /// Bytes at `at`.
    pub fn get(&self, at: usize, len: usize) -> &[u8] {
        &self.bytes[at..at + len]
    }

    /// What the translation sees.
    pub fn area(&mut self) -> RunArea<'_> {
        RunArea::new(&mut self.bytes[RUN_HEAD..])
    }
}
