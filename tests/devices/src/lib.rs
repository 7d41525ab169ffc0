//! What device processes are tested with: a driver of virtio devices that reaches them over
//! vhost-user, as a VMM would, with the `vhost` crate's `Frontend`; raw messages for what no driver
//! sends; and the processes themselves.
//!
//! Nothing here checks: a lie that a test tells is written down as it is.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "test code: what goes wrong must stop the test"
)]

pub mod driver;
pub mod load;
pub mod memory;
pub mod net;
pub mod process;
pub mod raw;
pub mod scratch;
pub mod vsock;
