//! The input document: the facts of one decision, as JSON or TOML.
//!
//! Facts are named by their paths, nested or dotted. `devices` may instead be a list of devices,
//! each with `kind`, `path`, `read_only`, `foreign` and `queues`, from which the facts are counted.
//! The key `point` names the decision point.

use crate::document::{
    LoadError, Node, Sink, Value, bit, byte_string, parse, suggest, tree::Entry,
};
use crate::fact::Fact;
use crate::facts::{DeviceFact, DeviceKind, Facts, command_line, text_fact};
use crate::fields::{Key, Kind, Point};
use crate::lattice::{Choice, Endpoint, Protocol, Tcb, Usage};
use crate::render;
use crate::utc;

/// A parsed input, which may still lack facts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Input {
    /// The decision point, when the input names it.
    pub point: Option<Point>,
    /// The facts that it has.
    pub facts: Facts,
}

impl Input {
    /// Reads an input document. `name` is its file name, for messages.
    ///
    /// # Errors
    /// All errors of the document at once, each with its place.
    pub fn load(text: &str, name: &str) -> Result<Self, LoadError> {
        let mut sink = Sink::new(text, name);
        // Contradictions only of what could be read: half an input contradicts itself for other
        // reasons.
        let input = parse(text, &mut sink).map(|root| {
            let input = Self::read(&root, &mut sink);
            contradictions(&input.facts, root.offset, &mut sink);
            input
        });
        sink.finish()?;
        Ok(input.unwrap_or_default())
    }

    pub(crate) fn read(root: &Node, sink: &mut Sink<'_>) -> Self {
        let mut input = Self::default();
        let Value::Table(entries) = &root.value else {
            sink.error(root.offset, "", "expected a table");
            return input;
        };
        for entry in entries {
            // `point` and a list of devices are the two keys that are no facts.
            match (entry.key.as_str(), &entry.node.value) {
                ("point", Value::Text(name)) => {
                    input.point = Point::from_name(name);
                    if input.point.is_none() {
                        let help = suggest::help(name, Point::ALL.into_iter().map(Point::name));
                        let message = format!("unknown decision point {name:?}");
                        sink.error_with_help(entry.node.offset, "point", message, help);
                    }
                }
                ("devices", Value::List(devices)) => read_devices(devices, &mut input.facts, sink),
                _ => read_entry(entry, "", &mut input.facts, sink),
            }
        }
        input
    }

    /// The input as one JSON object that [`Input::load`] reads back.
    #[must_use]
    pub fn to_json(&self) -> String {
        facts_json(self.point, &self.facts)
    }
}

/// Reports what contradicts what: an answer about a world that cannot be would be believed of one
/// that can.
pub(crate) fn contradictions(facts: &Facts, offset: usize, sink: &mut Sink<'_>) {
    for contradiction in facts.contradictions() {
        sink.error(offset, "", contradiction);
    }
}

/// The facts of a point as one JSON object.
pub(crate) fn facts_json(point: Option<Point>, facts: &Facts) -> String {
    let mut out = String::with_capacity(512);
    out.push('{');
    if let Some(point) = point {
        out.push_str("\"point\":\"");
        out.push_str(point.name());
        out.push('"');
    }
    for (key, fact) in facts.iter() {
        out.push_str(if out.len() > 1 { ",\"" } else { "\"" });
        out.push_str(key.path());
        out.push_str("\":");
        render::append_fact(&mut out, key.kind(), fact);
    }
    out.push('}');
    out
}

/// Known names after a prefix of a path.
fn known_after(prefix: &str) -> impl Iterator<Item = &'static str> {
    Key::ALL.iter().filter_map(move |key| {
        let rest = key.path().strip_prefix(prefix)?;
        rest.split('.').next().filter(|name| !name.is_empty())
    })
}

fn read_entry(entry: &Entry, prefix: &str, facts: &mut Facts, sink: &mut Sink<'_>) {
    if sink.full() {
        return;
    }
    let path = format!("{prefix}{}", entry.key);
    // A path that is a fact ends the descent, whatever its value is; a table there is an error
    // about the fact.
    if let Some(key) = Key::from_path(&path) {
        match read_fact(key, &entry.node) {
            Ok(fact) => facts.set(key, fact),
            Err(message) => sink.error(entry.node.offset, &path, message),
        }
        return;
    }
    let below = format!("{path}.");
    match &entry.node.value {
        Value::Table(entries) if known_after(&below).next().is_some() => {
            for entry in entries {
                read_entry(entry, &below, facts, sink);
            }
        }
        _ => {
            let help = suggest::help(&entry.key, known_after(prefix));
            sink.error_with_help(entry.offset, &path, "unknown fact", help);
        }
    }
}

fn read_fact(key: Key, node: &Node) -> Result<Fact, String> {
    let kind = key.kind();
    if key == Key::LaunchCmdline {
        return read_command_line(&node.value);
    }
    match &node.value {
        // A list for a list, an element for a list of one; a list of bits for a mask; never a list
        // for a single value.
        Value::List(items) if kind.is_list() => items
            .iter()
            .map(|item| read_one(key, &item.value))
            .collect::<Result<_, _>>()
            .map(Fact::List),
        Value::List(items) if matches!(kind, Kind::Bits(_)) => read_bits(kind, items),
        Value::List(_) => Err(format!("expected {}, found a list", fact_syntax(kind))),
        value if kind.is_list() => read_one(key, value).map(|fact| Fact::List(vec![fact])),
        value => read_one(key, value),
    }
}

/// A command line: the line itself, or its pieces, which stand in the line with a blank between
/// each two.
fn read_command_line(value: &Value) -> Result<Fact, String> {
    let expected = || format!("expected {COMMAND_LINE}, found {}", value.describe());
    let line = match value {
        Value::Text(line) => line.clone(),
        Value::List(items) => {
            let pieces = items.iter().map(|item| match &item.value {
                Value::Text(piece) => Ok(piece.as_str()),
                _ => Err(expected()),
            });
            pieces.collect::<Result<Vec<_>, _>>()?.join(" ")
        }
        _ => return Err(expected()),
    };
    match command_line(Fact::Text(line.into())) {
        Fact::Invalid(why) => Err(why.into()),
        fact => Ok(fact),
    }
}

/// What an input has to write for the command line.
pub(crate) const COMMAND_LINE: &str = "the line as a text, or a list of its pieces";

fn read_bits(kind: Kind, items: &[Node]) -> Result<Fact, String> {
    let Kind::Bits(names) = kind else { return Err("expected a mask".into()) };
    let mut mask = 0;
    for item in items {
        match &item.value {
            Value::Text(text) => mask |= bit(text, names).ok_or(format!("unknown bit {text:?}"))?,
            other => return Err(format!("expected a bit name, found {}", other.describe())),
        }
    }
    Ok(Fact::Number(mask))
}

/// What an input has to write for a fact.
pub(crate) fn fact_syntax(kind: Kind) -> String {
    match kind {
        Kind::Floor | Kind::Ceiling | Kind::Interval | Kind::CeilingEach => {
            "a whole number from 0 to 2^63-1".into()
        }
        Kind::Version => "a version such as \"6.11\"".into(),
        Kind::Window => "a time such as \"2026-01-31T23:59:59Z\"".into(),
        Kind::Flag | Kind::FlagEach => "true or false".into(),
        Kind::Choice(names) => format!("one of {}, or another name", names.join(", ")),
        Kind::Level(names) => format!("one of {}", names.join(", ")),
        Kind::BytesAllowed(len) | Kind::BytesDenied(len) => {
            format!("hexadecimal text of {len} bytes, or \"unset\"")
        }
        Kind::HostData => "hexadecimal text of 32 bytes, \"unset\", or \"initdata\" where the \
                           guest's initdata holds the document that is asked"
            .into(),
        Kind::Names { .. } | Kind::NamesForbidden | Kind::NamesRequired => "a text".into(),
        Kind::Roots([]) => "an absolute path".into(),
        Kind::Roots(words) => format!("an absolute path, or {}", words.join(" or ")),
        Kind::Bits(_) => "a number, or a list of bit names".into(),
        Kind::Tcb => "{ generation, fmc, bootloader, tee, snp, microcode }".into(),
        Kind::Egress => "{ address, port, protocol }".into(),
        Kind::Limit => "{ in_second, total }".into(),
        Kind::Action(_) => "nothing".into(),
    }
}

fn read_one(key: Key, value: &Value) -> Result<Fact, String> {
    let kind = key.kind();
    let refuse = || format!("expected {}, found {}", fact_syntax(kind), value.describe());
    let fact = match (kind, value) {
        (
            Kind::Floor | Kind::Ceiling | Kind::Interval | Kind::CeilingEach | Kind::Bits(_),
            Value::Number(n),
        ) => Fact::Number(*n),
        // A mask may use bit 63, which is beyond the numbers of a document.
        (Kind::Bits(_), Value::OtherNumber(text)) => {
            Fact::Number(text.parse().map_err(|_| refuse())?)
        }
        (Kind::Window, Value::Text(text)) => Fact::Number(utc::parse(text).ok_or_else(refuse)?),
        (Kind::Flag | Kind::FlagEach, Value::Bool(on)) => Fact::Number(u64::from(*on)),
        (Kind::BytesAllowed(_) | Kind::BytesDenied(_) | Kind::HostData, Value::Text(text)) => {
            Fact::Bytes(byte_string(text, kind).ok_or_else(refuse)?)
        }
        (Kind::Choice(_), Value::Text(text)) if text == "unknown" => Fact::Number(Choice::UNKNOWN),
        (Kind::Flag | Kind::FlagEach, _) => return Err(refuse()),
        (_, Value::Text(text)) => text_fact(key, text),
        (Kind::Tcb, Value::Table(entries)) => Fact::Tcb(read_tcb(entries)?),
        (Kind::Egress, Value::Table(entries)) => Fact::Endpoint(read_endpoint(entries)?),
        (Kind::Limit, Value::Table(entries)) => {
            let [in_second, total] = numbers(entries, ["in_second", "total"], u64::MAX)?;
            Fact::Usage(Usage { in_second, total })
        }
        _ => return Err(refuse()),
    };
    // A setter's complaint is the document's error.
    match fact {
        Fact::Invalid(why) => Err(why.into()),
        fact => Ok(fact),
    }
}

/// The numbers under `names`; other keys are refused, missing ones too.
fn numbers<const N: usize>(
    entries: &[Entry],
    names: [&str; N],
    most: u64,
) -> Result<[u64; N], String> {
    let mut out = [0; N];
    for (slot, name) in out.iter_mut().zip(names) {
        // Each number has to be there, and within its bound: nothing is taken for zero.
        match entries.iter().find(|entry| entry.key == name).map(|entry| &entry.node.value) {
            Some(Value::Number(n)) if *n <= most => *slot = *n,
            Some(other) => {
                return Err(format!("{name}: expected a number, found {}", other.describe()));
            }
            None => return Err(format!("{name} is missing")),
        }
    }
    Ok(out)
}

fn only(entries: &[Entry], known: &[&str]) -> Result<(), String> {
    match entries.iter().find(|entry| !known.contains(&entry.key.as_str())) {
        Some(entry) => Err(format!("unknown key {:?}", render::shorten(&entry.key))),
        None => Ok(()),
    }
}

fn text_of<'e>(entries: &'e [Entry], name: &str) -> Result<&'e str, String> {
    match entries.iter().find(|entry| entry.key == name).map(|entry| &entry.node.value) {
        Some(Value::Text(text)) => Ok(text),
        Some(other) => Err(format!("{name}: expected a text, found {}", other.describe())),
        None => Err(format!("{name} is missing")),
    }
}

fn read_tcb(entries: &[Entry]) -> Result<Tcb, String> {
    only(entries, &["generation", "fmc", "bootloader", "tee", "snp", "microcode"])?;
    let name = text_of(entries, "generation")?;
    let generation = Tcb::GENERATIONS.iter().position(|known| *known == name);
    let mut levels = [0; 5];
    for (slot, part) in levels.iter_mut().zip(Tcb::PARTS) {
        // Parts that some generation does not have may be left out, and are 0 then.
        let optional = matches!(part, "fmc" | "bootloader" | "microcode");
        if optional && !entries.iter().any(|entry| entry.key == part) {
            continue;
        }
        let [level] = numbers(entries, [part], 255)?;
        *slot = u8::try_from(level).unwrap_or(0);
    }
    // An unknown generation is none of the known ones: 255 is beyond every list.
    Ok(Tcb { generation: generation.and_then(|g| u8::try_from(g).ok()).unwrap_or(u8::MAX), levels })
}

fn read_endpoint(entries: &[Entry]) -> Result<Endpoint, String> {
    only(entries, &["address", "port", "protocol"])?;
    let address = text_of(entries, "address")?;
    let address = address.parse().map_err(|_| format!("{address:?} is not an IP address"))?;
    let name = text_of(entries, "protocol")?;
    let protocol = Protocol::ALL.into_iter().find(|(known, _)| *known == name);
    let (_, protocol) = protocol.ok_or_else(|| format!("unknown protocol {name:?}"))?;
    // ICMP has no ports, so none is asked for.
    let port = match protocol {
        Protocol::Icmp => 0,
        _ => {
            let [port] = numbers(entries, ["port"], 65_535)?;
            u16::try_from(port).unwrap_or(0)
        }
    };
    Ok(Endpoint { address, port, protocol })
}

fn read_devices(items: &[Node], facts: &mut Facts, sink: &mut Sink<'_>) {
    let mut devices = Vec::new();
    for item in items {
        // Every device is read, also after a wrong one.
        let Value::Table(entries) = &item.value else {
            sink.error(item.offset, "devices", "expected a list of tables");
            continue;
        };
        match read_device(entries) {
            Ok(device) => devices.push(device),
            Err(message) => sink.error(item.offset, "devices", message),
        }
    }
    let counted = std::mem::take(facts).devices(&devices);
    // A path that is not valid was set as an invalid fact; in a document it is an error with a
    // place.
    let bad = counted.iter().find_map(|(key, fact)| match fact {
        Fact::List(items) => items.iter().find_map(|f| match f {
            Fact::Invalid(why) => Some((key, why.to_string())),
            _ => None,
        }),
        _ => None,
    });
    if let Some((key, why)) = bad {
        sink.error(items.first().map_or(0, |item| item.offset), key.path(), why);
    }
    *facts = counted;
}

fn read_device(entries: &[Entry]) -> Result<DeviceFact<'_>, String> {
    only(entries, &["kind", "path", "read_only", "foreign", "queues"])?;
    let get = |name: &str| entries.iter().find(|e| e.key == name).map(|e| &e.node.value);
    let kind = match text_of(entries, "kind")? {
        "block" => DeviceKind::Block,
        "fs" => DeviceKind::Fs,
        "net" => DeviceKind::Net,
        "console" => DeviceKind::Console,
        "vsock" => DeviceKind::Vsock,
        "rng" => DeviceKind::Rng,
        other => return Err(format!("unknown device kind {:?}", render::shorten(other))),
    };
    // Absent flags are false and one queue is the least: what a device has without being told.
    let flag = |name: &str| match get(name) {
        None => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(other) => Err(format!("{name}: expected true or false, found {}", other.describe())),
    };
    let queues = match get("queues") {
        None => 1,
        Some(Value::Number(n)) => *n,
        Some(other) => {
            return Err(format!("queues: expected a number, found {}", other.describe()));
        }
    };
    let path = if get("path").is_some() { Some(text_of(entries, "path")?) } else { None };
    Ok(DeviceFact { kind, path, read_only: flag("read_only")?, foreign: flag("foreign")?, queues })
}
