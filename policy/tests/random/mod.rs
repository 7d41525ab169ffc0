//! Random policies and inputs over small domains, so that both verdicts and all relations occur
//! often. Every kind of field has a generator here, so a new kind does not compile without one.
#![allow(
    dead_code,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::should_implement_trait,
    clippy::too_many_lines,
    clippy::missing_panics_doc,
    reason = "a generator for tests, each of which uses a part of it"
)]

use casemate_policy::fields::GRANT_FIELDS;
use casemate_policy::lattice::{Bytes, Endpoint, Protocol, Tcb, Usage};
use casemate_policy::{Fact, Facts, Field, Key, Kind, Point, Policy};

/// A small generator (xorshift): the same sequence on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    /// Some of the texts, quoted; seldom none, for that admits nothing.
    fn some(&mut self, from: &[&str]) -> Vec<String> {
        let mut out: Vec<&str> = from.iter().filter(|_| self.chance(50)).copied().collect();
        if out.is_empty() && self.chance(85) {
            out.push(self.pick(from));
        }
        out.into_iter().map(|text| format!("\"{text}\"")).collect()
    }
}

const TEXTS: [&str; 7] = ["a", "b", "ab", "abc", "ba", "a*b", "ü"];
const PATTERNS: [&str; 8] = ["a", "b", "ab", "a*", "ab*", "b*", "abc*", "ü"];
/// Pieces of command lines. Some are words that the policies know, in every way to write them;
/// others end the kernel's parameters, override, or hold what follows.
const PIECES: [&str; 16] = [
    "a",
    "b",
    "ab",
    "\"a\"",
    "a\"b\"",
    "x=\"a b\"",
    "--",
    "a-b=1",
    "a_b=1",
    "a_b=2",
    "ro",
    "rw",
    "tsx=on",
    "tsx=\"on\"",
    "\"a",
    "abc",
];
/// Names of secrets, and one that is none.
const RESOURCES: [&str; 7] =
    ["a/x/y", "b/x/y", "ab/x/y", "ab/c/d", "ba/x/y", "a/../b/x/y", "c/d/e"];
const ROOTS: [&str; 4] = ["/a", "/a/b", "/b", "/ab"];
const PATHS: [&str; 6] = ["/a/x", "/a/b/x", "/b/x", "/ab/x", "/c", "/a"];
const CIDRS: [&str; 7] = [
    "10.0.0.0/30",
    "10.0.0.2/31",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "2001:db8::/126",
    "2001:db8::2/127",
    "::/0",
];
const ADDRESSES: [&str; 7] =
    ["10.0.0.1", "10.0.0.2", "10.9.0.1", "192.0.2.1", "2001:db8::1", "2001:db8::3", "2001:db9::1"];
const TIMES: [&str; 4] = [
    "2026-01-01T00:00:00Z",
    "2026-06-01T00:00:00Z",
    "2027-01-01T00:00:00Z",
    "2028-01-01T00:00:00Z",
];

fn bytes(index: u64, len: u8) -> Bytes {
    let fill = [0, 0x11, 0x22, 0x33][usize::try_from(index % 4).unwrap()];
    Bytes::new(&vec![fill; usize::from(len)]).unwrap()
}

/// A random value of the kind, in document syntax.
pub fn rule_text(kind: Kind, r: &mut Random) -> String {
    if r.chance(20) {
        return "\"any\"".into();
    }
    if r.chance(1) && !matches!(kind, Kind::Action(_)) {
        return "\"nothing\"".into();
    }
    let list = |items: Vec<String>| format!("[{}]", items.join(", "));
    match kind {
        Kind::Floor | Kind::Ceiling | Kind::CeilingEach => r.below(5).to_string(),
        Kind::Interval => {
            let min = r.below(4);
            format!("{{ min = {min}, max = {} }}", min + r.below(4))
        }
        Kind::Version => format!("\"{}.{}\"", 1 + r.below(2), r.below(3)),
        Kind::Window => {
            let from = r.below(3);
            let until = from + 1 + r.below(3 - from);
            let at = |i: u64| TIMES[usize::try_from(i).unwrap()];
            format!("{{ from = \"{}\", until = \"{}\" }}", at(from), at(until))
        }
        Kind::Flag | Kind::FlagEach => format!("\"{}\"", r.pick(&["required", "forbidden"])),
        Kind::Choice(names) => list(r.some(names)),
        Kind::Level(names) | Kind::Action(names) => format!("\"{}\"", r.pick(names)),
        Kind::BytesAllowed(len) | Kind::BytesDenied(len) => {
            let all: Vec<String> = (0..4).map(|i| bytes(i, len).to_hex()).collect();
            list(r.some(&all.iter().map(String::as_str).collect::<Vec<_>>()))
        }
        Kind::HostData => {
            let all: Vec<String> = (0..3).map(|i| bytes(i, 32).to_hex()).collect();
            let all = all.iter().map(String::as_str).chain(["initdata"]);
            list(r.some(&all.collect::<Vec<_>>()))
        }
        Kind::Names { .. } | Kind::NamesForbidden => list(r.some(&PATTERNS)),
        Kind::NamesRequired if r.chance(40) => list(r.some(&["a", "b", "a-b=1", "ro", "tsx=on"])),
        Kind::NamesRequired => "[]".into(),
        Kind::Roots(words) => list(r.some(&[&ROOTS[..], words].concat())),
        Kind::Bits(bits) => {
            let names: Vec<&str> =
                bits.names.iter().map(|(_, name)| *name).chain(["bit40", "bit41"]).collect();
            let (mut must, mut may, mut not) = (Vec::new(), Vec::new(), Vec::new());
            for name in names {
                match r.below(6) {
                    0 => must.push(format!("\"{name}\"")),
                    1 => not.push(format!("\"{name}\"")),
                    _ => may.push(format!("\"{name}\"")),
                }
            }
            let may = if r.chance(50) { "\"any\"".into() } else { list(may) };
            format!("{{ must = {}, may = {may}, must_not = {} }}", list(must), list(not))
        }
        Kind::Tcb => {
            let floors =
                Tcb::GENERATIONS.iter().filter(|_| r.chance(80)).copied().collect::<Vec<_>>();
            let floors = floors.into_iter().map(|generation| {
                let skip = usize::from(matches!(generation, "milan" | "genoa"));
                let parts = Tcb::PARTS.iter().skip(skip);
                let parts: Vec<String> =
                    parts.map(|part| format!("{part} = {}", r.below(3))).collect();
                format!("{generation} = {{ {} }}", parts.join(", "))
            });
            format!("{{ {} }}", floors.collect::<Vec<_>>().join(", "))
        }
        Kind::Egress => {
            let blocks = (0..r.below(4)).map(|_| {
                let cidr = r.pick(&CIDRS);
                let low = r.below(4);
                match r.below(4) {
                    0 => format!("{{ cidr = \"{cidr}\", protocol = \"icmp\" }}"),
                    1 => format!("{{ cidr = \"{cidr}\", ports = \"any\", protocol = \"tcp\" }}"),
                    p => {
                        let protocol = if p == 2 { "tcp" } else { "udp" };
                        let high = low + r.below(3);
                        format!("{{ cidr = \"{cidr}\", ports = [{low}, {high}], protocol = \"{protocol}\" }}")
                    }
                }
            });
            list(blocks.collect())
        }
        Kind::Limit => {
            let total = if r.chance(30) { "\"any\"".into() } else { r.below(6).to_string() };
            format!("{{ per_second = {}, total = {total} }}", r.below(5))
        }
    }
}

fn fields_text(
    fields: &[Field],
    r: &mut Random,
    stated: u64,
    name: impl Fn(&Field) -> String,
) -> String {
    let mut out = String::new();
    for field in fields {
        if r.chance(stated) {
            out.push_str(&format!("{} = {}\n", name(field), rule_text(field.kind, r)));
        }
    }
    out
}

/// A random policy document.
pub fn policy_text(r: &mut Random) -> String {
    let mut out = String::from("schema_version = 1\nmin_engine = \"0.1.0\"\n");
    for point in Point::ALL {
        out.push_str(&fields_text(point.fields(), r, 95, |field| field.path.to_owned()));
    }
    let patterns =
        [vec!["a*", "b/x/y"], vec!["ab/x*", "b*"], vec!["a/x/y", "ab/x/y", "b/x/y"], vec!["c*"]];
    for pattern in &patterns[usize::try_from(r.below(4)).unwrap()] {
        out.push_str(&format!("[secrets.\"{pattern}\"]\n"));
        out.push_str(&fields_text(GRANT_FIELDS, r, 95, |field| field.name().to_owned()));
    }
    out
}

/// A random policy.
pub fn policy(r: &mut Random) -> Policy {
    let text = policy_text(r);
    Policy::load(&text, "random.toml").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn text_fact(key: Key, r: &mut Random) -> Fact {
    if key == Key::LaunchCmdline {
        return Fact::Text((*r.pick(&TEXTS)).into());
    }
    let facts = if key == Key::SecretResource {
        Facts::new().text(key, r.pick(&RESOURCES))
    } else if let Kind::Roots(words) = key.kind() {
        Facts::new().text(key, r.pick(&[&PATHS[..], words].concat()))
    } else {
        Facts::new().text(key, r.pick(&TEXTS))
    };
    match facts.get(key) {
        Some(Fact::List(items)) => items[0].clone(),
        Some(fact) => fact.clone(),
        None => unreachable!("just set"),
    }
}

fn one(key: Key, r: &mut Random) -> Fact {
    match key.kind() {
        Kind::Floor | Kind::Ceiling | Kind::CeilingEach | Kind::Interval => {
            Fact::Number(r.below(6))
        }
        Kind::Version => Fact::Number((1 + r.below(2)) << 40 | r.below(3) << 20 | r.below(2)),
        Kind::Window => {
            let facts = Facts::new().number(key, 1_767_225_600 + r.below(4) * 15_000_000);
            facts.get(key).unwrap().clone()
        }
        Kind::Flag | Kind::FlagEach => Fact::Number(r.below(2)),
        Kind::Choice(names) => {
            let index = r.below(names.len() as u64 + 1);
            Fact::Number(if index == names.len() as u64 { 31 } else { index })
        }
        Kind::Level(names) => Fact::Number(r.below(names.len() as u64)),
        Kind::BytesAllowed(len) | Kind::BytesDenied(len) => Fact::Bytes(bytes(r.below(4), len)),
        Kind::HostData if r.below(4) == 0 => Fact::Bytes(Bytes::INITDATA),
        Kind::HostData => Fact::Bytes(bytes(r.below(4), 32)),
        Kind::Names { .. } | Kind::NamesForbidden | Kind::NamesRequired | Kind::Roots(_) => {
            text_fact(key, r)
        }
        Kind::Bits(bits) => {
            let all = bits.names.iter().map(|(bit, _)| *bit).chain([40, 41]);
            Fact::Number(
                all.filter(|_| r.chance(40))
                    .fold(bits.ignore & 0x2_0100, |mask, bit| mask | 1 << bit),
            )
        }
        Kind::Tcb => {
            let generation = u8::try_from(r.below(5)).unwrap();
            let mut levels = [0; 5].map(|_: u8| u8::try_from(r.below(4)).unwrap());
            if generation < 2 {
                levels[0] = 0;
            }
            Fact::Tcb(Tcb { generation, levels })
        }
        Kind::Egress => {
            let address = r.pick(&ADDRESSES).parse().unwrap();
            let (_, protocol) = Protocol::ALL[usize::try_from(r.below(3)).unwrap()];
            let port =
                if protocol == Protocol::Icmp { 0 } else { u16::try_from(r.below(6)).unwrap() };
            Fact::Endpoint(Endpoint { address, port, protocol })
        }
        Kind::Limit => {
            let total = 1 + r.below(6);
            Fact::Usage(Usage { in_second: 1 + r.below(total), total })
        }
        Kind::Action(_) => unreachable!("no fact"),
    }
}

/// A random fact under the key.
pub fn fact(key: Key, r: &mut Random) -> Fact {
    if key == Key::LaunchCmdline {
        let pieces: Vec<&str> = (0..r.below(4)).map(|_| r.pick(&PIECES)).collect();
        return Facts::new().command_line(&pieces.join(" ")).get(key).unwrap().clone();
    }
    if key.kind().is_list() {
        Fact::List((0..r.below(3)).map(|_| one(key, r)).collect())
    } else {
        one(key, r)
    }
}

/// The keys that are decided at a point.
pub fn keys(point: Point) -> Vec<Key> {
    let fields = if point == Point::Secrets { GRANT_FIELDS } else { point.fields() };
    let mut keys: Vec<Key> =
        fields.iter().map(|f| f.key).filter(|key| *key != Key::Setting).collect();
    keys.sort();
    keys.dedup();
    if point == Point::Secrets {
        keys.push(Key::SecretResource);
    }
    keys
}

/// Random facts for a point: half of them near the policy's edge, so that both verdicts are common.
pub fn facts(policy: &Policy, point: Point, r: &mut Random) -> Facts {
    let mut facts = Facts::new();
    for key in keys(point) {
        if r.chance(97) {
            facts.set(key, fact(key, r));
        }
    }
    if r.chance(70) {
        facts = policy.why_not(point, &facts).apply(&facts);
        if r.chance(40) {
            let keys = keys(point);
            let key = keys[usize::try_from(r.below(keys.len() as u64)).unwrap()];
            facts.set(key, fact(key, r));
        }
    }
    facts
}
