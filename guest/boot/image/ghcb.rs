//! Requests to the host (AMD, SEV-ES Guest-Hypervisor Communication Block Standardization, version
//! 2).
//!
//! By MSR alone (section 2.3.1): termination, and the state of one page. By a GHCB in shared
//! memory: the state of many pages at once (section 4.1.6). The host may answer anything and change
//! the GHCB at any time: nothing of it is trusted, and pages that it did not make private fail
//! their validation.

use crate::halt::halt;
use casemate_layout::map::{LARGE_PAGE_SIZE, PAGE_SIZE};
use casemate_layout::{Range, TERMINATION_SET, Termination};

const GHCB_MSR: u32 = 0xc001_0130;
const LOW_HALF: u64 = 0xffff_ffff;
const PAGE_STATE_REQUEST: u64 = 0x014;
const PAGE_STATE_RESPONSE: u64 = 0x015;
const TO_PRIVATE: u64 = 1 << 52;
const TERMINATE: u64 = 0x100;
const REGISTER_REQUEST: u64 = 0x012;
const REGISTER_RESPONSE: u64 = 0x013;

/// Offsets in a GHCB.
const EXIT_CODE: u64 = 0x390;
const EXIT_INFO_1: u64 = 0x398;
const EXIT_INFO_2: u64 = 0x3a0;
const SCRATCH: u64 = 0x3a8;
const VALID_HIGH: u64 = 0x3f8;
const BUFFER: u64 = 0x800;
const VERSION_AND_USAGE: u64 = 0xff8;
/// Valid bits of exit code, both infos and scratch: one bit for eight bytes, from 0x200 on in the
/// high half.
const VALID_BITS: u64 = 0xf << (EXIT_CODE / 8 - 64);
/// Protocol version 2 at 0xffa, usage 0 at 0xffc.
const VERSION_2: u64 = 2 << 16;
const PAGE_STATE_CHANGE: u64 = 0x8000_0010;
const LARGE_ENTRY: u64 = 1 << 56;
/// Entries that the buffer holds behind the header.
const MAX_ENTRIES: u64 = 253;
/// The host may need several rounds for a request, but not this many.
const MAX_ROUNDS: u32 = 1024;

/// Asks the host to make the page at `gpa` private, by MSR.
pub fn make_page_private(gpa: u64) -> Result<(), Termination> {
    // The request has the page number in bits 51:12, which is the address.
    let page = gpa - gpa % PAGE_SIZE;
    let response = call(PAGE_STATE_REQUEST | page | TO_PRIVATE);
    // Bits 63:32 are an error code; bits 31:12 are reserved.
    match (response >> 32, response & LOW_HALF) {
        (0, PAGE_STATE_RESPONSE) => Ok(()),
        (_, PAGE_STATE_RESPONSE) => Err(Termination::PageStateChange),
        _ => Err(Termination::GhcbProtocol),
    }
}

/// A GHCB: a shared page.
pub struct Ghcb {
    gpa: u64,
    address: u64,
}

impl Ghcb {
    /// Tells the host of the page at `gpa`.
    ///
    /// # Safety
    /// The page is shared, and mapped at `address` without the C-bit for as long as the value
    /// lives.
    pub unsafe fn register(gpa: u64, address: u64) -> Result<Self, Termination> {
        let response = call(REGISTER_REQUEST | gpa);
        if response == REGISTER_RESPONSE | gpa {
            Ok(Self { gpa, address })
        } else {
            Err(Termination::GhcbProtocol)
        }
    }

    fn write(&self, offset: u64, value: u64) {
        // SAFETY: the offset lies in the page, which the promise of `register` is about.
        unsafe { core::ptr::write_volatile((self.address + offset) as *mut u64, value) };
    }

    fn read(&self, offset: u64) -> u64 {
        // SAFETY: as in `write`.
        unsafe { core::ptr::read_volatile((self.address + offset) as *const u64) }
    }

    /// Asks the host to make all pages of `range` private, with large entries where they fit.
    pub fn make_private(&self, range: Range) -> Result<(), Termination> {
        let mut left = range;
        while left.size != 0 {
            let mut count = 0;
            while count < MAX_ENTRIES && left.size != 0 {
                let large =
                    left.start.is_multiple_of(LARGE_PAGE_SIZE) && left.size >= LARGE_PAGE_SIZE;
                let (size, flag) =
                    if large { (LARGE_PAGE_SIZE, LARGE_ENTRY) } else { (PAGE_SIZE, 0) };
                let (entry, rest) = left.split(size);
                count += 1;
                self.write(BUFFER + count * 8, entry.start | TO_PRIVATE | flag);
                left = rest;
            }
            self.change_pages(count)?;
        }
        Ok(())
    }

    /// Has the host work on `count` entries of the buffer.
    fn change_pages(&self, count: u64) -> Result<(), Termination> {
        // The header: first entry to do, last entry. The host moves the first forward.
        self.write(BUFFER, (count - 1) << 16);
        for _ in 0..MAX_ROUNDS {
            self.write(VERSION_AND_USAGE, VERSION_2);
            self.write(EXIT_CODE, PAGE_STATE_CHANGE);
            self.write(EXIT_INFO_1, 0);
            self.write(EXIT_INFO_2, 0);
            self.write(SCRATCH, self.gpa + BUFFER);
            self.write(VALID_HIGH, VALID_BITS);
            exit(self.gpa);
            if self.read(EXIT_INFO_1) & LOW_HALF != 0 {
                return Err(Termination::GhcbProtocol);
            }
            if self.read(EXIT_INFO_2) != 0 {
                return Err(Termination::PageStateChange);
            }
            if self.read(BUFFER) & 0xffff >= count {
                return Ok(());
            }
        }
        Err(Termination::PageStateChange)
    }
}

/// Ends the guest.
pub fn terminate(termination: Termination) -> ! {
    let reason = u64::from(TERMINATION_SET) << 12 | u64::from(termination.code()) << 16;
    call(TERMINATE | reason);
    // A host that goes on after this gets nothing.
    halt()
}

/// Leaves to the host with the GHCB at `gpa`.
fn exit(gpa: u64) {
    // SAFETY: exists under SNP, where alone this is called. The host reads and writes the GHCB, a
    // shared page.
    unsafe {
        core::arch::asm!(
            "wrmsr",
            ".byte 0xf3, 0x0f, 0x01, 0xd9",
            in("ecx") GHCB_MSR,
            in("eax") gpa as u32,
            in("edx") (gpa >> 32) as u32,
            options(nostack),
        );
    }
}

fn call(request: u64) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the MSR and VMGEXIT exist under SNP, where alone this is called; the host gets the
    // request, no memory.
    unsafe {
        core::arch::asm!(
            "wrmsr",
            ".byte 0xf3, 0x0f, 0x01, 0xd9",
            "rdmsr",
            in("ecx") GHCB_MSR,
            inout("eax") request as u32 => low,
            inout("edx") (request >> 32) as u32 => high,
            options(nostack),
        );
    }
    u64::from(high) << 32 | u64::from(low)
}
