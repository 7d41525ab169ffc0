//! What a device is: what the host says of it before the guest runs, never changed afterwards.

/// Most queues of a function: one bit each in a [`QueueSet`](crate::QueueSet), with room.
pub const MAX_QUEUES: u16 = 16;
/// Largest queue: what `vhost`'s back ends take, and 64 KiB of used ring at most.
pub const MAX_QUEUE_SIZE: u16 = 1024;
/// Most bytes of device configuration: the largest of virtio 1.2's devices here has less than 100.
pub const MAX_CONFIG: usize = 256;

/// What a function is to the guest, fixed before the guest runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The kind of device, as virtio numbers them (section 5): 2 is block.
    pub kind: u16,
    /// PCI class, subclass and interface: `0x01_00_00` is a mass storage controller.
    pub class: u32,
    /// Features that the back end offers.
    pub features: u64,
    /// Queues, 1 to [`MAX_QUEUES`].
    pub queues: u16,
    /// Largest size of each queue, a power of two up to [`MAX_QUEUE_SIZE`].
    pub queue_size: u16,
    /// The device's configuration, read once; a guest can only read it.
    pub config: Vec<u8>,
    /// Guest physical address of the BAR.
    pub bar: u32,
}

/// Why there is no such function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Too many queues, or none.
    #[error("a device of {0} queues: 1 to {MAX_QUEUES} are possible")]
    Queues(u16),
    /// A size that no queue has.
    #[error("queues of {0} entries: a power of two up to {MAX_QUEUE_SIZE} is possible")]
    QueueSize(u16),
    /// More configuration than there is room for.
    #[error("{0} bytes of device configuration: at most {MAX_CONFIG} are possible")]
    Config(usize),
    /// An address that no BAR of this size can have.
    #[error("a BAR at {0:#x}, which is not aligned to its size")]
    Bar(u32),
    /// A device id beyond those that PCI ids have room for.
    #[error("a device of kind {0}: 1 to 63 are possible")]
    Kind(u16),
}

impl Identity {
    pub(crate) fn check(&self) -> Result<(), IdentityError> {
        // PCI device ids 0x1040 to 0x107f are those of virtio 1 (4.1.2).
        if !(1..0x40).contains(&self.kind) {
            return Err(IdentityError::Kind(self.kind));
        }
        if !(1..=MAX_QUEUES).contains(&self.queues) {
            return Err(IdentityError::Queues(self.queues));
        }
        if !self.queue_size.is_power_of_two() || self.queue_size > MAX_QUEUE_SIZE {
            return Err(IdentityError::QueueSize(self.queue_size));
        }
        if self.config.len() > MAX_CONFIG {
            return Err(IdentityError::Config(self.config.len()));
        }
        if self.bar == 0 || !u64::from(self.bar).is_multiple_of(crate::layout::BAR_SIZE) {
            return Err(IdentityError::Bar(self.bar));
        }
        Ok(())
    }
}
