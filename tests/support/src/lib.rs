//! What tests of several crates share: kernels of a few instructions, guests without a kernel, a
//! test harness with one thread, and what an attacker in a locked process would try. No program
//! uses it.
//!
//! UNSAFETY: an attacker makes raw system calls, and touches memory that is taken away.
#![allow(unsafe_code, reason = "what an attacker would do has no safe wrapper")]
#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::must_use_candidate,
    reason = "test code: names say it"
)]

pub mod attack;
pub mod boot_code;
pub mod bpf;
pub mod bzimage;
pub mod captured;
pub mod device;
pub mod device_attack;
pub mod disk;
pub mod first_run;
pub mod guests;
pub mod kernel_calls;
pub mod memory;
pub mod network;
pub mod puppet;
pub mod refusing;
pub mod sandbox;
pub mod script;
pub mod target;
pub mod virtio;

/// The program that a benchmark measures: what `make static` has built, where `tests/bench` names
/// it, since that has another C library than what cargo `built` beside the benchmark.
pub fn shipped(built: &str) -> std::ffi::OsString {
    std::env::var_os("CASEMATE_SHIPPED").unwrap_or_else(|| built.into())
}
