//! Sets of network end points: address ranges, ports, protocol.
//!
//! For each address family and protocol the set is a sorted list of disjoint port ranges, each with
//! sorted disjoint address ranges; neighbours with equal addresses are joined. So equal sets are
//! equal values, whatever blocks they were written as. IPv4-mapped IPv6 addresses count as IPv4.

use super::{Lattice, egress_cover};
use std::net::IpAddr;

/// Transport protocol of an end point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP, with ports.
    Tcp,
    /// UDP, with ports.
    Udp,
    /// ICMP and ICMPv6; the port is zero.
    Icmp,
}

impl Protocol {
    /// Names in documents and inputs, with what they name.
    pub const ALL: [(&'static str, Self); 3] =
        [("tcp", Self::Tcp), ("udp", Self::Udp), ("icmp", Self::Icmp)];

    /// The name in documents and inputs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Tcp => 0,
            Self::Udp => 1,
            Self::Icmp => 2,
        }
    }
}

/// One destination of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Address, of either family; an IPv4-mapped one counts as IPv4.
    pub address: IpAddr,
    /// Port, zero for ICMP.
    pub port: u16,
    /// Transport protocol, which decides whether `port` means anything.
    pub protocol: Protocol,
}

/// A block of end points: the addresses from `first` to `last`, ports `ports.0` to `ports.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EgressBlock {
    /// First address; decides the family.
    pub first: IpAddr,
    /// Last address, of the same family.
    pub last: IpAddr,
    /// First and last port, both included; (0, 0) for ICMP.
    pub ports: (u16, u16),
    /// Transport protocol of all of them.
    pub protocol: Protocol,
}

/// Ranges of addresses, both ends included, as numbers of 128 bits.
type Addresses = Vec<(u128, u128)>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    ports: (u16, u16),
    addresses: Addresses,
}

/// Admits an end point that lies in one of its blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressSet {
    /// IPv4 TCP, UDP, ICMP, then IPv6.
    planes: [Vec<Segment>; 6],
}

fn number(address: IpAddr) -> (bool, u128) {
    // `::ffff:1.2.3.4` reaches the same host as 1.2.3.4: one address, one place in the set.
    match address.to_canonical() {
        IpAddr::V4(v4) => (false, u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (true, v6.to_bits()),
    }
}

fn address(v6: bool, number: u128) -> IpAddr {
    if v6 {
        IpAddr::V6(number.into())
    } else {
        IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into())
    }
}

fn plane(v6: bool, protocol: Protocol) -> usize {
    protocol.index() + if v6 { 3 } else { 0 }
}

impl EgressSet {
    /// The union of these blocks. Takes time in the square of their number: bound it before.
    #[must_use]
    pub fn new(blocks: &[EgressBlock]) -> Self {
        let mut planes: [Vec<EgressBlock>; 6] = Default::default();
        // A block whose ends are of two families, or the wrong way round, holds nothing; documents
        // refuse it before.
        for block in blocks {
            let ((v6, first), (last_v6, last)) = (number(block.first), number(block.last));
            if v6 == last_v6
                && first <= last
                && let Some(list) = planes.get_mut(plane(v6, block.protocol))
            {
                list.push(*block);
            }
        }
        Self { planes: planes.map(|blocks| segments(&blocks)) }
    }

    /// Whether the end point lies in the set.
    #[must_use]
    pub fn admits(&self, endpoint: &Endpoint) -> bool {
        let (v6, address) = number(endpoint.address);
        let Some(segments) = self.planes.get(plane(v6, endpoint.protocol)) else { return false };
        // Two binary searches: the first port range that does not end before the port, then the
        // same among its addresses.
        let at = segments.partition_point(|s| s.ports.1 < endpoint.port);
        let Some(segment) = segments.get(at) else { return false };
        if segment.ports.0 > endpoint.port {
            return false;
        }
        let at = segment.addresses.partition_point(|r| r.1 < address);
        segment.addresses.get(at).is_some_and(|r| r.0 <= address)
    }

    /// Blocks whose union is the set, in canonical order: few, and perhaps overlapping.
    pub fn blocks(&self) -> impl Iterator<Item = EgressBlock> + '_ {
        let kinds = [false, true].into_iter().flat_map(|v6| Protocol::ALL.map(|(_, p)| (v6, p)));
        kinds.zip(&self.planes).flat_map(|((v6, protocol), segments)| {
            let of_ports: Vec<_> = segments.iter().map(|s| (s.ports, &*s.addresses)).collect();
            egress_cover::cover(&of_ports).into_iter().map(move |block| EgressBlock {
                first: address(v6, block.addresses.0),
                last: address(v6, block.addresses.1),
                ports: block.ports,
                protocol,
            })
        })
    }

    /// An admitted end point, the lowest in the set's order.
    #[must_use]
    pub fn sample(&self) -> Option<Endpoint> {
        let kinds = [false, true].into_iter().flat_map(|v6| Protocol::ALL.map(|(_, p)| (v6, p)));
        kinds.zip(&self.planes).find_map(|((v6, protocol), segments)| {
            let first = segments.first()?;
            let address = address(v6, first.addresses.first()?.0);
            Some(Endpoint { address, port: first.ports.0, protocol })
        })
    }

    /// An end point that `self` admits and `other` does not.
    #[must_use]
    pub fn witness_against(&self, other: &Self) -> Option<Endpoint> {
        self.combine(other, |a, b| a && !b).sample()
    }

    /// What `self` admits and `other` does not.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && !b)
    }

    /// How many addresses of a family can be reached over the port and protocol by which most can,
    /// and one end point of them; `None` when none can.
    #[must_use]
    pub fn widest(&self, v6: bool) -> Option<(u128, Endpoint)> {
        let of_family = Protocol::ALL
            .iter()
            .filter_map(|(_, protocol)| Some((*protocol, self.planes.get(plane(v6, *protocol))?)));
        let all = of_family.flat_map(|(protocol, segments)| {
            segments.iter().filter_map(move |segment| {
                let sizes = segment.addresses.iter().map(|(a, b)| (b - a).saturating_add(1));
                let count = sizes.fold(0u128, u128::saturating_add);
                let (first, last) = segment.addresses.iter().max_by_key(|(a, b)| b - a)?;
                // The middle of the widest range is a better example than its end.
                let address = address(v6, first + (last - first) / 2);
                Some((count, Endpoint { address, port: segment.ports.0, protocol }))
            })
        });
        all.max_by_key(|(count, _)| *count)
    }

    fn combine(&self, other: &Self, op: impl Fn(bool, bool) -> bool + Copy) -> Self {
        let mut planes: [Vec<Segment>; 6] = Default::default();
        // Families and protocols are apart, so every operation is six of the same.
        for ((out, a), b) in planes.iter_mut().zip(&self.planes).zip(&other.planes) {
            *out = sweep(a, b, op);
        }
        Self { planes }
    }
}

fn segments(blocks: &[EgressBlock]) -> Vec<Segment> {
    // Port ranges begin where a block's ports begin, and behind where they end: between two such
    // starts the addresses are the same for every port.
    let mut starts: Vec<u32> = Vec::new();
    for block in blocks {
        starts.extend([u32::from(block.ports.0), u32::from(block.ports.1) + 1]);
    }
    let mut out = Vec::new();
    for_elementary(starts, |ports| {
        let inside = |b: &&EgressBlock| b.ports.0 <= ports.0 && ports.1 <= b.ports.1;
        let ranges = blocks.iter().filter(inside).map(|b| (number(b.first).1, number(b.last).1));
        push(&mut out, ports, join_ranges(ranges.collect()));
    });
    out
}

/// Calls `visit` with each port range between two neighbouring starts.
fn for_elementary(mut starts: Vec<u32>, mut visit: impl FnMut((u16, u16))) {
    starts.sort_unstable();
    starts.dedup();
    for (low, next) in starts.iter().zip(starts.iter().skip(1)) {
        // `next` may be 65,536, one behind the last port, which is why starts have 32 bits.
        if let (Ok(low), Ok(high)) = (u16::try_from(*low), u16::try_from(next - 1)) {
            visit((low, high));
        }
    }
}

fn push(out: &mut Vec<Segment>, ports: (u16, u16), addresses: Addresses) {
    if addresses.is_empty() {
        return;
    }
    // Neighbours with the same addresses are one: this is what makes the form canonical.
    if let Some(last) = out.last_mut()
        && last.ports.1.checked_add(1) == Some(ports.0)
        && last.addresses == addresses
    {
        last.ports.1 = ports.1;
        return;
    }
    out.push(Segment { ports, addresses });
}

fn join_ranges(mut ranges: Addresses) -> Addresses {
    // Sorted by first address: a range either touches or overlaps the one before, or begins a new
    // one.
    ranges.sort_unstable();
    let mut out: Addresses = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match out.last_mut() {
            // Touching ranges join too (`+ 1`), and behind the greatest number nothing can begin.
            Some(open) if open.1 == u128::MAX || first <= open.1 + 1 => open.1 = open.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

fn sweep(a: &[Segment], b: &[Segment], op: impl Fn(bool, bool) -> bool + Copy) -> Vec<Segment> {
    // As in `segments`, with the starts of both sets.
    let mut starts = Vec::new();
    for segment in a.iter().chain(b) {
        starts.extend([u32::from(segment.ports.0), u32::from(segment.ports.1) + 1]);
    }
    let at = |list: &[Segment], ports: (u16, u16)| -> Addresses {
        let index = list.partition_point(|s| s.ports.1 < ports.0);
        let found = list.get(index).filter(|s| s.ports.0 <= ports.0);
        found.map(|s| s.addresses.clone()).unwrap_or_default()
    };
    let mut out = Vec::new();
    for_elementary(starts, |ports| {
        push(&mut out, ports, sweep_addresses(&at(a, ports), &at(b, ports), op));
    });
    out
}

fn sweep_addresses(a: &Addresses, b: &Addresses, op: impl Fn(bool, bool) -> bool) -> Addresses {
    // Every address where membership in `a` or `b` can change.
    let mut edges: Vec<u128> = Vec::new();
    for (first, last) in a.iter().chain(b) {
        edges.push(*first);
        edges.extend(last.checked_add(1));
    }
    edges.sort_unstable();
    edges.dedup();
    let within = |ranges: &Addresses, x: u128| {
        let at = ranges.partition_point(|r| r.1 < x);
        ranges.get(at).is_some_and(|r| r.0 <= x)
    };
    let mut out = Vec::new();
    // Membership is constant between two edges, so it is asked once at each. The last range is open
    // to the end; there it is inside only when an operand goes that far.
    for (index, first) in edges.iter().enumerate() {
        let last = edges.get(index + 1).map_or(u128::MAX, |next| next - 1);
        if op(within(a, *first), within(b, *first)) {
            out.push((*first, last));
        }
    }
    join_ranges(out)
}

impl Lattice for EgressSet {
    fn top() -> Self {
        let blocks: Vec<EgressBlock> = [false, true]
            .into_iter()
            .flat_map(|v6| {
                Protocol::ALL.map(|(_, protocol)| EgressBlock {
                    first: address(v6, 0),
                    last: address(v6, if v6 { u128::MAX } else { u128::from(u32::MAX) }),
                    ports: (0, u16::MAX),
                    protocol,
                })
            })
            .collect();
        Self::new(&blocks)
    }
    fn bottom() -> Self {
        Self { planes: Default::default() }
    }
    fn meet(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && b)
    }
    fn join(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a || b)
    }
    // Inside, when nothing is left of it without the other.
    fn le(&self, other: &Self) -> bool {
        self.combine(other, |a, b| a && !b).is_empty()
    }
    fn is_empty(&self) -> bool {
        self.planes.iter().all(Vec::is_empty)
    }
}
