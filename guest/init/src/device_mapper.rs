//! Requests of the device mapper, as bytes: `struct dm_ioctl` and `struct dm_target_spec` of
//! `linux/dm-ioctl.h`, which every request is one buffer of.
//!
//! By hand, since it is one device with one target, and what a library would read from the disk to
//! make its table must not be read: all of it is the host's.

/// `sizeof(struct dm_ioctl)`: it is part of the request's number.
pub const HEAD: usize = 312;
/// Where a target begins: `struct dm_ioctl`, up to the next multiple of 8.
const TARGET: usize = HEAD;
/// `sizeof(struct dm_target_spec)`.
const SPEC: usize = 40;
/// A whole buffer: room for a target's parameters of [`MAX_PARAMETERS`] bytes.
pub const SIZE: usize = 2048;
/// Longest parameters, without their final zero.
pub const MAX_PARAMETERS: usize = SIZE - TARGET - SPEC - 1;

/// Version of the interface that is spoken: 4.0.0, which every kernel since 2.6 does.
const VERSION: [u32; 3] = [4, 0, 0];
/// The device is read-only.
const READ_ONLY: u32 = 1;

/// Numbers of requests (`DM_DEV_CREATE_CMD` and so on).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Request {
    /// Makes a device without a table.
    Create = 3,
    /// Resumes a device, with the table that was loaded last.
    Resume = 6,
    /// Loads a table beside the one that is in force.
    Load = 9,
}

/// What a device is made of: one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'t> {
    /// Its kind, such as `verity`.
    pub kind: &'t str,
    /// First sector of 512 bytes of the device that it is for.
    pub start: u64,
    /// How many sectors.
    pub sectors: u64,
    /// What it is told.
    pub parameters: &'t str,
}

/// A buffer for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffer(pub [u8; SIZE]);

/// Offsets in `struct dm_ioctl`.
mod field {
    pub const DATA_SIZE: usize = 12;
    pub const DATA_START: usize = 16;
    pub const TARGET_COUNT: usize = 20;
    pub const FLAGS: usize = 28;
    pub const DEVICE: usize = 40;
    pub const NAME: usize = 48;
    /// Its size, final zero included (`DM_NAME_LEN`).
    pub const NAME_SIZE: usize = 128;
}

impl Buffer {
    /// A request without a target for the device `name`; None for a name that is too long or that
    /// the kernel would change (a slash, a zero).
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() >= field::NAME_SIZE || !name.bytes().all(good) {
            return None;
        }
        let mut buffer = Self([0; SIZE]);
        for (index, number) in VERSION.into_iter().enumerate() {
            buffer.put(index * 4, &number.to_le_bytes());
        }
        buffer.number(field::DATA_SIZE, SIZE);
        buffer.number(field::DATA_START, TARGET);
        buffer.put(field::NAME, name.as_bytes());
        Some(buffer)
    }

    /// The same with one read-only target; None for words that have no room.
    #[must_use]
    pub fn with_target(mut self, target: &Target<'_>) -> Option<Self> {
        const KIND_SIZE: usize = 16;
        let Target { kind, start, sectors, parameters } = target;
        let fits = kind.len() < KIND_SIZE && parameters.len() <= MAX_PARAMETERS;
        if !fits || [kind, parameters].iter().any(|text| text.contains('\0')) {
            return None;
        }
        self.put(field::TARGET_COUNT, &1u32.to_le_bytes());
        self.put(field::FLAGS, &READ_ONLY.to_le_bytes());
        // sector_start, length, status 0, next, target_type, then the parameters.
        self.put(TARGET, &start.to_le_bytes());
        self.put(TARGET + 8, &sectors.to_le_bytes());
        let next = (SPEC + parameters.len() + 1).next_multiple_of(8);
        self.number(TARGET + 20, next);
        self.put(TARGET + 24, kind.as_bytes());
        self.put(TARGET + SPEC, parameters.as_bytes());
        Some(self)
    }

    /// The minor number of the device that an answer names (`huge_encode_dev`).
    #[must_use]
    pub fn minor(&self) -> u32 {
        let device = self.0.get(field::DEVICE..).and_then(<[u8]>::first_chunk);
        let device = u64::from_le_bytes(device.copied().unwrap_or_default());
        let low = device & 0xff;
        let high = device >> 12 & 0xfff_ff00;
        u32::try_from(low | high).unwrap_or(u32::MAX)
    }

    fn number(&mut self, at: usize, value: usize) {
        self.put(at, &u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
    }

    /// Every place is inside: offsets are constants, lengths were compared with what there is.
    fn put(&mut self, at: usize, bytes: &[u8]) {
        let to = at.checked_add(bytes.len()).and_then(|end| self.0.get_mut(at..end));
        debug_assert!(to.is_some(), "{at}");
        if let Some(to) = to {
            to.copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target<'_> =
        Target { kind: "verity", start: 0, sectors: 24, parameters: "1 254:0" };

    #[test]
    fn a_table_lies_where_the_kernels_structures_have_it() {
        let table = Buffer::new("root").unwrap().with_target(&TARGET).unwrap();
        let number = |at: usize| u32::from_le_bytes(table.0[at..at + 4].try_into().unwrap());
        assert_eq!([number(0), number(4), number(8)], [4, 0, 0]);
        assert_eq!((number(12), number(16), number(20), number(28)), (2048, 312, 1, 1));
        assert_eq!(&table.0[48..53], b"root\0");
        assert_eq!(&table.0[320..328], &24u64.to_le_bytes());
        assert_eq!(number(332), 48, "the next target would begin here");
        assert_eq!(&table.0[336..343], b"verity\0");
        assert_eq!(&table.0[352..360], b"1 254:0\0");
    }

    #[test]
    fn what_has_no_room_is_none() {
        assert!(Buffer::new("").is_none() && Buffer::new("a/b").is_none());
        assert!(Buffer::new(&"x".repeat(128)).is_none());
        let table = |kind: &str, parameters: &str| {
            let target = Target { kind, parameters, ..TARGET };
            Buffer::new("root").and_then(|buffer| buffer.with_target(&target))
        };
        assert!(table("verity", &"x".repeat(MAX_PARAMETERS)).is_some());
        assert!(table("verity", &"x".repeat(MAX_PARAMETERS + 1)).is_none());
        assert!(table("sixteen-letters-", "").is_none() && table("verity", "a\0b").is_none());
        // A description of an initrd may have as much.
        assert!(table("verity", &"x".repeat(crate::workload::MAX_PARAMETERS)).is_some());
    }

    #[test]
    fn the_minor_number_of_an_answer_is_read_in_both_its_parts() {
        let mut buffer = Buffer::new("root").unwrap();
        buffer.0[40..48].copy_from_slice(&(254u64 << 8 | 7).to_le_bytes());
        assert_eq!(buffer.minor(), 7);
        buffer.0[40..48].copy_from_slice(&(1u64 << 20 | 254 << 8 | 7).to_le_bytes());
        assert_eq!(buffer.minor(), 0x107);
    }
}
