//! The common configuration registers: `struct virtio_pci_common_cfg` (virtio 1.2, 4.1.4.3).

use crate::ring::{Area, Half};

/// A register, or half of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    DeviceFeatureSelect,
    DeviceFeature,
    DriverFeatureSelect,
    DriverFeature,
    ConfigVector,
    Queues,
    Status,
    Generation,
    QueueSelect,
    QueueSize,
    QueueVector,
    QueueEnable,
    QueueNotifyOff,
    QueueAddress(Area, Half),
}

impl Register {
    /// The register at this offset, for an access of exactly its width: drivers must use no other
    /// (4.1.3.1), and one that tears a register, or reaches over two, has no meaning worth
    /// guessing. 64-bit fields are two of 32 bits.
    pub(crate) const fn at(offset: u64, width: usize) -> Option<Self> {
        use Area::{Available, Descriptors, Used};
        use Half::{High, Low};
        Some(match (offset, width) {
            (0x00, 4) => Self::DeviceFeatureSelect,
            (0x04, 4) => Self::DeviceFeature,
            (0x08, 4) => Self::DriverFeatureSelect,
            (0x0c, 4) => Self::DriverFeature,
            (0x10, 2) => Self::ConfigVector,
            (0x12, 2) => Self::Queues,
            (0x14, 1) => Self::Status,
            (0x15, 1) => Self::Generation,
            (0x16, 2) => Self::QueueSelect,
            (0x18, 2) => Self::QueueSize,
            (0x1a, 2) => Self::QueueVector,
            (0x1c, 2) => Self::QueueEnable,
            (0x1e, 2) => Self::QueueNotifyOff,
            (0x20, 4) => Self::QueueAddress(Descriptors, Low),
            (0x24, 4) => Self::QueueAddress(Descriptors, High),
            (0x28, 4) => Self::QueueAddress(Available, Low),
            (0x2c, 4) => Self::QueueAddress(Available, High),
            (0x30, 4) => Self::QueueAddress(Used, Low),
            (0x34, 4) => Self::QueueAddress(Used, High),
            _ => return None,
        })
    }
}
