//! The blocks of `network.egress`: addresses, ports and a protocol each.

use super::structured::{get, need, table};
use super::{MAX_BLOCKS, Node, Sink, Value, tree::Entry};
use crate::fields::Kind;
use crate::lattice::{EgressBlock, EgressSet, Protocol};
use std::net::IpAddr;

/// A list of blocks as the set of end points that they make together.
pub(super) fn egress(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<EgressSet> {
    let Value::List(items) = &node.value else {
        let found = node.value.describe();
        sink.error(node.offset, path, format!("expected {}, found {found}", Kind::Egress.syntax()));
        return None;
    };
    if items.len() > MAX_BLOCKS {
        sink.error(node.offset, path, format!("more than {MAX_BLOCKS} blocks"));
        return None;
    }
    let blocks: Vec<Option<EgressBlock>> = items
        .iter()
        .enumerate()
        .map(|(index, item)| block(item, &format!("{path}[{index}]"), sink))
        .collect();
    let blocks: Option<Vec<EgressBlock>> = blocks.into_iter().collect();
    // The set puts blocks into canonical form, in which overlapping ones are taken apart. That can
    // be more blocks than were written.
    let set = EgressSet::new(&blocks?);
    let written = set.blocks().count();
    if written > MAX_BLOCKS {
        // What is read has to be writable, or its canonical form could not be read again.
        let message =
            format!("{written} blocks in canonical form, which is more than {MAX_BLOCKS}");
        let help = "let fewer port ranges and address ranges overlap".to_owned();
        sink.error_with_help(node.offset, path, message, Some(help));
        return None;
    }
    Some(set)
}

fn block(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<EgressBlock> {
    let known = ["cidr", "first", "last", "ports", "protocol"];
    let entries = table(node, &known, Kind::Egress, path, sink)?;
    let protocol = need(node, entries, "protocol", path, sink).and_then(|node| {
        let known = Protocol::ALL.map(|(name, _)| name);
        let found = match &node.value {
            Value::Text(text) => Protocol::ALL.into_iter().find(|(name, _)| name == text),
            _ => None,
        };
        if found.is_none() {
            let message =
                format!("expected one of {}, found {}", known.join(", "), node.value.describe());
            sink.error(node.offset, &format!("{path}.protocol"), message);
        }
        found.map(|(_, protocol)| protocol)
    });
    let addresses = addresses(node, entries, path, sink);
    // ICMP has no ports, and everything else has to name them: "any" is written out.
    let ports = match (get(entries, "ports"), protocol) {
        (None, Some(Protocol::Icmp)) => Some((0, 0)),
        (Some(node), Some(Protocol::Icmp)) => {
            sink.error(node.offset, &format!("{path}.ports"), "icmp has no ports");
            None
        }
        (Some(node), _) => ports(node, &format!("{path}.ports"), sink),
        (None, _) => need(node, entries, "ports", path, sink).and(None),
    };
    let ((first, last), ports, protocol) = (addresses?, ports?, protocol?);
    Some(EgressBlock { first, last, ports, protocol })
}

/// Either a CIDR or a first and last address. Both are refused: of two ways to say where a guest
/// may connect to, one would be read and the other only looked at.
fn addresses(node: &Node, entries: &[Entry], path: &str, sink: &mut Sink<'_>) -> Option<Addresses> {
    let ends = ["first", "last"].map(|key| get(entries, key));
    match (get(entries, "cidr"), ends) {
        (Some(one), [None, None]) => cidr(one, path, sink),
        (Some(one), _) => {
            let message = "stands beside `first` or `last`; write one or the other";
            sink.error(one.offset, &format!("{path}.cidr"), message);
            None
        }
        (None, [None, None]) => {
            need(node, entries, "cidr", path, sink);
            None
        }
        (None, _) => {
            let first = need(node, entries, "first", path, sink);
            let last = need(node, entries, "last", path, sink);
            span(first?, last?, path, sink)
        }
    }
}

fn ports(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<(u16, u16)> {
    let port = |value: &Value| match value {
        Value::Number(n) => u16::try_from(*n).ok(),
        _ => None,
    };
    let found = match &node.value {
        Value::Text(text) if text == "any" => Some((0, u16::MAX)),
        Value::List(items) => match items.as_slice() {
            [low, high] => {
                port(&low.value).zip(port(&high.value)).filter(|(low, high)| low <= high)
            }
            _ => None,
        },
        other => port(other).map(|p| (p, p)),
    };
    if found.is_none() {
        let found = node.value.describe();
        let message = format!("expected a port, [first, last] or \"any\", found {found}");
        sink.error(node.offset, path, message);
    }
    found
}

type Addresses = (IpAddr, IpAddr);

fn cidr(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Addresses> {
    let Value::Text(text) = &node.value else {
        let found = node.value.describe();
        sink.error(
            node.offset,
            &format!("{path}.cidr"),
            format!("expected a CIDR text, found {found}"),
        );
        return None;
    };
    parse_cidr(text)
        .map_err(|message| sink.error(node.offset, &format!("{path}.cidr"), message))
        .ok()
}

fn span(first: &Node, last: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Addresses> {
    let mut parse = |node: &Node| {
        let parsed = match &node.value {
            // An IPv4 address written as IPv6 (`::ffff:1.2.3.4`) would be another address to a rule
            // and the same to a socket.
            Value::Text(text) => text.parse::<IpAddr>().ok().filter(|a| a.to_canonical() == *a),
            _ => None,
        };
        if parsed.is_none() {
            let message = format!("expected an IP address, found {}", node.value.describe());
            sink.error(node.offset, path, message);
        }
        parsed
    };
    let (from, to) = (parse(first), parse(last));
    let (from, to) = (from?, to?);
    // `IpAddr` orders IPv4 below IPv6, so the family is compared first.
    if from.is_ipv4() != to.is_ipv4() || from > to {
        sink.error(
            first.offset,
            path,
            "the first address must not be above the last, in one family",
        );
        return None;
    }
    Some((from, to))
}

/// First and last address of `address/bits`; host bits must be zero.
fn parse_cidr(text: &str) -> Result<Addresses, String> {
    let refuse =
        || format!("expected a CIDR such as \"10.0.0.0/8\" or \"2001:db8::/32\", found {text:?}");
    let (base, length) = text.split_once('/').ok_or_else(refuse)?;
    let base: IpAddr = base.parse().map_err(|_| refuse())?;
    // Digits only: the standard parser would take a `+`.
    let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let length: u32 = length.parse().ok().filter(|_| digits).ok_or_else(refuse)?;
    if base.to_canonical() != base {
        return Err(format!("{text:?} is an IPv4 address written as IPv6; write it as IPv4"));
    }
    match base {
        IpAddr::V4(v4) if length <= 32 => {
            // A shift by the full width is none in Rust, and 0 is what it should give: /32 has no
            // host bits.
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            if v4.to_bits() & host != 0 {
                let network = std::net::Ipv4Addr::from_bits(v4.to_bits() & !host);
                return Err(format!(
                    "{text:?} has host bits set; the network is {network}/{length}"
                ));
            }
            Ok((base, IpAddr::V4((v4.to_bits() | host).into())))
        }
        IpAddr::V6(v6) if length <= 128 => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            if v6.to_bits() & host != 0 {
                let network = std::net::Ipv6Addr::from_bits(v6.to_bits() & !host);
                return Err(format!(
                    "{text:?} has host bits set; the network is {network}/{length}"
                ));
            }
            Ok((base, IpAddr::V6((v6.to_bits() | host).into())))
        }
        _ => Err(refuse()),
    }
}
