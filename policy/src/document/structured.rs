//! Values of a document that are tables: bit masks, TCB floors, limits, intervals.

use super::{Node, Sink, Value, members, suggest, tree::Entry};
use crate::fields::{BitNames, Kind};
use crate::lattice::{Bits, Lattice, Limit, Range, Tcb, TcbFloors};
use crate::utc;

/// The entries of a table that has only the keys of `known`.
pub(super) fn table<'n>(
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

pub(super) fn get<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Node> {
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
}

pub(super) fn need<'n>(
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
