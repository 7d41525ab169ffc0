//! Random numbers of the host's kernel for a guest: virtio's entropy device (virtio 1.2, 5.4).
//!
//! A driver puts empty buffers into the one queue that there is, and gets them back with random
//! bytes. It says nothing, so nothing of a request is parsed: a buffer is as long as its
//! descriptors say, and one with bytes for the device to read is refused by a used length of 0.
//!
//! Whoever runs the host can know every number. A guest that must not trust the host has no use for
//! them: Linux credits what comes from here as if nobody knew it
//! (`drivers/char/hw_random/virtio-rng.c`, no `quality`, so the core's 1024 of 1024 bits). So a
//! confidential guest gets this device only where its user wrote that the host is trusted.
//!
//! Limits: [`MAX_BYTES`] for each buffer, however long it is; a driver asks again. Nothing that was
//! given to a guest is kept.
//!
//! | file | what |
//! |---|---|
//! | `backend.rs` | where the bytes come from, behind a trait that tests implement |
//! | `device.rs` | `Device`: buffer in, bytes out |
//! | `profile.rs` | the calls of its process: the frame's and getrandom |
//! | `description.rs` | what it is, for whoever starts one or shows one to a guest |
//! | `tests.rs` | what it does with buffers of every shape |
#![forbid(unsafe_code)]

mod backend;
mod description;
mod device;
pub mod profile;

pub use backend::{BLOCK, Kernel, Source};
pub use description::DESCRIPTION;
pub use device::{MAX_BYTES, QUEUES, Rng};

#[cfg(test)]
mod tests;
