//! What a guest tells its host by port I/O: the hypervisor's platform registers.

/// One byte: [`RESET_VALUE`] resets, as the FADT says.
pub const RESET_PORT: u16 = 0x602;
/// The value that resets; others are ignored.
pub const RESET_VALUE: u8 = 1;
/// One byte: a step of the boot, one of [`mark`].
pub const MARK_PORT: u16 = 0x603;
/// One byte: exit status of the workload, before the guest switches itself off.
pub const STATUS_PORT: u16 = 0x604;
/// One byte: the [`Refusal`](crate::Refusal) of PID 1, before the guest switches itself off.
pub const REFUSAL_PORT: u16 = 0x605;
/// Four bytes: the boot code's [`Termination`](crate::Termination) in plain mode.
pub const REPORT_PORT: u16 = 0x608;

/// The port of the host at which a guest finds its key broker, by its socket device: `kbs` in
/// ASCII.
pub const BROKER_VSOCK_PORT: u32 = 0x006b_6273;

/// Steps of the boot.
pub mod mark {
    use crate::map::{PAGE_SIZE, SCRATCH};

    /// The boot code runs and found its parameters good.
    pub const BOOT_CODE: u8 = 1;
    /// All memory is accepted.
    pub const ACCEPTED: u8 = 2;
    /// Kernel, initrd and command line have the hashes that were asked for.
    pub const VERIFIED: u8 = 3;
    /// Next instruction is the kernel's.
    pub const KERNEL: u8 = 4;
    /// The page that boot code under SNP asks for when it makes step `step`: it cannot do port I/O,
    /// and asks the host to make a page private that is private already, which changes nothing. The
    /// pages are those of `map::SCRATCH`.
    #[must_use]
    pub const fn page(step: u8) -> u64 {
        SCRATCH.start + step as u64 * PAGE_SIZE
    }

    /// The step that a request for the page at `gpa` marks.
    #[must_use]
    pub const fn step_of_page(gpa: u64) -> Option<u8> {
        let mut step = BOOT_CODE;
        while step <= KERNEL {
            if page(step) == gpa {
                return Some(step);
            }
            step += 1;
        }
        None
    }

    /// PID 1 runs, with its file systems mounted and its modules loaded.
    pub const INIT: u8 = 5;
    /// The workload is about to be executed.
    pub const WORKLOAD: u8 = 6;
}
