//! The smallest device there is: what the next one is copied from.
//!
//! What it is: a queue of requests, each of which says something; the device says it back, and
//! counts. It has no number in virtio's table, so no guest has a driver for it.
//!
//! Limits: [`WORDS`](request::WORDS) bytes a request; what is longer is refused by a used length
//! of 0.
//!
//! The shape, which every device has:
//!
//! | file | what |
//! |---|---|
//! | `lib.rs` | what the device is, its limits |
//! | `request.rs` | what a guest asks, parsed once into a value that is right |
//! | `backend.rs` | the host's side, behind a trait that tests implement |
//! | `device.rs` | `Device`: request in, answer out |
//! | `profile.rs` | the calls of its process: the frame's, and its own, each with a reason |
//! | `description.rs` | what it is, for whoever starts one or shows one to a guest |
//! | `tests.rs` | what it does with requests no driver should make |
//!
//! Beside it: a variant of `DeviceKind` (`devices/process/src/kind.rs`), a fuzz target
//! `device_NAME`, a row in ARCHITECTURE.md, promises in SECURITY.md.
#![forbid(unsafe_code)]

mod backend;
mod description;
mod device;
pub mod profile;
pub mod request;

pub use backend::{Counter, Host};
pub use description::DESCRIPTION;
pub use device::Echo;

#[cfg(test)]
mod tests;
