//! The header of virtio before every frame (virtio 1.2, 5.1.6), and what of it is let through.
//!
//! The kernel makes packets of what a guest writes here: where a checksum begins, how a large
//! packet is cut. It checks that, too; what it need not be asked is not given to it.

use crate::frame::{Frame, Ip, Transport};
use std::net::IpAddr;

/// Bytes of the header: with VERSION_1, which is always there, always with a number of buffers.
pub const HEADER: usize = 12;
/// The largest frame: a packet of 64 KiB with an Ethernet header and a VLAN's tag.
pub const MAX_FRAME: usize = 65_535 + 14 + 4;
/// The smallest: an Ethernet header.
pub const MIN_FRAME: usize = 14;
/// Least size of a segment. Linux goes no lower for TCP (`TCP_MIN_SND_MSS`); without a floor one
/// frame of a guest could be tens of thousands for the host.
const MIN_SEGMENT: u16 = 48;
/// Most segments of one datagram, as the kernel's `UDP_MAX_SEGMENTS`.
const MAX_DATAGRAMS: usize = 128;

/// Features of a network device (virtio 1.2, 5.1.3, and 1.3 for the last three).
pub mod feature {
    /// The device completes checksums.
    pub const CSUM: u64 = 1;
    /// The driver takes packets without a complete checksum.
    pub const GUEST_CSUM: u64 = 1 << 1;
    /// The device names an MTU.
    pub const MTU: u64 = 1 << 3;
    /// The device has an address.
    pub const MAC: u64 = 1 << 5;
    /// The driver takes large packets: TCP over IPv4.
    pub const GUEST_TSO4: u64 = 1 << 7;
    /// The same over IPv6.
    pub const GUEST_TSO6: u64 = 1 << 8;
    /// The device cuts large packets: TCP over IPv4.
    pub const HOST_TSO4: u64 = 1 << 11;
    /// The same over IPv6.
    pub const HOST_TSO6: u64 = 1 << 12;
    /// A packet for the guest may lie in several buffers.
    pub const MRG_RXBUF: u64 = 1 << 15;
    /// The driver takes large packets: UDP over IPv4.
    pub const GUEST_USO4: u64 = 1 << 54;
    /// The same over IPv6.
    pub const GUEST_USO6: u64 = 1 << 55;
    /// The device cuts large packets: UDP.
    pub const HOST_USO: u64 = 1 << 56;

    /// What needs nothing of a TAP.
    pub const ALWAYS: u64 = MTU | MAC | MRG_RXBUF;
    /// What a TAP can do, or cannot.
    pub const OFFLOADS: u64 = CSUM
        | GUEST_CSUM
        | GUEST_TSO4
        | GUEST_TSO6
        | HOST_TSO4
        | HOST_TSO6
        | GUEST_USO4
        | GUEST_USO6
        | HOST_USO;
    /// Everything.
    pub const ALL: u64 = ALWAYS | OFFLOADS;
}

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`, `VIRTIO_NET_HDR_F_DATA_VALID`.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

/// Kinds of segmentation (5.1.6): none, TCP over each IP, UDP.
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;

/// The header as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    flags: u8,
    gso: u8,
    length: u16,
    segment: u16,
    start: u16,
    offset: u16,
}

/// A header that says what can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked([u8; HEADER]);

impl Checked {
    /// A header that asks the kernel for nothing.
    pub const NOTHING: Self = Self([0; HEADER]);

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; HEADER] {
        &self.0
    }

    /// Whether the kernel, when it does what this asks for, leaves this packet what it was read as:
    /// it writes a checksum where the packet's transport has one and nowhere else, and cuts it as
    /// what it is.
    ///
    /// The kernel takes the place of the sum from the header alone (`skb_checksum_help` writes two
    /// bytes at `csum_start + csum_offset`): one elsewhere would be another address or another
    /// port, of the guest's choice, behind the filter that admitted the first.
    #[must_use]
    pub fn leaves(&self, packet: &Ip) -> bool {
        let Header { flags, gso, start, offset, .. } = Header::read(&self.0);
        if flags & NEEDS_CSUM == 0 {
            return gso == GSO_NONE;
        }
        // RFC 9293, 3.1; RFC 768.
        let (field, kinds) = match (packet.transport, packet.destination) {
            (Transport::Tcp(..), IpAddr::V4(_)) => (16, [GSO_NONE, GSO_TCPV4]),
            (Transport::Tcp(..), IpAddr::V6(_)) => (16, [GSO_NONE, GSO_TCPV6]),
            (Transport::Udp(..), _) => (6, [GSO_NONE, GSO_UDP_L4]),
            // No driver leaves this sum to its device.
            (Transport::Icmp(_), _) => return false,
        };
        usize::from(start) == packet.begins && offset == field && kinds.contains(&gso)
    }
}

impl Header {
    /// The header in these bytes. The number of buffers is the device's to say.
    #[must_use]
    pub const fn read(bytes: &[u8; HEADER]) -> Self {
        let [flags, gso, l0, l1, g0, g1, s0, s1, o0, o1, _, _] = *bytes;
        Self {
            flags,
            gso,
            length: u16::from_le_bytes([l0, l1]),
            segment: u16::from_le_bytes([g0, g1]),
            start: u16::from_le_bytes([s0, s1]),
            offset: u16::from_le_bytes([o0, o1]),
        }
    }

    const fn write(self, buffers: u16) -> Checked {
        let Self { flags, gso, length, segment, start, offset } = self;
        let ([l0, l1], [g0, g1]) = (length.to_le_bytes(), segment.to_le_bytes());
        let ([s0, s1], [o0, o1]) = (start.to_le_bytes(), offset.to_le_bytes());
        let [n0, n1] = buffers.to_le_bytes();
        Checked([flags, gso, l0, l1, g0, g1, s0, s1, o0, o1, n0, n1])
    }

    /// What of a guest's header goes to the host, for a frame of `len` bytes, which its driver
    /// sends with these features; None where it says what cannot be.
    #[must_use]
    pub fn of_guest(self, frame: &Frame, len: usize, features: u64) -> Option<Checked> {
        // Flags that are not known are passed over (5.1.6.2.2); a driver has no other than this.
        let has = |mask| features & mask == mask;
        let sums = self.flags & NEEDS_CSUM != 0;
        if !sums {
            let plain = Self { flags: 0, gso: 0, length: 0, segment: 0, start: 0, offset: 0 };
            return (self.gso == GSO_NONE).then(|| plain.write(0));
        }
        let (start, field) = (usize::from(self.start), usize::from(self.offset));
        // Inside a packet of IP. The header of the link has no such sum, nor its tags, nor ARP: a
        // sum there would be another address or another kind of frame than was looked at.
        let is_ip = frame.is_ipv4() || frame.is_ipv6();
        let end = start.checked_add(field)?.checked_add(2)?;
        if !has(feature::CSUM) || !is_ip || start < frame.begins() || end > len {
            return None;
        }
        let sum = Self { flags: NEEDS_CSUM, length: 0, segment: 0, ..self };
        let (needed, is_of_kind, least) = match self.gso {
            GSO_NONE => return Some(sum.write(0)),
            GSO_TCPV4 => (feature::HOST_TSO4, frame.is_ipv4(), MIN_SEGMENT),
            GSO_TCPV6 => (feature::HOST_TSO6, frame.is_ipv6(), MIN_SEGMENT),
            GSO_UDP_L4 => (feature::HOST_USO, is_ip, 1),
            _ => return None,
        };
        let datagrams = len.checked_sub(start)?.div_ceil(usize::from(self.segment).max(1));
        let too_many = self.gso == GSO_UDP_L4 && datagrams > MAX_DATAGRAMS;
        // How long headers are is a hint (5.1.6.2): it is not passed on, and the kernel looks.
        let cut = Self { segment: self.segment, ..sum };
        let good = has(needed) && is_of_kind && self.segment >= least && !too_many;
        good.then(|| cut.write(0))
    }

    /// What of the kernel's header the guest is told, with the features that its driver took; None
    /// where the driver cannot take such a frame.
    #[must_use]
    pub fn of_host(self, features: u64, buffers: u16) -> Option<Checked> {
        let has = |mask| features & mask == mask;
        if !has(feature::GUEST_CSUM) {
            let plain = Self { flags: 0, gso: 0, length: 0, segment: 0, start: 0, offset: 0 };
            let whole = self.flags & NEEDS_CSUM == 0 && self.gso == GSO_NONE;
            return whole.then(|| plain.write(buffers));
        }
        let good = match self.gso {
            GSO_NONE => true,
            GSO_TCPV4 => has(feature::GUEST_TSO4),
            GSO_TCPV6 => has(feature::GUEST_TSO6),
            GSO_UDP_L4 => has(feature::GUEST_USO4) || has(feature::GUEST_USO6),
            _ => false,
        };
        let told = Self { flags: self.flags & (NEEDS_CSUM | DATA_VALID), ..self };
        good.then(|| told.write(buffers))
    }
}

#[cfg(test)]
mod tests {
    use super::{Header, feature};
    use crate::frame::Frame;

    /// An Ethernet header that says IPv4.
    const V4: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];

    fn told(bytes: [u8; 10], len: usize, features: u64) -> Option<[u8; 12]> {
        let mut whole = [0xff; 12];
        whole[..10].copy_from_slice(&bytes);
        let frame = Frame::of(&V4).unwrap();
        Header::read(&whole).of_guest(&frame, len, features).map(|checked| *checked.bytes())
    }

    /// Protects the host's kernel: of what a guest says only what can be reaches it.
    #[test]
    fn of_a_guests_header_only_what_can_be_goes_to_the_host() {
        let all = feature::ALL;
        assert_eq!(told([0, 0, 9, 9, 9, 9, 9, 9, 9, 9], 60, all), Some([0; 12]));
        let sum = [1, 0, 54, 0, 7, 0, 34, 0, 16, 0];
        let kept = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0];
        assert_eq!(told(sum, 60, all), Some(kept));
        let cut = [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0];
        let kept = [1, 1, 0, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0];
        assert_eq!(told(cut, 4000, all), Some(kept));
        let change = |at: usize, to: u8| {
            let mut changed = cut;
            changed[at] = to;
            changed
        };
        for (wrong, len, features) in [
            (sum, 51, all),                             // a sum beyond the frame
            (change(7, 0xff), 4000, all),               // and far beyond
            ([1, 0, 0, 0, 0, 0, 13, 0, 0, 0], 60, all), // in the header of the link
            (sum, 60, all & !feature::CSUM),            // what was not negotiated
            (cut, 4000, all & !feature::HOST_TSO4),
            (change(0, 0), 4000, all),            // cut without a sum
            (change(1, 4), 4000, all),            // IPv6 in a frame of IPv4
            (change(1, 3), 4000, all),            // a kind that was not offered
            (change(1, 0x81), 4000, all),         // with ECN, which was not either
            (change(5, 0), 4000, all).to_small(), // into pieces that are too small
            ([1, 5, 0, 0, 1, 0, 34, 0, 6, 0], 4000, all), // into too many datagrams
        ] {
            assert_eq!(told(wrong, len, features), None, "{wrong:?} {len}");
        }
    }

    trait Small {
        fn to_small(self) -> Self;
    }

    impl Small for ([u8; 10], usize, u64) {
        fn to_small(mut self) -> Self {
            self.0[4] = 47;
            self
        }
    }

    #[test]
    fn a_driver_is_told_of_nothing_that_it_has_not_taken() {
        let header = Header::read(&[1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0]);
        let all = feature::ALL;
        assert_eq!(header.of_host(all, 3).unwrap().bytes()[10..], [3, 0]);
        assert_eq!(header.of_host(all & !feature::GUEST_TSO4, 1), None);
        assert_eq!(header.of_host(0, 1), None);
        let plain = Header::read(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(plain.of_host(0, 1).unwrap().bytes(), &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    }
}
