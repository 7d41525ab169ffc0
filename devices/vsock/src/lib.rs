//! A virtio socket device (virtio 1.2, 5.10) over UNIX sockets, as a process of its own.
//!
//! What it is: streams between ports of the guest and sockets of the host, by the convention that
//! Firecracker has made common. Who connects to the device's path and says `CONNECT PORT` is
//! connected to that port of the guest and told `OK`; a connection of the guest to a port that is
//! named leads to the socket beside the path whose name ends with `_PORT`. A socket for a single
//! port of the guest, without a line, there is, too.
//!
//! What it is not: no datagrams, no packets with bounds, no other guest's address, no host address
//! family: programs on the host need UNIX sockets only.
//!
//! The process reads what the guest writes and has no way to a path: sockets on which the host
//! begins are listening when it gets them, and where the guest begins it asks the connector
//! ([`Connects`]), which sees one directory.
//!
//! Limits ([`Limits::USUAL`]): 64 connections, 128 KiB of each that its reader has not taken, 256
//! connections a second that the guest asks for, ten seconds for each step of a connection's
//! beginning and end. A guest that gives no buffers, or a host that does not read, holds up its own
//! connections; a guest that counts falsely or breaks the rules of a connection loses that
//! connection, and is told so.
//!
//! In the order of a life: [`Facts`] in the supervisor, [`Vsock`] in the process, [`profile`] for
//! its lock; `machine` is what connections are, without a descriptor in it.
#![forbid(unsafe_code)]

mod bucket;
mod buffer;
mod connection;
mod connector;
mod credit;
mod description;
mod device;
mod facts;
mod machine;
mod packet;
pub mod profile;
mod stream;

pub use connector::Connects;
pub use description::DESCRIPTION;
pub use device::{QUEUES, Vsock};
pub use facts::{Facts, MAX_CID, MAX_FORWARDS, MAX_PORTS, MIN_CID, PORT_ROOM};
pub use machine::{Dial, Entry, Limits, Machine};
pub use packet::{Credit, HEADER, HOST, Op, Ports, Received, Sent};
pub use stream::Stream;

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "tests count small numbers, or mean to wrap")]
mod model_tests;
#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "tests count small numbers, or mean to wrap")]
mod tests;
