//! Features: what is offered of what a back end has, and what a driver may accept.

use casemate_values::Guest;

/// `VIRTIO_F_VERSION_1`: the device is not a legacy one.
pub const VERSION_1: u64 = 1 << 32;
/// `VIRTIO_F_ACCESS_PLATFORM`: the driver uses the platform's DMA interface, which is how Linux
/// comes to bounce buffers through shared memory. A Linux SNP guest refuses a device without it
/// (`virtio_features_ok`). It is a matter between this transport and the driver: a vhost-user back
/// end that is given it expects address translations to be sent.
pub const ACCESS_PLATFORM: u64 = 1 << 33;

/// Bits that belong to the kind of device: 0 to 23, and 50 to 63 (virtio 1.2, section 6).
///
/// Of the rest none but the two above is offered, whatever a back end says: no indirect tables and
/// no event index (parsers of guest memory that have to earn their place), no packed ring, no
/// notification data, no ring reset; bits 26 and 30 mean something else in vhost-user.
const OF_THE_DEVICE: u64 = 0x00ff_ffff | !((1 << 50) - 1);

/// What the driver is offered.
pub(crate) const fn offered(back_end: u64) -> u64 {
    back_end & OF_THE_DEVICE | VERSION_1 | ACCESS_PLATFORM
}

/// What the device is told of what driver and transport agreed on.
pub(crate) const fn forwarded(agreed: u64) -> u64 {
    agreed & !ACCESS_PLATFORM
}

/// What a driver wrote as the features that it accepts: two halves, written one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted([Guest<u32>; 2]);

impl Default for Accepted {
    fn default() -> Self {
        Self([Guest::new(0); 2])
    }
}

impl Accepted {
    /// Writes half `select`; any other than 0 and 1 has no bits.
    pub(crate) fn write(&mut self, select: Guest<u32>, half: Guest<u32>) {
        let [low, high] = &mut self.0;
        if select.is(0) {
            *low = half;
        } else if select.is(1) {
            *high = half;
        }
    }

    /// Half `select` as it was written.
    pub(crate) fn half(&self, select: Guest<u32>) -> [u8; 4] {
        let [low, high] = self.0;
        let bytes = |half: Guest<u32>| std::array::from_fn(|at| half.byte(at));
        if select.is(0) {
            bytes(low)
        } else if select.is(1) {
            bytes(high)
        } else {
            [0; 4]
        }
    }

    /// The features, if the device can run with them: nothing that was not offered, and VERSION_1.
    ///
    /// ACCESS_PLATFORM may be left out (virtio 1.2, 6.2 lets a device go on): the device reaches
    /// memory by the same addresses either way.
    pub(crate) fn agree(&self, offered: u64) -> Option<u64> {
        let ([low, high], [l, h]) = (self.0, halves(offered));
        if !low.has_only(l.into()) || !high.has_only(h.into()) {
            return None;
        }
        let bytes = std::array::from_fn(|at| match at {
            0..4 => low.byte(at),
            _ => high.byte(at - 4),
        });
        let agreed = u64::from_le_bytes(bytes);
        (agreed & VERSION_1 != 0).then_some(agreed)
    }
}

/// Low and high half.
pub(crate) fn halves(features: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = features.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// Half `select` of `features`; any other than 0 and 1 has no bits.
pub(crate) fn half(features: u64, select: Guest<u32>) -> [u8; 4] {
    let [low, high] = halves(features);
    let half = match () {
        () if select.is(0) => low,
        () if select.is(1) => high,
        () => 0,
    };
    half.to_le_bytes()
}
