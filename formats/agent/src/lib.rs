//! What a container runtime and the agent in a pod's guest say to each other, over a connected
//! stream of bytes.
//!
//! The *runtime* is on the host and speaks for containerd. The *agent* is the guest's PID 1. Each
//! takes the other for hostile: every message is read totally, within bounds that both know, into
//! owned values ([`ToGuest`], [`ToHost`]), by one codec for both directions ([`Message`]).
//!
//! The set is closed, and small on purpose. The host names containers, never paths of the guest;
//! what it wishes for a process ([`Wish`]) is only ever compared with the pod's manifest, which the
//! guest was launched with; standard streams are connections of their own, named by number
//! ([`Stdio`]), so that a reader who stands still holds nothing up but itself.
//!
//! A message is a frame: the length of what follows (u32), its number (u32), its kind (u8), its
//! fields; numbers are little-endian, text and bytes have their length (u32) in front of them,
//! lists their count. There is one spelling of each message. The runtime numbers what it asks from
//! 1 on; an answer has the number of what it answers, and what the guest says by itself has 0.
//!
//! No I/O here but the two loops of [`stream`].
#![forbid(unsafe_code)]

mod error;
mod fields;
mod frame;
mod messages;
mod refusal;
pub mod stream;

pub use error::AgentError;
pub use frame::{Message, Numbered, split};
pub use messages::{Process, Stdio, ToGuest, ToHost, Wish};
pub use refusal::{Code, MAX_SENTENCE, Refusal};

/// What both ends speak. The guest says its version, too; another one is refused.
pub const VERSION: u16 = 1;
/// The longest frame, without its own length: of each direction.
pub const MAX_FRAME: usize = 64 * 1024;
/// Longest part of a text that goes over in parts, in bytes: it fits a frame with what is around
/// it.
pub const MAX_PART: usize = 32 * 1024;
