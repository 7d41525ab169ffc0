//! The GHCB MSR protocol (AMD, SEV-ES Guest-Hypervisor Communication Block Standardization, section 2.3.1).

use crate::processor::halt;
use casemate_layout::map::PAGE_SIZE;
use casemate_layout::{TERMINATION_SET, Termination};

const GHCB_MSR: u32 = 0xc001_0130;
const LOW_HALF: u64 = 0xffff_ffff;
const PAGE_STATE_REQUEST: u64 = 0x014;
const PAGE_STATE_RESPONSE: u64 = 0x015;
const TO_PRIVATE: u64 = 1 << 52;
const TERMINATE: u64 = 0x100;

/// Asks the host to make the page at `gpa` private.
pub fn make_private(gpa: u64) -> Result<(), Termination> {
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

/// Ends the guest.
pub fn terminate(termination: Termination) -> ! {
    let reason = u64::from(TERMINATION_SET) << 12 | u64::from(termination.code()) << 16;
    call(TERMINATE | reason);
    // A host that goes on after this gets nothing.
    halt()
}

fn call(request: u64) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the MSR and VMGEXIT exist under SNP, where alone this is called; the host gets the request, no memory.
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
