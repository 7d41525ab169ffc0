//! What a block device says of itself. Decided where the image is opened, carried to the process
//! that serves it, and nowhere changed.

/// Bytes of a serial number (virtio 1.2, 5.2.6).
pub const SERIAL: usize = 20;

/// Facts of an opened image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Size in sectors of 512 bytes.
    pub sectors: u64,
    /// Bytes of a block: what the driver is told to align to.
    pub block_size: u32,
    /// Queues, each with a thread.
    pub queues: u16,
    /// No request changes the image.
    pub read_only: bool,
    /// The host's page cache is not used.
    pub direct: bool,
    /// Holes can be made in it.
    pub discard: bool,
    /// Ranges of it can be made zero.
    pub write_zeroes: bool,
    /// Serial number, filled up with zeros.
    pub serial: [u8; SERIAL],
}

impl Facts {
    /// Length of what [`Facts::encode`] gives.
    pub const BYTES: usize = 8 + 4 + 2 + 1 + SERIAL;

    /// For the start packet of a process.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let flags = [self.read_only, self.direct, self.discard, self.write_zeroes];
        let flags = flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag));
        let mut bytes = [0; Self::BYTES];
        let parts = self.sectors.to_le_bytes().into_iter();
        let parts = parts.chain(self.block_size.to_le_bytes()).chain(self.queues.to_le_bytes());
        let parts = parts.chain([flags]).chain(self.serial);
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Out of such a packet; None where it is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (sectors, rest) = bytes.split_first_chunk::<8>()?;
        let (block_size, rest) = rest.split_first_chunk::<4>()?;
        let (queues, rest) = rest.split_first_chunk::<2>()?;
        let (flags, serial) = rest.split_first()?;
        let flag = |bit: u8| flags & (1 << bit) != 0;
        (*flags < 16).then_some(())?;
        Some(Self {
            sectors: u64::from_le_bytes(*sectors),
            block_size: u32::from_le_bytes(*block_size),
            queues: u16::from_le_bytes(*queues),
            read_only: flag(0),
            direct: flag(1),
            discard: flag(2),
            write_zeroes: flag(3),
            serial: serial.try_into().ok()?,
        })
    }

    /// Bytes of the image.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.sectors.saturating_mul(512)
    }
}
