//! One field of a document to its rule.

use super::{MAX_TEXT, Node, Sink, Value, egress, members, structured, suggest};
use crate::cmdline;
use crate::fields::Kind;
use crate::lattice::{ByteSet, Choice, Forbidden, Pattern, Patterns, Range, Required};
use crate::rule::Rule;

/// `major.minor.patch` with one to three parts, packed so that order of numbers is order of
/// versions.
pub(crate) fn parse_version(text: &str) -> Option<u64> {
    let mut packed = [0u64; 3];
    let mut parts = text.split('.');
    for (index, slot) in packed.iter_mut().enumerate() {
        // Up to three parts; what is not written is 0.
        match parts.next() {
            Some(part) => *slot = version_part(part)?,
            None if index > 0 => {}
            None => return None,
        }
    }
    let [major, minor, patch] = packed;
    parts.next().is_none().then_some(major << 40 | minor << 20 | patch)
}

fn version_part(part: &str) -> Option<u64> {
    // Six digits are at most 999,999, below the 2^20 that a part has room for.
    let digits = !part.is_empty() && part.len() <= 6 && part.bytes().all(|b| b.is_ascii_digit());
    part.parse().ok().filter(|_| digits)
}

/// The version that a packed number stands for.
pub(crate) fn format_version(packed: u64) -> String {
    format!("{}.{}.{}", packed >> 40, packed >> 20 & 0xf_ffff, packed & 0xf_ffff)
}

/// Reads a field; `None` after an error.
pub(crate) fn parse_rule(kind: Kind, node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Rule> {
    // The two words of every field come before its own syntax. What a denial does cannot be
    // "nothing".
    match &node.value {
        Value::Text(word) if word == "any" => return Some(kind.any()),
        Value::Text(word) if word == "nothing" && !matches!(kind, Kind::Action(_)) => {
            return Some(kind.nothing());
        }
        _ => {}
    }
    let expected = format!("{}, or \"any\"", kind.syntax());
    Some(match kind {
        Kind::Floor => Rule::Range(Range::at_least(number(node, path, &expected, sink)?)),
        Kind::Ceiling | Kind::CeilingEach => {
            Rule::Range(Range::at_most(number(node, path, &expected, sink)?))
        }
        Kind::Interval => Rule::Range(structured::interval(node, path, sink)?),
        Kind::Version => Rule::Range(Range::at_least(version(node, path, &expected, sink)?)),
        Kind::Window => Rule::Range(structured::window(node, path, sink)?),
        Kind::Flag | Kind::FlagEach => {
            let index = one_of(node, crate::fields::FLAG, path, &expected, sink)?;
            Rule::Choice(Choice::only([index]))
        }
        Kind::Choice(names) => {
            Rule::Choice(Choice::only(members::choices(node, names, path, &expected, sink)?))
        }
        Kind::Level(names) | Kind::Action(names) => {
            Rule::Range(Range::at_most(one_of(node, names, path, &expected, sink)?))
        }
        Kind::BytesAllowed(_) | Kind::HostData => {
            Rule::Bytes(ByteSet::only(members::byte_strings(node, kind, path, &expected, sink)?))
        }
        Kind::BytesDenied(_) => {
            Rule::Bytes(ByteSet::except(members::byte_strings(node, kind, path, &expected, sink)?))
        }
        Kind::Names { list } => {
            // A rule on the words of a line is written as the kernel's reading writes words.
            let patterns = members::patterns(node, path, &expected, sink)?;
            Rule::Names(Patterns::new(if list { of_field(path, patterns) } else { patterns }))
        }
        Kind::Roots(words) => {
            Rule::Names(Patterns::new(members::roots(node, path, (words, &expected), sink)?))
        }
        Kind::NamesForbidden => {
            let patterns = members::patterns(node, path, &expected, sink)?;
            Rule::Forbidden(Forbidden::new(of_field(path, patterns)))
        }
        Kind::NamesRequired => Rule::Required(required(node, path, &expected, sink)?),
        Kind::Bits(names) => Rule::Bits(structured::bits(node, names, path, sink)?),
        Kind::Tcb => Rule::Tcb(structured::tcb(node, path, sink)?),
        Kind::Egress => Rule::Egress(egress::egress(node, path, sink)?),
        Kind::Limit => Rule::Limit(structured::limit(node, path, sink)?),
    })
}

fn required(node: &Node, path: &str, expected: &str, sink: &mut Sink<'_>) -> Option<Required> {
    let texts = members::texts(node, path, expected, sink)?;
    let word = |text: &str| match is_of_words(path) {
        true => cmdline::word(text),
        false => text.into(),
    };
    Some(Required::all(texts.into_iter().map(|(_, text)| word(text))))
}

/// Only what is said of the kernel's command line is written as the kernel reads it: elsewhere
/// `a-b` is not `a_b`.
fn is_of_words(path: &str) -> bool {
    path.starts_with("launch.cmdline_")
}

/// Patterns of a list, as rules know them.
fn of_field(path: &str, patterns: Vec<Pattern>) -> Vec<Pattern> {
    if is_of_words(path) { of_words(patterns) } else { patterns }
}

/// Patterns of words of the command line, written as rules know words. A prefix that ends within
/// the two characters `--`, whose writing does not change, matches it beside what begins with `_`.
fn of_words(patterns: Vec<Pattern>) -> Vec<Pattern> {
    let mut out = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        if !pattern.is_prefix() {
            out.push(Pattern::exact(&cmdline::word(pattern.text())));
            continue;
        }
        if matches!(pattern.text(), "-" | "--") {
            out.push(Pattern::exact("--"));
        }
        out.push(Pattern::prefix(&cmdline::prefix(pattern.text())));
    }
    out
}

fn refuse<T>(node: &Node, path: &str, expected: &str, sink: &mut Sink<'_>) -> Option<T> {
    let found = node.value.describe();
    sink.error(node.offset, path, format!("expected {expected}, found {found}"));
    None
}

fn number(node: &Node, path: &str, expected: &str, sink: &mut Sink<'_>) -> Option<u64> {
    match node.value {
        Value::Number(n) => Some(n),
        _ => refuse(node, path, expected, sink),
    }
}

fn version(node: &Node, path: &str, expected: &str, sink: &mut Sink<'_>) -> Option<u64> {
    match &node.value {
        Value::Text(text) if text.len() <= MAX_TEXT => {
            parse_version(text).or_else(|| refuse(node, path, expected, sink))
        }
        _ => refuse(node, path, expected, sink),
    }
}

fn one_of(
    node: &Node,
    names: &[&str],
    path: &str,
    expected: &str,
    sink: &mut Sink<'_>,
) -> Option<u64> {
    match &node.value {
        Value::Text(text) => members::index_of(text, names).or_else(|| {
            let help = suggest::help(text, names.iter().copied());
            let message = format!("expected {expected}, found {}", node.value.describe());
            sink.error_with_help(node.offset, path, message, help);
            None
        }),
        _ => refuse(node, path, expected, sink),
    }
}
