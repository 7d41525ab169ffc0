//! Rules and facts as text: rules in document syntax (TOML), facts in input syntax (JSON).
//!
//! Rendering a rule and reading it again gives the same rule; so does a fact. The brief forms are
//! for messages and leave members of long lists out.

use crate::document::format_version;
use crate::document::json::{quote, write_string};
use crate::fact::Fact;
use crate::fields::view;
use crate::fields::{BitNames, FLAG, Kind};
use crate::lattice::{
    Bits, ByteSet, Bytes, Choice, EgressBlock, EgressSet, Limit, Pattern, Patterns, Range, Tcb,
    TcbFloors, write_hex,
};
use crate::rule::Rule;
use crate::utc;

pub(crate) use crate::document::tree::shorten;

const ANY: &str = "\"any\"";
const NOTHING: &str = "\"nothing\"";
/// Most members of a list that messages show.
const BRIEF: usize = 4;

/// The rule in document syntax.
pub(crate) fn rule(kind: Kind, rule: &Rule) -> String {
    write_rule(kind, rule, usize::MAX)
}

/// The rule in document syntax with long lists cut short.
pub(crate) fn brief_rule(kind: Kind, rule: &Rule) -> String {
    write_rule(kind, rule, BRIEF)
}

/// The word before a rule of this kind in messages: how it constrains the fact.
pub(crate) const fn operator(kind: Kind) -> &'static str {
    match kind {
        Kind::Floor | Kind::Version | Kind::Tcb => "at least",
        Kind::Ceiling | Kind::Level(_) => "at most",
        Kind::CeilingEach => "each at most",
        Kind::Interval | Kind::Window => "within",
        Kind::Flag => "is",
        Kind::FlagEach => "each is",
        Kind::Choice(_) | Kind::BytesAllowed(_) | Kind::HostData | Kind::Names { list: false } => {
            "one of"
        }
        Kind::Names { list: true } => "each one of",
        Kind::Roots(_) => "each below",
        Kind::BytesDenied(_) => "not one of",
        Kind::NamesForbidden => "none of",
        Kind::NamesRequired => "has all of",
        Kind::Bits(_) => "bits",
        Kind::Egress => "each in",
        Kind::Limit => "at most",
        Kind::Action(_) => "on denial",
    }
}

fn write_rule(kind: Kind, rule: &Rule, most: usize) -> String {
    // For a list of what is denied or required, `any` is the empty list, and is written so: a
    // document that says `[]` reads better than one that says that anything may be denied.
    if *rule == kind.any()
        && !matches!(kind, Kind::BytesDenied(_) | Kind::NamesForbidden | Kind::NamesRequired)
    {
        return ANY.into();
    }
    if rule.is_empty() {
        return NOTHING.into();
    }
    match rule {
        Rule::Range(range) => write_range(kind, range),
        Rule::Bytes(set) => write_bytes(set, most),
        Rule::Names(patterns) => write_patterns(patterns, kind, most),
        Rule::Forbidden(forbidden) => write_patterns(forbidden.patterns(), kind, most),
        Rule::Required(required) => {
            list(required.texts().unwrap_or_default().iter().map(|text| quote(text)), most)
        }
        Rule::Bits(bits) => match kind {
            Kind::Bits(names) => write_bits(*bits, names),
            _ => NOTHING.into(),
        },
        Rule::Choice(choice) => write_choice(*choice, kind),
        Rule::Tcb(floors) => write_tcb(floors),
        Rule::Egress(set) => write_egress(set, most),
        Rule::Limit(limit) => write_limit(limit),
    }
}

fn list(mut items: impl Iterator<Item = String>, most: usize) -> String {
    let mut out = String::from("[");
    let mut first = true;
    for item in items.by_ref().take(most) {
        if !first {
            out.push_str(", ");
        }
        first = false;
        out.push_str(&item);
    }
    // What was not taken is counted, not kept.
    let left = items.count();
    if left > 0 {
        out.push_str(&format!(", … {left} more"));
    }
    out.push(']');
    out
}

fn number_or_any(number: u64, any: u64) -> String {
    if number == any { ANY.into() } else { number.to_string() }
}

fn write_range(kind: Kind, range: &Range) -> String {
    // Levels and actions are stored as their greatest index.
    let name = |names: &[&str]| {
        let at = usize::try_from(range.max()).unwrap_or(usize::MAX);
        quote(names.get(at).copied().unwrap_or("any"))
    };
    // The ends of time are `any`, as documents write them.
    let moment = |seconds: u64, any: u64| {
        if seconds == any { ANY.into() } else { quote(&utc::format(seconds)) }
    };
    match kind {
        Kind::Floor => range.min().to_string(),
        Kind::Ceiling | Kind::CeilingEach => range.max().to_string(),
        Kind::Version => quote(&format_version(range.min())),
        Kind::Level(names) | Kind::Action(names) => name(names),
        Kind::Window => {
            let (from, until) = (moment(range.min(), 0), moment(range.max(), u64::MAX));
            format!("{{ from = {from}, until = {until} }}")
        }
        _ => {
            let (min, max) = (number_or_any(range.min(), 0), number_or_any(range.max(), u64::MAX));
            format!("{{ min = {min}, max = {max} }}")
        }
    }
}

fn write_bytes(set: &ByteSet, most: usize) -> String {
    list(set.members().iter().map(|bytes| quote(&byte_text(bytes))), most)
}

fn byte_text(bytes: &Bytes) -> String {
    match bytes.as_slice() {
        [] => bytes.to_text(),
        digest if digest.iter().all(|b| *b == 0) => "unset".into(),
        _ => bytes.to_hex(),
    }
}

fn write_patterns(patterns: &Patterns, kind: Kind, most: usize) -> String {
    // A root is stored with a final `/`, to be a prefix of exactly what lies below, and shown
    // without.
    let text = |pattern: &Pattern| match kind {
        Kind::Roots(_) => quote(pattern.text().trim_end_matches('/')),
        _ => quote(&pattern.to_string()),
    };
    list(patterns.patterns().iter().map(text), most)
}

/// The names of the bits of a mask.
pub(crate) fn bit_names(mask: u64, names: &BitNames) -> Vec<String> {
    let name = |bit: u8| {
        let named = names.names.iter().find(|(number, _)| *number == bit);
        named.map_or_else(|| format!("bit{bit}"), |(_, name)| (*name).to_owned())
    };
    (0..64u8).filter(|bit| mask >> bit & 1 == 1).map(name).collect()
}

fn write_bits(bits: Bits, names: &BitNames) -> String {
    let list = |mask: u64| list(bit_names(mask, names).iter().map(|name| quote(name)), usize::MAX);
    let must = list(bits.must());
    // What may be set is what is neither demanded nor denied; bits that the field ignores are in no
    // list.
    let may = !bits.must() & !bits.must_not() & !names.ignore;
    // Whichever list is shorter is written; both read back to the same rule.
    if may.count_ones() > bits.must_not().count_ones() {
        format!("{{ must = {must}, may = \"any\", must_not = {} }}", list(bits.must_not()))
    } else {
        format!("{{ must = {must}, may = {} }}", list(may))
    }
}

fn write_choice(choice: Choice, kind: Kind) -> String {
    let admitted = |names: &[&'static str]| {
        let indexed = (0u64..).zip(names.iter().copied());
        indexed
            .filter(|(index, _)| choice.admits(*index))
            .map(|(_, name)| quote(name))
            .collect::<Vec<_>>()
    };
    match kind {
        Kind::Choice(names) => list(admitted(names).into_iter(), usize::MAX),
        _ => admitted(FLAG).into_iter().next().unwrap_or_else(|| NOTHING.into()),
    }
}

fn write_tcb(floors: &TcbFloors) -> String {
    let known = Tcb::GENERATIONS.iter().zip(floors.floors());
    let parts = known.filter_map(|(generation, floor)| {
        // The older generations have no FMC, and a floor for it would be refused.
        let skip = usize::from(matches!(*generation, "milan" | "genoa"));
        let levels = Tcb::PARTS.iter().zip((*floor)?).skip(skip);
        let levels: Vec<String> = levels.map(|(part, level)| format!("{part} = {level}")).collect();
        Some(format!("{generation} = {{ {} }}", levels.join(", ")))
    });
    format!("{{ {} }}", parts.collect::<Vec<_>>().join(", "))
}

fn write_egress(set: &EgressSet, most: usize) -> String {
    list(set.blocks().map(|block| write_block(&block)), most)
}

fn write_block(block: &EgressBlock) -> String {
    let mut out = format!("{{ first = \"{}\", last = \"{}\"", block.first, block.last);
    if block.protocol != crate::lattice::Protocol::Icmp {
        out.push_str(&format!(", ports = [{}, {}]", block.ports.0, block.ports.1));
    }
    out.push_str(&format!(", protocol = \"{}\" }}", block.protocol.name()));
    out
}

fn write_limit(limit: &Limit) -> String {
    let per_second = number_or_any(limit.per_second(), u64::MAX);
    format!("{{ per_second = {per_second}, total = {} }}", number_or_any(limit.total(), u64::MAX))
}

/// The fact in input syntax.
pub(crate) fn fact(kind: Kind, fact: &Fact) -> String {
    let mut out = String::new();
    append_fact(&mut out, kind, fact);
    out
}

/// Appends the fact in input syntax.
pub(crate) fn append_fact(out: &mut String, kind: Kind, fact: &Fact) {
    // The frequent facts are appended in place: the log writes one for every decision.
    match fact {
        Fact::Number(n) => match kind {
            Kind::Version | Kind::Window | Kind::Choice(_) | Kind::Level(_) => {
                out.push_str(&write_number(kind, *n));
            }
            Kind::Flag | Kind::FlagEach => out.push_str(if *n == 0 { "false" } else { "true" }),
            _ => utc::write_padded(out, *n, 1),
        },
        Fact::Text(text) if !matches!(kind, Kind::Roots(_)) => write_string(out, text),
        Fact::CommandLine(line) => write_string(out, line.line()),
        Fact::Bytes(Bytes::INITDATA) => out.push_str("\"initdata\""),
        Fact::Bytes(bytes) => {
            out.push('"');
            write_hex(out, bytes.as_slice());
            out.push('"');
        }
        Fact::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                append_fact(out, kind, item);
            }
            out.push(']');
        }
        other => out.push_str(&write_fact(kind, other, usize::MAX)),
    }
}

/// The fact in input syntax, shortened.
pub(crate) fn brief_fact(kind: Kind, fact: &Fact) -> String {
    let text = match (kind, fact) {
        (Kind::Bits(names), Fact::Number(mask)) => {
            // The number as it is, and the names of what is set in it.
            let flags = bit_names(mask & !names.ignore, names).into_iter().map(|name| quote(&name));
            format!("{mask:#x} {}", list(flags, usize::MAX))
        }
        (_, Fact::CommandLine(line)) => {
            list(view(line, kind).iter().map(|word| quote(word)), BRIEF)
        }
        _ => write_fact(kind, fact, BRIEF),
    };
    shorten_to(text, 160)
}

/// The text, or so many characters of it and a mark.
fn shorten_to(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// The fact as the reason of a denial shows it: of a command line only the words that the rule
/// refuses, where it refuses words.
pub(crate) fn brief_found(kind: Kind, rule: &Rule, fact: &Fact) -> String {
    let refuses = |word: &str| match rule {
        Rule::Names(patterns) => !patterns.admits(word),
        Rule::Forbidden(forbidden) => !forbidden.admits(word),
        _ => true,
    };
    match fact {
        // Of a long line the reason names the words that are at fault, not the line.
        Fact::CommandLine(line) => {
            let refused = view(line, kind).iter().filter(|word| refuses(word));
            shorten_to(list(refused.map(|word| quote(word)), BRIEF), 160)
        }
        fact => brief_fact(kind, fact),
    }
}

fn write_fact(kind: Kind, fact: &Fact, most: usize) -> String {
    match fact {
        Fact::Number(n) => write_number(kind, *n),
        Fact::Text(text) if matches!(kind, Kind::Roots(_)) && text.len() > 1 => {
            quote(text.trim_end_matches('/'))
        }
        Fact::Text(text) => quote(text),
        Fact::CommandLine(line) => quote(line.line()),
        Fact::Bytes(bytes) => quote(&bytes.to_text()),
        Fact::Tcb(tcb) => {
            let generation = Tcb::GENERATIONS.get(usize::from(tcb.generation)).copied();
            let mut out = format!("{{\"generation\":{}", quote(generation.unwrap_or("unknown")));
            for (part, level) in Tcb::PARTS.iter().zip(tcb.levels) {
                out.push_str(&format!(",\"{part}\":{level}"));
            }
            out.push('}');
            out
        }
        Fact::Endpoint(e) => format!(
            "{{\"address\":\"{}\",\"port\":{},\"protocol\":\"{}\"}}",
            e.address,
            e.port,
            e.protocol.name()
        ),
        Fact::Usage(usage) => {
            format!("{{\"in_second\":{},\"total\":{}}}", usage.in_second, usage.total)
        }
        Fact::List(items) => list(items.iter().map(|item| write_fact(kind, item, most)), most),
        Fact::Invalid(why) => quote(why),
    }
}

fn write_number(kind: Kind, n: u64) -> String {
    let name = |names: &[&str]| {
        let at = usize::try_from(n).unwrap_or(usize::MAX);
        quote(names.get(at).copied().unwrap_or("unknown"))
    };
    match kind {
        Kind::Version => quote(&format_version(n)),
        Kind::Window => quote(&utc::format(n)),
        Kind::Choice(names) | Kind::Level(names) => name(names),
        Kind::Flag | Kind::FlagEach => (n != 0).to_string(),
        _ => n.to_string(),
    }
}

impl Rule {
    /// Whether this is the loosest rule of its kind.
    #[must_use]
    pub fn is_loosest(&self, kind: Kind) -> bool {
        *self == kind.any()
    }
}

impl crate::fields::Field {
    /// A rule of this field in document syntax.
    #[must_use]
    pub fn show_rule(&self, value: &Rule) -> String {
        rule(self.kind, value)
    }

    /// A fact of this field in input syntax.
    #[must_use]
    pub fn show_fact(&self, value: &Fact) -> String {
        fact(self.kind, value)
    }
}

/// The fact in input syntax, as TOML.
pub(crate) fn toml_fact(kind: Kind, value: &Fact) -> String {
    match value {
        Fact::List(items) => list(items.iter().map(|item| toml_fact(kind, item)), usize::MAX),
        Fact::Tcb(tcb) => {
            let generation = Tcb::GENERATIONS.get(usize::from(tcb.generation)).copied();
            let parts =
                Tcb::PARTS.iter().zip(tcb.levels).map(|(part, level)| format!("{part} = {level}"));
            let parts: Vec<String> = parts.collect();
            let generation = quote(generation.unwrap_or("unknown"));
            format!("{{ generation = {generation}, {} }}", parts.join(", "))
        }
        Fact::Endpoint(e) => format!(
            "{{ address = \"{}\", port = {}, protocol = \"{}\" }}",
            e.address,
            e.port,
            e.protocol.name()
        ),
        Fact::Usage(usage) => {
            format!("{{ in_second = {}, total = {} }}", usage.in_second, usage.total)
        }
        other => fact(kind, other),
    }
}
