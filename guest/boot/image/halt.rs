//! The processor's last state.

/// Stops the processor for good: `hlt` with interrupts off, again after an NMI.
pub fn halt() -> ! {
    loop {
        // SAFETY: interrupts are off, so this ends the processor's work.
        unsafe { core::arch::asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
