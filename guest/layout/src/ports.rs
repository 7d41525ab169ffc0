//! What a guest tells its host by port I/O: the hypervisor's platform registers.

/// One byte: a step of the boot, one of [`mark`].
pub const MARK_PORT: u16 = 0x603;
/// One byte: exit status of the workload, before the guest switches itself off.
pub const STATUS_PORT: u16 = 0x604;
/// Four bytes: the shim's [`Termination`](crate::Termination) in plain mode.
pub const REPORT_PORT: u16 = 0x608;

/// Steps of the boot.
pub mod mark {
    /// The shim runs and found its parameters good.
    pub const SHIM: u8 = 1;
    /// All memory is accepted.
    pub const ACCEPTED: u8 = 2;
    /// Kernel, initrd and command line have the hashes that were asked for.
    pub const VERIFIED: u8 = 3;
    /// Next instruction is the kernel's.
    pub const KERNEL: u8 = 4;
    /// PID 1 runs.
    pub const INIT: u8 = 5;
    /// The workload is about to be executed.
    pub const WORKLOAD: u8 = 6;
}
