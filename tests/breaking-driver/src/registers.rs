//! The common configuration registers (virtio 1.2, 4.1.4.3): offset and width.

/// A register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub usize, pub usize);

pub const DEVICE_FEATURE_SELECT: Register = Register(0x00, 4);
pub const DEVICE_FEATURE: Register = Register(0x04, 4);
pub const DRIVER_FEATURE_SELECT: Register = Register(0x08, 4);
pub const DRIVER_FEATURE: Register = Register(0x0c, 4);
pub const CONFIG_VECTOR: Register = Register(0x10, 2);
pub const QUEUES: Register = Register(0x12, 2);
pub const STATUS: Register = Register(0x14, 1);
pub const GENERATION: Register = Register(0x15, 1);
pub const QUEUE_SELECT: Register = Register(0x16, 2);
pub const QUEUE_SIZE: Register = Register(0x18, 2);
pub const QUEUE_VECTOR: Register = Register(0x1a, 2);
pub const QUEUE_ENABLE: Register = Register(0x1c, 2);
pub const NOTIFY_OFF: Register = Register(0x1e, 2);
/// Low half; the high one is 4 further on.
pub const DESCRIPTORS: Register = Register(0x20, 4);
pub const AVAILABLE: Register = Register(0x28, 4);
pub const USED: Register = Register(0x30, 4);

/// Bits of the status register (2.1).
pub const ACKNOWLEDGE: u64 = 1;
pub const DRIVER: u64 = 2;
pub const DRIVER_OK: u64 = 4;
pub const FEATURES_OK: u64 = 8;
pub const NEEDS_RESET: u64 = 64;
pub const FAILED: u64 = 128;

/// Features (5.2.3 and 6).
pub const RO: u64 = 1 << 5;
pub const VERSION_1: u64 = 1 << 32;
