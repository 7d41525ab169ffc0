//! Device models inside the VMM: the few that need no host resource beyond an event or a byte
//! queue.
//!
//! Everything with a host file, socket or disk behind it is a process of its own; here is only the
//! PCI function that the guest reaches it by. A model here allocates nothing after construction,
//! never blocks, and answers every access.

pub mod console;
pub mod pci_root;
pub mod platform;
pub mod serial;
pub mod virtio_pci;

pub use console::ConsoleQueue;
pub use pci_root::PciRoot;
pub use platform::PlatformRegisters;
pub use serial::Uart;
pub use virtio_pci::{VirtioPci, Wires};

/// Interrupt line of the serial port.
pub const SERIAL_GSI: u32 = 4;
/// Interrupt line of the power button's event.
pub const POWER_BUTTON_GSI: u32 = 9;
/// First port of the serial port.
pub const SERIAL_PORT: u16 = 0x3f8;
