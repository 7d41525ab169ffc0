//! virtio-pci as a guest sees it (virtio 1.2, section 4.1): a PCI function with its configuration
//! space, the registers of its BAR, MSI-X, and the life cycle of a device.
//!
//! Nothing here touches a guest's memory, KVM or a device process. A [`Function`] takes the guest's
//! accesses and answers each at once; what has to be done elsewhere it gives back as data:
//! [`Effects`] for the thread that made the access, and a [`Request`] for the one thread that talks
//! to the device. So no vCPU ever waits for a device: the driver learns by the status register that
//! a reset is done, as Linux expects (`vp_reset` polls it).
//!
//! What is deliberately not there:
//! - No legacy registers, no INTx, no hot-plug, no second BAR, no power management: each would be
//!   one more thing for a guest to break, and stock Linux asks for none of them.
//! - No function-level reset: its capability is not listed, so no driver may ask for one.
//! - `VIRTIO_PCI_CAP_PCI_CFG`, the window through which firmware reaches a BAR without memory
//!   accesses. The specification (4.1.4.9) wants it of every device. There is no firmware here
//!   whose accesses could not reach the BAR, Linux does not look for it, and others had to mend
//!   theirs again and again; a second way to every register is not worth that.
//! - Bits of the MSI-X pending array: the device's interrupts go from its process to KVM without
//!   passing here, so that a masked one is pending cannot be known. The array reads as zeros; when
//!   a vector is unmasked, its queues are signalled once, so that none is lost.
#![forbid(unsafe_code)]

mod common;
mod config_space;
mod effects;
mod features;
mod function;
mod identity;
mod layout;
mod lifecycle;
mod msix;
mod ring;
#[cfg(test)]
mod tests;

pub use effects::{Activation, Effects, QueueSet, Request, Source, Ticket};
pub use features::{ACCESS_PLATFORM, VERSION_1};
pub use function::Function;
pub use identity::{Identity, IdentityError, MAX_CONFIG, MAX_QUEUE_SIZE, MAX_QUEUES};
pub use layout::{BAR_SIZE, doorbell};
pub use lifecycle::status;
pub use msix::Message;
pub use ring::Ring;
