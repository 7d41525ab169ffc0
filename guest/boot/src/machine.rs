//! The processor and its memory, as the steps see them.

use crate::sha256::Engine;
use casemate_layout::{MAP_BYTES, Range, Termination};

/// What PVALIDATE is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageSize {
    /// A page of 4 KiB: 0 in ECX.
    Small,
    /// A page of 2 MiB, aligned so: 1 in ECX.
    Large,
}

/// What PVALIDATE says (AMD64 APM volume 3, PVALIDATE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// The page is valid now and was not before.
    Done,
    /// Carry flag: it was valid already.
    Unchanged,
    /// `FAIL_SIZEMISMATCH`: the host backs it with small pages.
    SizeMismatch,
    /// Any other code, `FAIL_INPUT` among them: the guest ends.
    Failed,
}

/// Processor and memory of the guest.
///
/// Memory methods take guest physical addresses that the caller has checked against the parameters.
/// They give `None` only where an implementation cannot reach the range; callers treat that as
/// [`Termination::Internal`].
pub trait Machine {
    /// The parameter page, a launched page: what is in it was measured.
    fn params_page(&self) -> &[u8; 4096];
    /// `SEV_STATUS` (MSR 0xC0010131). Called in SNP mode only.
    fn sev_status(&mut self) -> u64;
    /// Position of the C-bit in the entry that maps the boot code itself; 0 for none.
    fn c_bit_in_use(&mut self) -> u8;
    /// The host's memory map, copied once from [`HOST_MAP`](casemate_layout::map::HOST_MAP). Called
    /// once.
    fn copy_map(&mut self) -> [u8; MAP_BYTES];
    /// How many bits a physical address has, as the processor says. Called in plain mode only.
    fn address_bits(&mut self) -> u8;
    /// Maps RAM below the device hole, and prepares to reach the rest for [`Machine::validate`].
    ///
    /// # Errors
    /// [`Termination`] when that is not possible.
    fn map_memory(&mut self, ram: &[Range], c_bit: u8) -> Result<(), Termination>;
    /// PVALIDATE with 1 in EDX: the page at `gpa` becomes valid, never the other way.
    fn validate(&mut self, gpa: u64, size: PageSize) -> Validation;
    /// Reads a byte at both ends of the page at `gpa`, so that no line of it from before stays in
    /// the cache (CVE-2025-38560), and so that a page which is not valid ends the guest here.
    fn touch(&mut self, gpa: u64);
    /// Asks the host to make the pages of `range`, shared until now and no longer needed, private.
    /// Whether it did is seen when the caller validates them.
    ///
    /// # Errors
    /// [`Termination`] when the host refuses or answers something else.
    fn make_private(&mut self, range: Range) -> Result<(), Termination>;
    /// Copies from the shared window to private memory below 4 GiB, or within one GiB. Each byte of
    /// the window is read once.
    ///
    /// # Errors
    /// [`Termination`] when a range cannot be reached.
    fn copy_staged(&mut self, from: Range, to: u64) -> Result<(), Termination>;
    /// Copies within private memory; the ranges do not overlap.
    ///
    /// # Errors
    /// [`Termination`] when a range cannot be reached.
    fn copy(&mut self, from: Range, to: u64) -> Result<(), Termination>;
    /// Fills private memory with zeros.
    ///
    /// # Errors
    /// [`Termination`] when the range cannot be reached.
    fn clear(&mut self, range: Range) -> Result<(), Termination>;
    /// Private memory below 4 GiB; `None` for a range that starts at 0.
    fn memory(&self, range: Range) -> Option<&[u8]>;
    /// Private memory anywhere, within one GiB.
    fn far_memory(&mut self, range: Range) -> Option<&[u8]>;
    /// Private memory below 4 GiB, to be written.
    fn memory_mut(&mut self, range: Range) -> Option<&mut [u8]>;
    /// The best hash that the processor has.
    fn hash_engine(&mut self) -> Engine;
    /// Tells the host how far the boot is. Called in plain mode only.
    fn mark(&mut self, port: u16, step: u8);
    /// The same under SNP: asks the host to make the page at `gpa` private, which it is. The answer
    /// means nothing.
    fn mark_by_page(&mut self, gpa: u64);
}
