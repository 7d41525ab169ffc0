//! What a driver may not do, done once: virtio 1.2's "driver MUST", each broken from where a guest
//! stands, through configuration space and BAR. After each the device has an answer to every read,
//! a proper driver that begins anew with a reset gets it running, and nothing was asked of the
//! device that the driver had not the right to ask.
//!
//! Cannot tell: what KVM, a device process or Linux make of it.
#![allow(
    unused_must_use,
    dropping_copy_types,
    let_underscore_drop,
    reason = "most steps are there for what comes after them"
)]

mod driver;
mod life;
mod pci;
mod queues;
mod vectors;
