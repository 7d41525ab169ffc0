//! The host's platform registers, as a guest program reaches them: port I/O after `ioperm`.
//!
//! UNSAFETY: port I/O is an instruction that Rust has no safe form of.
#![allow(unsafe_code, reason = "port I/O")]

use casemate_layout::Refusal;
use casemate_layout::ports::{MARK_PORT, REFUSAL_PORT, STATUS_PORT};
use std::arch::asm;

/// The ports, one behind the other.
const FIRST: u16 = MARK_PORT;
const COUNT: u64 = (REFUSAL_PORT - MARK_PORT) as u64 + 1;

/// Lets this thread, and threads and processes that it makes, use the ports. A kernel that is
/// locked down does not allow that any more (`LOCKDOWN_IOPORT`), so it comes before.
pub fn open() {
    permit(true);
}

/// Takes that back: what a workload inherits, it must not keep. Needs no privilege.
pub fn close() {
    permit(false);
}

fn permit(on: bool) {
    // SAFETY: ioperm takes three integers; it gives this thread access to these ports, takes it
    // away, or fails. Where it fails, port I/O is a fault of this process and nothing else.
    let _ = unsafe { ioperm(u64::from(FIRST), COUNT, i32::from(on)) };
}

/// Tells the host of a step of the boot.
pub fn mark(step: u8) {
    out(MARK_PORT, step);
}

/// Tells the host the workload's exit status.
pub fn tell_status(status: u8) {
    out(STATUS_PORT, status);
}

/// Tells the host why nothing was started.
pub fn tell_refusal(refusal: Refusal) {
    out(REFUSAL_PORT, refusal.code());
}

fn out(port: u16, value: u8) {
    // SAFETY: the port belongs to the host's platform registers, which change no memory of ours.
    // `open` was called first; a kernel that refused it ends this process by a fault, as PID 1 of a
    // guest whose host then sees it end.
    unsafe {
        asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags));
    }
}

unsafe extern "C" {
    fn ioperm(from: u64, num: u64, turn_on: i32) -> i32;
}
