//! A console between a guest and one stream of the host: virtio's console device (virtio 1.2, 5.3)
//! with one port, and so two queues and no control messages.
//!
//! What the guest writes goes to the stream, what comes by the stream to the guest. What a byte
//! means, who may see it, and what a terminal must not get, is the business of who holds the
//! stream's other end: under `casemate run` the supervisor, which has one way for all output of a
//! guest.
//!
//! Not offered: MULTIPORT, whose control queues are a protocol of their own; SIZE, so that nothing
//! of the host's terminal reaches the guest; EMERG_WRITE, a second way for bytes, by the
//! configuration, which is read-only here (5.3.3).
//!
//! A stream that takes nothing holds the guest back: its buffers stay in the queue, unused. The
//! device never waits for either side alone. A buffer is taken only when the stream has room for
//! [`ROOM`] bytes, so what a driver sends at once is in the stream when it is told that it is sent,
//! and survives the end of this process. Linux sends a page at most (`hvc_alloc`).
//!
//! Limits: of one buffer [`ROOM`] bytes, and as many as the stream takes beyond them at once; what
//! it does not take waits in this process, up to [`LEFT`] bytes, and the rest is dropped.
//!
//! | file | what |
//! |---|---|
//! | `stream.rs` | the host's side, behind a trait that tests implement |
//! | `port.rs` | what of both sides waits, and for what |
//! | `device.rs` | the queues |
//! | `profile.rs` | the calls of its process: the frame's, and two on one stream |
//! | `description.rs` | what it is, for whoever starts one or shows one to a guest |
#![forbid(unsafe_code)]

mod description;
mod device;
mod port;
pub mod profile;
mod stream;

pub use description::DESCRIPTION;
pub use device::{Console, QUEUES};
pub use port::{LEFT, Port, ROOM};
pub use stream::Stream;

#[cfg(test)]
mod tests;
