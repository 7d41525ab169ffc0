//! Features and configuration space (virtio 1.2, 5.2.3 and 5.2.4).

use crate::facts::Facts;
use crate::request::MAX_SECTORS;

/// `seg_max` says how many segments a request has.
const SEG_MAX: u64 = 1 << 2;
/// Nothing can be written.
pub(crate) const RO: u64 = 1 << 5;
/// `blk_size` in the configuration says what a driver has to align to.
const BLK_SIZE: u64 = 1 << 6;
/// There is a flush, so a driver that takes it is content with the page cache until then.
pub(crate) const FLUSH: u64 = 1 << 9;
/// There is more than one queue.
const MQ: u64 = 1 << 12;
/// There is a discard.
pub(crate) const DISCARD: u64 = 1 << 13;
/// There is a write-zeroes.
pub(crate) const WRITE_ZEROES: u64 = 1 << 14;

/// Data segments of a request: with header and status they fit a queue of 128, which is what
/// firmware uses, without indirect descriptors.
const SEGMENTS: u32 = 126;

/// Bytes of `struct virtio_blk_config` up to what is offered here.
const BYTES: usize = 60;

/// The features that an image of these facts offers, beyond those of every device.
pub(crate) const fn features(facts: &Facts) -> u64 {
    let mut features = SEG_MAX | BLK_SIZE | FLUSH;
    if facts.read_only {
        features |= RO;
    }
    if facts.queues > 1 {
        features |= MQ;
    }
    if facts.discard {
        features |= DISCARD;
    }
    if facts.write_zeroes {
        features |= WRITE_ZEROES;
    }
    features
}

/// The configuration space, as the driver reads it: little endian, fixed while the device lives.
pub(crate) fn space(facts: &Facts) -> [u8; BYTES] {
    let mut space = [0; BYTES];
    let mut put = |at: usize, bytes: &[u8]| {
        space.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    };
    put(0, &facts.sectors.to_le_bytes());
    put(12, &SEGMENTS.to_le_bytes());
    put(20, &facts.block_size.to_le_bytes());
    put(34, &facts.queues.to_le_bytes());
    if facts.discard {
        put(36, &MAX_SECTORS.to_le_bytes());
        put(40, &1_u32.to_le_bytes());
        put(44, &(facts.block_size / 512).to_le_bytes());
    }
    if facts.write_zeroes {
        put(48, &MAX_SECTORS.to_le_bytes());
        put(52, &1_u32.to_le_bytes());
        put(56, &[u8::from(facts.discard)]);
    }
    space
}
