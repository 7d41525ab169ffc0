//! What a driver asks (virtio 1.2, 5.2.6), parsed into what is done.
//!
//! A parsed request is inside the image and aligned: [`Extent`] is made here only.

use crate::facts::Facts;
use casemate_device_queue::{GuestMemory, Readable};
use casemate_values::Guest;

/// Sectors of one discard or write-zeroes at most: 256 MiB. On a device that has to write the zeros
/// it is what one request can keep a queue busy with.
pub const MAX_SECTORS: u32 = 1 << 19;

/// Bytes of a sector, the unit of every number here.
const SECTOR: u64 = 512;

/// What went wrong, as the driver is told (virtio 1.2, 5.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `VIRTIO_BLK_S_IOERR`: it was tried, or may not be asked of this image.
    Failed = 1,
    /// `VIRTIO_BLK_S_UNSUPP`: no such request was offered.
    Unsupported = 2,
}

/// Bytes of the image: inside it, whole blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    offset: u64,
    len: u64,
}

impl Extent {
    /// Where it begins, in bytes of the image.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.offset
    }

    /// How many; never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "an extent is never empty")]
    pub const fn len(self) -> u64 {
        self.len
    }

    fn new(facts: &Facts, sector: Guest<u64>, len: u64) -> Option<Self> {
        // Not `sector * 512 <= bytes`: that product wraps.
        let last = facts.sectors.checked_sub(1)?;
        let offset = sector.at_most(last, "the sectors of the image").ok()?.checked_mul(SECTOR)?;
        let inside = offset.checked_add(len)? <= facts.bytes();
        let block = u64::from(facts.block_size);
        let whole = offset.is_multiple_of(block) && len.is_multiple_of(block) && len > 0;
        (inside && whole).then_some(Self { offset, len })
    }
}

/// A request that is wholly inside the image and fits what was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Read the extent into all writable bytes before the status.
    Read(Extent),
    /// Write all readable bytes after the header to the extent.
    Write(Extent),
    /// Make what was written last.
    Flush,
    /// Tell the serial number, 20 bytes.
    Serial,
    /// Forget the extent: reading it may give anything, and here gives zeros.
    Discard(Extent),
    /// Make the extent zero; with a hole, where that may be.
    Zero(Extent, bool),
}

/// Parses a request: its header, and for those that have one the segment behind it. `room` is how
/// much the device may write before the status.
pub(crate) fn parse<M: GuestMemory>(
    facts: &Facts,
    readable: &mut Readable<'_, M>,
    room: u32,
) -> Result<Asked, Refusal> {
    let header: [u8; 16] = readable.take().ok_or(Refusal::Failed)?;
    let [t0, t1, t2, t3, _, _, _, _, s0, s1, s2, s3, s4, s5, s6, s7] = header;
    let kind = Guest::new(u32::from_le_bytes([t0, t1, t2, t3]));
    let sector = Guest::new(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]));
    let extent = |len: u32| Extent::new(facts, sector, len.into()).ok_or(Refusal::Failed);
    // Bytes in a direction in which this type has none mean that driver and device do not mean the
    // same.
    let none = |bytes: u32| if bytes == 0 { Ok(()) } else { Err(Refusal::Failed) };
    let asked = match kind.at_most(Kind::LAST, "the types of requests").unwrap_or(u64::MAX) {
        Kind::IN => Asked::Read(extent(room)?),
        Kind::OUT => {
            none(room)?;
            writable(facts)?;
            return Ok(Asked::Write(extent(readable.len())?));
        }
        Kind::FLUSH => {
            none(room)?;
            Asked::Flush
        }
        Kind::GET_ID => Asked::Serial,
        Kind::DISCARD if facts.discard => {
            none(room)?;
            let (extent, flags) = segment(facts, readable)?;
            // No flag has a meaning here (5.2.6.2: "MUST be set to zero").
            if !flags.is(0) {
                return Err(Refusal::Unsupported);
            }
            Asked::Discard(extent)
        }
        Kind::WRITE_ZEROES if facts.write_zeroes => {
            none(room)?;
            let (extent, flags) = segment(facts, readable)?;
            if !flags.has_only(UNMAP) {
                return Err(Refusal::Unsupported);
            }
            Asked::Zero(extent, flags.has(UNMAP) && facts.discard)
        }
        _ => return Err(Refusal::Unsupported),
    };
    none(readable.len())?;
    Ok(asked)
}

/// Types of requests (virtio 1.2, 5.2.6), as the header has them.
struct Kind;

impl Kind {
    const IN: u64 = 0;
    const OUT: u64 = 1;
    const FLUSH: u64 = 4;
    const GET_ID: u64 = 8;
    const DISCARD: u64 = 11;
    const WRITE_ZEROES: u64 = 13;
    const LAST: u64 = Self::WRITE_ZEROES;
}

/// `unmap`: the zeros need no place on the disk.
const UNMAP: u64 = 1;

fn writable(facts: &Facts) -> Result<(), Refusal> {
    if facts.read_only { Err(Refusal::Failed) } else { Ok(()) }
}

/// The one segment of a discard or write-zeroes: sector, sectors, flags.
fn segment<M: GuestMemory>(
    facts: &Facts,
    readable: &mut Readable<'_, M>,
) -> Result<(Extent, Guest<u32>), Refusal> {
    let segment: [u8; 16] = readable.take().ok_or(Refusal::Failed)?;
    let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, f0, f1, f2, f3] = segment;
    let sector = Guest::new(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]));
    let count = Guest::new(u32::from_le_bytes([n0, n1, n2, n3]));
    let count = count.at_most(MAX_SECTORS.into(), "the sectors of one request");
    let len = count.map_err(|_| Refusal::Failed)?.checked_mul(SECTOR).ok_or(Refusal::Failed)?;
    let extent = Extent::new(facts, sector, len).ok_or(Refusal::Failed)?;
    writable(facts)?;
    Ok((extent, Guest::new(u32::from_le_bytes([f0, f1, f2, f3]))))
}
