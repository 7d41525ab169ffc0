//! Exits: why a vCPU left the guest, and what is done about it.
//!
//! [`Exit::decode`] is the single translation of `kvm_run`: total, safe code, never panics. Each
//! variant has one handler file with the variant's name and one fuzz target `exit_<name>`; a test
//! fails when either is missing. A handler sees a [`Machine`], never KVM, and ends with
//! [`Outcome`]: resume, or a named reason to stop.

pub mod machine;
pub mod outcome;

mod count;
mod dispatch;
mod exit;
mod progress;

pub mod debug;
pub mod errno;
pub mod fail_entry;
pub mod hlt;
pub mod hypercall;
pub mod internal_error;
pub mod intr;
pub mod io_in;
pub mod io_out;
pub mod ioapic_eoi;
pub mod memory_fault;
pub mod mmio_read;
pub mod mmio_write;
pub mod rdmsr;
pub mod req_certs;
pub mod shutdown;
pub mod system_event;
pub mod unknown;
pub mod wrmsr;

pub use casemate_policy::PageRule;
pub use count::{ExitCounts, ExitTotals};
pub use exit::{Exit, RUN_HEAD, RunArea};
pub use machine::{Events, Guard, Machine, Note, VcpuStep};
pub use outcome::{DeviceFault, Outcome, Stop};
pub use progress::Progress;

/// The name of every variant of [`Exit`], as in its handler file and its fuzz target.
pub const EXITS: [&str; 19] = [
    "debug",
    "errno",
    "fail_entry",
    "hlt",
    "hypercall",
    "internal_error",
    "intr",
    "io_in",
    "io_out",
    "ioapic_eoi",
    "memory_fault",
    "mmio_read",
    "mmio_write",
    "rdmsr",
    "req_certs",
    "shutdown",
    "system_event",
    "unknown",
    "wrmsr",
];

#[cfg(test)]
mod tests;
