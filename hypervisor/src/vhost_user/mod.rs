//! The front end of the vhost-user protocol: how the vmm process talks to a device process.
//!
//! A back end is as hostile as a guest: it parses what the guest writes, so it may be the guest's
//! by now. It is asked one thing at a time, every answer has one length and is waited for once,
//! within [`PATIENCE`], but for that to a reset, which is waited for by who polls; whatever else
//! comes is a breach that ends the conversation. Only the thread that talks to devices waits here,
//! never a vCPU.
//!
//! The messages are our own, a dozen of a few words each, in place of the crate `vhost`'s
//! `Frontend`: that one tries again without end when its socket's time-out has passed
//! (`Endpoint::recv_into_iovec_all` of 0.18), takes descriptors that nobody asked for, and
//! allocates for each message. Here nothing allocates after set-up, an answer is read by
//! `recvfrom`, which has no room for a descriptor, and so the locked process needs no system call
//! that it would not have without devices; but with a back end of others, which takes events by
//! `sendmsg`.

mod error;
mod front_end;
mod message;
mod request;
#[cfg(test)]
mod tests;

pub use error::BackEndError;
pub use front_end::{
    BackEnd, Begin, FIRST_PATIENCE, Greeted, Heard, Offer, PATIENCE, QueueEvents, RingEvents,
    Stopping, Wish,
};
pub use request::Request;
