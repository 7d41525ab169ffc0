//! Split virtqueues (virtio 1.2, 2.7) in memory that a guest shares, as a device reads them.
//!
//! The guest writes to this memory at any time, from several processors, and means harm. So:
//!
//! - **Read once.** Each byte of a descriptor, of a ring's entry and of a request is copied out
//!   once, into a value; what was checked is what is used. There are no references into guest
//!   memory anywhere, only copies, and raw pieces that are handed to the kernel.
//! - **A malformed chain is not the end of a chain.** [`Taken::Malformed`] says what is wrong with
//!   it; it is answered with length 0 like any other, and the queue goes on.
//! - **An impossible ring is an error of the queue.** An available index that is further ahead than
//!   the ring is long cannot be repaired by guessing: [`QueueError`], and nothing is read from this
//!   ring any more until the driver resets it.
//! - **States are types.** [`Negotiating`] has setters and takes nothing; [`Running`] takes
//!   requests and has no setter. So a size that changes under a running queue cannot be written
//!   down.
//!
//! What is not here, on purpose: indirect descriptors, event indices and packed rings. They are not
//! offered, so that a descriptor that uses them is malformed.
//!
//! Limits: queues of 1 to [`MAX_SIZE`] entries; a chain has at most as many descriptors as the
//! queue and at most 2^32 - 1 bytes; nothing is allocated once a queue runs.
//!
//! UNSAFETY: guest memory is mapped, read and written through raw pointers, and handed to preadv,
//! pwritev, sendmsg and recvmsg. Only [`mapped`](Memory) and [`transfer`](read_file) do, behind
//! [`GuestMemory`].

mod chain;
mod data;
mod mapped;
mod memory;
mod negotiating;
mod rings;
mod running;
mod transfer;

pub use chain::Malformed;
pub use data::{Readable, Request, Writable};
pub use mapped::{MapError, Memory, Region};
pub use memory::{GuestMemory, Segment, Unreachable};
pub use negotiating::Negotiating;
pub use rings::{MAX_SIZE, RingAddresses, RingError};
pub use running::{Head, QueueError, Running, Taken};
pub use transfer::{Durability, Pieces, Room, read_file, write_file};

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod ring_tests;
#[cfg(test)]
mod test_ring;
