//! Values of a document that are tables: bit masks, TCB floors, egress blocks, limits, intervals.

use super::{MAX_BLOCKS, Node, Sink, Value, members, suggest, tree::Entry};
use crate::fields::{BitNames, Kind};
use crate::lattice::{
    Bits, EgressBlock, EgressSet, Lattice, Limit, Protocol, Range, Tcb, TcbFloors,
};
use crate::utc;
use std::net::IpAddr;

/// The entries of a table that has only the keys of `known`.
fn table<'n>(
    node: &'n Node,
    known: &[&str],
    kind: Kind,
    path: &str,
    sink: &mut Sink<'_>,
) -> Option<&'n [Entry]> {
    let Value::Table(entries) = &node.value else {
        let found = node.value.describe();
        sink.error(node.offset, path, format!("expected {}, found {found}", kind.syntax()));
        return None;
    };
    let mut good = true;
    for entry in entries {
        // All keys that are not known are told before any known one is read.
        if !known.contains(&entry.key.as_str()) {
            good = false;
            let key = format!("{path}.{}", entry.key);
            let help = suggest::help(&entry.key, known.iter().copied());
            let message = format!("unknown key; expected {}", known.join(", "));
            sink.error_with_help(entry.offset, &key, message, help);
        }
    }
    good.then_some(entries)
}

fn get<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Node> {
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
}

fn need<'n>(
    node: &Node,
    entries: &'n [Entry],
    key: &str,
    path: &str,
    sink: &mut Sink<'_>,
) -> Option<&'n Node> {
    let found = get(entries, key);
    if found.is_none() {
        sink.error(node.offset, &format!("{path}.{key}"), "missing");
    }
    found
}

/// A number, or `any` for `otherwise`.
fn number_or_any(node: &Node, otherwise: u64, path: &str, sink: &mut Sink<'_>) -> Option<u64> {
    match &node.value {
        Value::Number(n) => Some(*n),
        Value::Text(text) if text == "any" => Some(otherwise),
        other => {
            let found = other.describe();
            let message =
                format!("expected a whole number from 0 to 2^63-1, or \"any\", found {found}");
            sink.error(node.offset, path, message);
            None
        }
    }
}

pub(super) fn interval(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Range> {
    // A number alone is the interval of itself.
    if let Value::Number(n) = node.value {
        return Some(Range::new(n, n));
    }
    let entries = table(node, &["min", "max"], Kind::Interval, path, sink)?;
    // Both ends are asked for before either is read, so that both may be told missing.
    let min = need(node, entries, "min", path, sink);
    let max = need(node, entries, "max", path, sink);
    let min = number_or_any(min?, 0, &format!("{path}.min"), sink);
    let max = number_or_any(max?, u64::MAX, &format!("{path}.max"), sink);
    checked_range(node, min?, max?, path, sink)
}

fn checked_range(
    node: &Node,
    min: u64,
    max: u64,
    path: &str,
    sink: &mut Sink<'_>,
) -> Option<Range> {
    let range = Range::new(min, max);
    // An interval the wrong way round admits nothing: a mistake in all likelihood, and there is a
    // word for who means it.
    if range.is_empty() {
        let message = "the lower end is above the upper end: nothing is admitted";
        let help = Some("write \"nothing\" if that is meant".to_owned());
        sink.error_with_help(node.offset, path, message, help);
        return None;
    }
    Some(range)
}

pub(super) fn window(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Range> {
    let entries = table(node, &["from", "until"], Kind::Window, path, sink)?;
    // Times are seconds inside, UTC to the second in the document; "any" is the end of time on its
    // side.
    let mut end = |key: &str, otherwise: u64| {
        let node = need(node, entries, key, path, sink)?;
        match &node.value {
            Value::Text(text) if text == "any" => Some(otherwise),
            Value::Text(text) if utc::parse(text).is_some() => utc::parse(text),
            other => {
                let found = other.describe();
                let message =
                    format!("expected a time such as \"2026-01-31T23:59:59Z\", found {found}");
                sink.error(node.offset, &format!("{path}.{key}"), message);
                None
            }
        }
    };
    let (from, until) = (end("from", 0), end("until", u64::MAX));
    checked_range(node, from?, until?, path, sink)
}

pub(super) fn limit(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Limit> {
    let entries = table(node, &["per_second", "total"], Kind::Limit, path, sink)?;
    let per_second = need(node, entries, "per_second", path, sink);
    let total = need(node, entries, "total", path, sink);
    let per_second = number_or_any(per_second?, u64::MAX, &format!("{path}.per_second"), sink);
    let total = number_or_any(total?, u64::MAX, &format!("{path}.total"), sink);
    Some(Limit::new(per_second?, total?))
}

/// The mask of one bit, by its name or as `bitN`.
pub(crate) fn bit(text: &str, names: &BitNames) -> Option<u64> {
    // Bits without a name are written `bitN`. What the field ignores (the ABI version, bit 17) is
    // no bit of a mask.
    let named = names.names.iter().find(|(_, name)| *name == text).map(|(bit, _)| *bit);
    let digits = || text.strip_prefix("bit").filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
    let number = named.or_else(|| digits()?.parse().ok())?;
    let mask = 1u64.checked_shl(u32::from(number))?;
    (mask & names.ignore == 0).then_some(mask)
}

/// A list of bit names, as a mask.
fn mask(node: &Node, names: &BitNames, path: &str, sink: &mut Sink<'_>) -> Option<u64> {
    let found = members::texts(node, path, "a list of bit names", sink)?;
    let mut out = Some(0u64);
    for (offset, text) in found {
        match bit(text, names) {
            Some(mask) => out = out.map(|all| all | mask),
            None => {
                out = None;
                let help = suggest::help(text, names.names.iter().map(|(_, name)| *name));
                sink.error_with_help(offset, path, format!("unknown bit {text:?}"), help);
            }
        }
    }
    out
}

pub(super) fn bits(
    node: &Node,
    names: &'static BitNames,
    path: &str,
    sink: &mut Sink<'_>,
) -> Option<Bits> {
    let entries = table(node, &["must", "may", "must_not"], Kind::Bits(names), path, sink)?;
    let mut optional = |key: &str| match get(entries, key) {
        Some(node) => mask(node, names, &format!("{path}.{key}"), sink),
        None => Some(0),
    };
    // `may = "any"` stands for every bit that is not named otherwise; then `must_not` is an
    // exception from it and no contradiction.
    let may_any =
        matches!(get(entries, "may"), Some(Node { value: Value::Text(t), .. }) if t == "any");
    let (must, must_not) = (optional("must"), optional("must_not"));
    let may = if may_any { Some(!0) } else { optional("may") };
    let (must, must_not, may) = (must?, must_not?, may?);
    // One bit in two lists has no meaning that both readers of it would agree on.
    if must & must_not != 0 || (!may_any && may & must_not != 0) {
        sink.error(
            node.offset,
            path,
            "a bit that must not be set is also listed as one that may or must",
        );
        return None;
    }
    // A bit that is in no list must not be set: what a document does not mention it does not admit.
    Some(Bits::new(must, (must_not | !(must | may)) & !names.ignore))
}

/// Parts of a TCB that a floor has to state, by generation.
fn parts(generation: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match generation {
        "milan" | "genoa" => (&["bootloader", "tee", "snp", "microcode"], &[]),
        "turin" => (&Tcb::PARTS, &[]),
        // Venice has neither boot loader nor microcode in its TCB version.
        _ => (&["fmc", "tee", "snp"], &["bootloader", "microcode"]),
    }
}

pub(super) fn tcb(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<TcbFloors> {
    let entries = table(node, &Tcb::GENERATIONS, Kind::Tcb, path, sink)?;
    // From "no generation": what is not listed is not admitted.
    let mut floors = Some(TcbFloors::bottom());
    for entry in entries {
        let path = format!("{path}.{}", entry.key);
        let generation = Tcb::GENERATIONS.iter().position(|name| *name == entry.key);
        let floor = floor(&entry.node, &entry.key, &path, sink);
        floors = match (floors, generation, floor) {
            (Some(floors), Some(generation), Some(floor)) => Some(floors.with(generation, floor)),
            _ => None,
        };
    }
    floors
}

fn floor(node: &Node, generation: &str, path: &str, sink: &mut Sink<'_>) -> Option<[u8; 5]> {
    let (required, optional) = parts(generation);
    let known: Vec<&str> = required.iter().chain(optional).copied().collect();
    let entries = table(node, &known, Kind::Tcb, path, sink)?;
    let mut good = true;
    let mut out = [0; 5];
    // In the order of the TCB's parts, whatever the order of the document; what the generation does
    // not have is 0.
    for (slot, part) in out.iter_mut().zip(Tcb::PARTS) {
        let Some(node) = get(entries, part) else {
            if required.contains(&part) {
                good = false;
                sink.error(node.offset, &format!("{path}.{part}"), "missing");
            }
            continue;
        };
        match node.value {
            Value::Number(n) if u8::try_from(n).is_ok() => {
                *slot = u8::try_from(n).unwrap_or(u8::MAX);
            }
            ref other => {
                good = false;
                let message =
                    format!("expected a number from 0 to 255, found {}", other.describe());
                sink.error(node.offset, &format!("{path}.{part}"), message);
            }
        }
    }
    good.then_some(out)
}

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
    // Either a CIDR or a first and last address; `first` decides which, and the other key then is
    // missing or unread.
    let addresses = match get(entries, "first") {
        Some(first) => {
            let last = need(node, entries, "last", path, sink);
            span(first, last?, path, sink)
        }
        None => need(node, entries, "cidr", path, sink).and_then(|node| cidr(node, path, sink)),
    };
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
