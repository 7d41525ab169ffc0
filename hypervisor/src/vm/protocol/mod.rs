//! What the vmm process and its supervisor say to each other: one fixed-size message per packet.
//!
//! Neither trusts the other's bytes: a message that does not decode is an error of the peer.
//! Guest-controlled numbers travel as data, never as formatted text. Sockets are SEQPACKET, so
//! messages keep their borders.

mod from_vmm;
mod kind;
mod packet;
mod stop;
#[cfg(test)]
mod tests;
mod to_vmm;

pub(super) use from_vmm::rule_number;
pub use from_vmm::{Denied, FromVmm, Phase};
pub use packet::{BadMessage, MESSAGE_SIZE};
pub use to_vmm::ToVmm;
