//! The host's platform registers, as a guest program reaches them: port I/O after `ioperm`.
//!
//! UNSAFETY: port I/O is an instruction that Rust has no safe form of.
#![allow(unsafe_code, reason = "port I/O")]

use casemate_layout::Refusal;
use casemate_layout::ports::{MARK_PORT, REFUSAL_PORT, STATUS_PORT};
use std::arch::asm;
use std::sync::atomic::{AtomicBool, Ordering};

/// The ports, one behind the other.
const FIRST: u16 = MARK_PORT;
const COUNT: u64 = (REFUSAL_PORT - MARK_PORT) as u64 + 1;

/// Whether they may be used: where they may not, an access would end PID 1, and with it the guest,
/// for a word that nobody hears.
static OPEN: AtomicBool = AtomicBool::new(false);

/// Lets this thread, and threads and processes that it makes, use the ports. A kernel that is
/// locked down does not allow that any more (`LOCKDOWN_IOPORT`), so it comes before.
pub fn open() {
    OPEN.store(permit(true), Ordering::Relaxed);
}

/// Takes that back: what a workload inherits, it must not keep. Needs no privilege, but memory: the
/// kernel copies the permissions that are shared with PID 1 before it changes them.
///
/// # Errors
/// The errno of ioperm(2): the ports are still open then.
pub fn close() -> std::io::Result<()> {
    // Where nothing was opened, nothing is taken back: a kernel may lack the call altogether.
    if !OPEN.load(Ordering::Relaxed) || permit(false) {
        return Ok(());
    }
    Err(std::io::Error::last_os_error())
}

fn permit(on: bool) -> bool {
    // SAFETY: ioperm takes three integers; it gives this thread access to these ports, takes it
    // away, or fails.
    unsafe { ioperm(u64::from(FIRST), COUNT, i32::from(on)) == 0 }
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
    if !OPEN.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: the port belongs to the host's platform registers, which change no memory of ours;
    // access to it was granted by `open`, to the thread that PID 1 begins with, which is the one
    // that tells.
    unsafe {
        asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags));
    }
}

unsafe extern "C" {
    fn ioperm(from: u64, num: u64, turn_on: i32) -> i32;
}
