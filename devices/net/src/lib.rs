//! A virtio network device (virtio 1.2, 5.1) over a TAP, as a process of its own.
//!
//! What it is: one pair of queues between a guest and a TAP of the host, with checksum and
//! segmentation offload in both directions and merged receive buffers; and the filter of what the
//! guest sends: its own address on the link only, and connections only to where the policy lets it
//! ([`Filter`]), decided in this process for each new one.
//!
//! What it is not: no second pair of queues and no control queue, so no change of address, no
//! multicast filter and no announcement by a guest; no switch, no address translation, no DHCP
//! server: who makes the TAP decides what is behind it.
//!
//! How bytes go. Of what a guest sends, the header and the first [`HEAD`] bytes are copied here,
//! once; what is decided about is this copy, and it is what goes out, with the rest behind it,
//! which the kernel takes from the guest's memory and nobody decides about. What comes is read into
//! a buffer of this process and copied to the guest, so that a frame is whole before its guest has
//! a byte of it.
//!
//! Limits: one frame in hand in each direction, of at most [`MAX_FRAME`] bytes; [`FLOWS`] flows
//! that are remembered; 64 frames before the device's thread looks at who waits for it.
//!
//! In the order of a life: [`Tap`] and [`Facts`] in the supervisor, [`Net`] in the process,
//! [`profile`] for its lock; `frame` is the parser, `flows` what is remembered, `filter` what is
//! decided.
//!
//! UNSAFETY: the calls that make a TAP of a descriptor (ioctl) take raw requests; only `tap` has
//! them.

mod deliver;
mod description;
mod device;
mod facts;
mod filter;
mod flows;
mod frame;
mod header;
pub mod profile;
mod tally;
mod tap;

pub use description::DESCRIPTION;
pub use device::{Net, QUEUES};
pub use facts::{Facts, MAX_MTU, MIN_MTU, config, parse_mac, random_mac};
pub use filter::{Filter, Refusal, Verdict};
pub use flows::FLOWS;
pub use frame::{Content, Flow, Frame, HEAD, Icmp, Ip, Transport, Unread};
pub use header::{Checked, HEADER, Header, MAX_FRAME, feature};
pub use profile::layers;
pub use tally::{Over, Refused, Watcher};
pub use tap::{Tap, TapError, Wanted};

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "tests count small numbers")]
mod tests;
