//! The host's platform registers, as a guest program reaches them: port I/O after `ioperm`.
//!
//! UNSAFETY: port I/O is an instruction that Rust has no safe form of.
#![allow(unsafe_code, reason = "port I/O")]

use casemate_layout::ports::{MARK_PORT, STATUS_PORT};
use std::arch::asm;

/// Tells the host of a step of the boot.
pub fn mark(step: u8) {
    out(MARK_PORT, step);
}

/// Tells the host the workload's exit status.
pub fn tell_status(status: u8) {
    out(STATUS_PORT, status);
}

fn out(port: u16, value: u8) {
    // SAFETY: ioperm takes three integers; it gives this thread access to one port or fails.
    let allowed = unsafe { ioperm(u64::from(port), 1, 1) } == 0;
    if allowed {
        // SAFETY: the port belongs to the host's platform registers, which change no memory of
        // ours; access to it was granted just now.
        unsafe {
            asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags));
        }
    }
}

unsafe extern "C" {
    fn ioperm(from: u64, num: u64, turn_on: i32) -> i32;
}
