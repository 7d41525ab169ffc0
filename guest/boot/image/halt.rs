//! The processor's last state.

/// Stops for good.
pub fn halt() -> ! {
    loop {
        // SAFETY: interrupts are off, so this ends the processor's work.
        unsafe { core::arch::asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
