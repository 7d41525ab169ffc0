//! The parser of frames: what a guest, or anybody on its network, sends, as far as a decision needs
//! it.
//!
//! It reads a copy of the first bytes of a frame, and is total: what it does not know, and what
//! does not fit its own lengths, is [`Unread`], which a filter denies. It does not guess: a header
//! that can send a packet elsewhere than its destination says (options of IPv4, among them source
//! routes; routing headers of IPv6) is not read either, nor is any fragment, whose first one alone
//! has ports.

use casemate_policy::lattice::{Endpoint, Protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a frame that are looked at. Headers that do not end within them are not read.
pub const HEAD: usize = 256;
/// Extension headers of one packet that are stepped over.
const EXTENSIONS: usize = 4;
/// Tags of VLANs (IEEE 802.1Q) of one frame that are stepped over.
const TAGS: usize = 2;

/// Bytes of the addresses and the kind before a packet, and of each tag.
const LINK: usize = 14;
const TAG: usize = 4;

const VLAN: u16 = 0x8100;
const PROVIDERS_VLAN: u16 = 0x88a8;
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

/// Numbers of protocols (IANA).
const HOP_BY_HOP: u8 = 0;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;
const DESTINATION: u8 = 60;

/// Why a frame was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// A header is cut off, or longer than what is looked at, or its lengths contradict the
    /// frame's.
    Length,
    /// Something other than ARP, IPv4 or IPv6.
    Kind,
    /// A protocol, or a header, whose meaning is not known.
    Protocol,
    /// A fragment.
    Fragment,
    /// Options of IPv4.
    Options,
}

/// The header of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Where it goes on the link.
    pub destination: [u8; 6],
    /// Who says that it sent it.
    pub source: [u8; 6],
    /// What it carries, behind its tags.
    kind: u16,
    tags: usize,
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A question or an answer about who has an address; who says that it asks.
    Arp([u8; 6]),
    /// A packet.
    Ip(Ip),
}

/// A packet of either version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    /// Who says that it sent it.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// Hops that it may take.
    pub hops: u8,
    /// What it carries.
    pub transport: Transport,
    /// Where in its frame that begins.
    pub begins: usize,
}

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP: ports of source and destination.
    Tcp(u16, u16),
    /// UDP: the same.
    Udp(u16, u16),
    /// Messages about packets, and about neighbours.
    Icmp(Icmp),
}

/// A message of ICMP, of either version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// Its type.
    pub kind: u8,
    /// Which echo it is, of a question and of its answer; None for any other message.
    pub echo: Option<u16>,
}

/// A flow of packets between two end points, seen from the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The guest's address.
    pub guest: IpAddr,
    /// The other one.
    pub other: IpAddr,
    /// The guest's port; of ICMP the echo.
    pub port: u16,
    /// The other one; of ICMP 0 for echoes, 1 for the rest.
    pub other_port: u16,
    /// 6, 17, or 1 for ICMP.
    pub protocol: u8,
}

/// The bytes of a header at the start of what is left, and the rest.
fn cut<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), Unread> {
    bytes.split_first_chunk().ok_or(Unread::Length)
}

impl Frame {
    /// The header of the link in front of a frame, with its tags: a tag that were not stepped over
    /// could hide what speaks for another card.
    ///
    /// # Errors
    /// [`Unread::Length`]; [`Unread::Kind`] behind too many tags.
    pub fn of(head: &[u8]) -> Result<Self, Unread> {
        let (destination, rest) = cut(head)?;
        let (source, rest) = cut(rest)?;
        let (mut kind, mut rest) = cut(rest)?;
        let mut tags = 0;
        while matches!(u16::from_be_bytes(*kind), VLAN | PROVIDERS_VLAN) {
            if tags == TAGS {
                return Err(Unread::Kind);
            }
            tags += 1;
            let (_, behind) = cut::<2>(rest)?;
            (kind, rest) = cut(behind)?;
        }
        let kind = u16::from_be_bytes(*kind);
        Ok(Self { destination: *destination, source: *source, kind, tags })
    }

    /// Whether it carries IPv4, behind tags or not.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.kind == IPV4
    }

    /// Whether it carries IPv6, behind tags or not.
    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        self.kind == IPV6
    }

    /// Whether it carries ARP, behind tags or not.
    #[must_use]
    pub const fn is_arp(&self) -> bool {
        self.kind == ARP
    }

    /// Whether its kind is a length (IEEE 802.3, 3.2.6), and what it carries has a header of its
    /// own that says what it is.
    #[must_use]
    pub const fn is_of_802_3(&self) -> bool {
        self.kind < 0x600
    }

    /// Where what it carries begins.
    #[must_use]
    pub const fn begins(&self) -> usize {
        LINK + TAG * self.tags
    }

    /// What a frame of `len` bytes carries, which begins with the bytes of `head`: all of it, or as
    /// much as is looked at.
    ///
    /// # Errors
    /// [`Unread`].
    pub fn content(&self, head: &[u8], len: usize) -> Result<Content, Unread> {
        // A tag leads to another link, of which nobody has said what the guest may reach there.
        if self.tags > 0 {
            return Err(Unread::Kind);
        }
        let (_, packet) = cut::<LINK>(head)?;
        let len = len.checked_sub(LINK).ok_or(Unread::Length)?;
        match self.kind {
            ARP => arp(packet),
            IPV4 => ipv4(packet, len).map(Content::Ip),
            IPV6 => ipv6(packet, len).map(Content::Ip),
            _ => Err(Unread::Kind),
        }
    }
}

/// ARP for IPv4 on Ethernet (RFC 826), a question or an answer.
fn arp(packet: &[u8]) -> Result<Content, Unread> {
    let (what, rest) = cut::<8>(packet)?;
    let ([0, 1, 8, 0, 6, 4, 0, 1] | [0, 1, 8, 0, 6, 4, 0, 2]) = what else {
        return Err(Unread::Protocol);
    };
    let (sender, rest) = cut::<6>(rest)?;
    // The sender's address, and who is looked for.
    cut::<14>(rest)?;
    Ok(Content::Arp(*sender))
}

/// A packet of IPv4 (RFC 791) in `len` bytes, of which the first are here.
fn ipv4(packet: &[u8], len: usize) -> Result<Ip, Unread> {
    let (header, rest) = cut::<20>(packet)?;
    let [first, _, l0, l1, _, _, f0, f1, hops, protocol, _, _, source @ .., d0, d1, d2, d3] =
        *header;
    if first >> 4 != 4 {
        return Err(Unread::Protocol);
    }
    if first & 15 != 5 {
        return Err(Unread::Options);
    }
    // Behind a short packet a link has padding: the packet may be shorter than its frame.
    let total = usize::from(u16::from_be_bytes([l0, l1]));
    let payload = total.checked_sub(20).ok_or(Unread::Length)?;
    if total > len {
        return Err(Unread::Length);
    }
    // More are to come, or others were before; the bit above says that it must not be cut.
    if u16::from_be_bytes([f0, f1]) & 0x3fff != 0 {
        return Err(Unread::Fragment);
    }
    let transport = match protocol {
        ICMP => icmp(rest, payload, [8, 0])?,
        TCP | UDP => ports(protocol, rest, payload)?,
        _ => return Err(Unread::Protocol),
    };
    let source = IpAddr::V4(Ipv4Addr::from(source));
    let destination = IpAddr::V4(Ipv4Addr::new(d0, d1, d2, d3));
    Ok(Ip { source, destination, hops, transport, begins: LINK + 20 })
}

/// A packet of IPv6 (RFC 8200) in `len` bytes, of which the first are here.
fn ipv6(packet: &[u8], len: usize) -> Result<Ip, Unread> {
    let (header, rest) = cut::<8>(packet)?;
    let [first, _, _, _, l0, l1, protocol, hops] = *header;
    let (source, rest) = cut::<16>(rest)?;
    let (destination, rest) = cut::<16>(rest)?;
    if first >> 4 != 6 {
        return Err(Unread::Protocol);
    }
    // 0 is a jumbogram's length, which is in an option.
    let payload = usize::from(u16::from_be_bytes([l0, l1]));
    if payload == 0 || payload.checked_add(40).is_none_or(|total| total > len) {
        return Err(Unread::Length);
    }
    let (transport, extensions) = behind_extensions(protocol, rest, payload)?;
    let begins = LINK + 40 + extensions;
    let source = IpAddr::V6(Ipv6Addr::from(*source));
    let destination = IpAddr::V6(Ipv6Addr::from(*destination));
    Ok(Ip { source, destination, hops, transport, begins })
}

/// Steps over options of IPv6, of the first kind in front only; what is behind them, and how many
/// bytes they have.
fn behind_extensions(
    mut protocol: u8,
    mut rest: &[u8],
    mut payload: usize,
) -> Result<(Transport, usize), Unread> {
    let mut stepped = 0_usize;
    for step in 0..=EXTENSIONS {
        match protocol {
            HOP_BY_HOP if step == 0 => {}
            DESTINATION => {}
            FRAGMENT => return Err(Unread::Fragment),
            TCP | UDP => return Ok((ports(protocol, rest, payload)?, stepped)),
            ICMPV6 => return Ok((icmp(rest, payload, [128, 129])?, stepped)),
            _ => return Err(Unread::Protocol),
        }
        let ([next, eights], _) = cut::<2>(rest)?;
        let len = (usize::from(*eights) + 1) * 8;
        payload = payload.checked_sub(len).ok_or(Unread::Length)?;
        rest = rest.get(len..).ok_or(Unread::Length)?;
        stepped = stepped.saturating_add(len);
        protocol = *next;
    }
    Err(Unread::Protocol)
}

/// The ports of TCP (RFC 9293) or UDP (RFC 768), whose header is whole.
fn ports(protocol: u8, rest: &[u8], payload: usize) -> Result<Transport, Unread> {
    let ([s0, s1, d0, d1], _) = cut(rest)?;
    let (source, destination) = (u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*d0, *d1]));
    let (least, transport) = match protocol {
        TCP => (20, Transport::Tcp(source, destination)),
        _ => (8, Transport::Udp(source, destination)),
    };
    if payload < least || rest.len() < least {
        return Err(Unread::Length);
    }
    Ok(transport)
}

/// A message of ICMP, of the version in which these types are an echo's.
fn icmp(rest: &[u8], payload: usize, echoes: [u8; 2]) -> Result<Transport, Unread> {
    let ([kind, _, _, _, e0, e1, _, _], _) = cut(rest)?;
    if payload < 8 {
        return Err(Unread::Length);
    }
    let echo = echoes.contains(kind).then(|| u16::from_be_bytes([*e0, *e1]));
    Ok(Transport::Icmp(Icmp { kind: *kind, echo }))
}

impl Ip {
    /// Where it goes, in the words of a policy.
    #[must_use]
    pub const fn endpoint(&self) -> Endpoint {
        let (protocol, port) = match self.transport {
            Transport::Tcp(_, port) => (Protocol::Tcp, port),
            Transport::Udp(_, port) => (Protocol::Udp, port),
            Transport::Icmp(_) => (Protocol::Icmp, 0),
        };
        Endpoint { address: self.destination, port, protocol }
    }

    /// The flow that a packet of the guest belongs to.
    #[must_use]
    pub fn flow_out(&self) -> Flow {
        let (protocol, port, other_port) = self.numbers();
        Flow { guest: self.source, other: self.destination, port, other_port, protocol }
    }

    /// The flow that a packet for the guest belongs to.
    #[must_use]
    pub fn flow_in(&self) -> Flow {
        let (protocol, other_port, port) = self.numbers();
        let (port, other_port) = match self.transport {
            // An answer has the number of its question, whoever asked.
            Transport::Icmp(_) => (other_port, port),
            _ => (port, other_port),
        };
        Flow { guest: self.destination, other: self.source, port, other_port, protocol }
    }

    fn numbers(&self) -> (u8, u16, u16) {
        match self.transport {
            Transport::Tcp(source, destination) => (TCP, source, destination),
            Transport::Udp(source, destination) => (UDP, source, destination),
            Transport::Icmp(Icmp { echo, .. }) => {
                (ICMP, echo.unwrap_or(0), u16::from(echo.is_none()))
            }
        }
    }

    /// Whether it is what a guest needs to find its own address and its neighbours: that goes no
    /// further than the link, and is admitted whatever a policy says. Neighbour and router
    /// discovery (RFC 4861) and the groups that it uses (RFC 3810) to addresses of the link alone;
    /// a host's question for an address by DHCP (RFC 2131, RFC 8415) to everybody on the link.
    #[must_use]
    pub fn is_of_the_link(&self) -> bool {
        match (self.transport, self.destination) {
            (Transport::Udp(68, 67), IpAddr::V4(to)) => to.is_broadcast(),
            (Transport::Udp(546, 547), IpAddr::V6(to)) => to == DHCP_SERVERS,
            (Transport::Icmp(Icmp { kind, .. }), IpAddr::V6(to)) => {
                let [high, low, ..] = to.octets();
                // ff02::/16: a group of the link. fe80::/10: one of its addresses.
                let group = (high, low) == (0xff, 0x02);
                let address = high == 0xfe && low & 0xc0 == 0x80;
                match kind {
                    131 | 132 | 143 => group && self.hops == 1,
                    // Who gets one that has passed a router throws it away.
                    133 | 135 | 136 => (group || address) && self.hops == 255,
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

/// ff02::1:2.
const DHCP_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
