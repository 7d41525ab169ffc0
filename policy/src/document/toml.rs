//! TOML to the tree.

use super::tree::{Entry, Node, Value};
use super::{MAX_DEPTH, Sink};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest document of which all syntax errors are found; of a longer one the first.
const MAX_RECOVERED: usize = 64 << 10;

pub(super) fn parse(text: &str, sink: &mut Sink<'_>) -> Option<Node> {
    // Before the parser, whose recursion on such a key has no bound.
    if let Some(offset) = deep_key(text) {
        sink.error(offset, "", format!("a dotted key with more than {MAX_DEPTH} parts"));
        return None;
    }
    let first = match DeTable::parse(text) {
        Ok(table) => return Some(convert_table(0, table.get_ref())),
        Err(error) => error,
    };
    // The parser keeps every error it finds, each with a cost: only short documents are worth it.
    let all =
        if text.len() <= MAX_RECOVERED { DeTable::parse_recoverable(text).1 } else { vec![first] };
    for error in &all {
        let offset = error.span().map_or(0, |span| span.start);
        sink.error(offset, "", error.message().replace('\n', "; "));
    }
    None
}

fn convert_table(offset: usize, table: &DeTable<'_>) -> Node {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            offset: key.span().start,
            key: key.get_ref().to_string(),
            node: convert(value),
        })
        .collect();
    // The parser sorts by key; the order of the document is what errors and origins are told in.
    entries.sort_by_key(|entry| entry.offset);
    Node { offset, value: Value::Table(entries) }
}

fn convert(node: &Spanned<DeValue<'_>>) -> Node {
    let offset = node.span().start;
    let value = match node.get_ref() {
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Integer(integer) => {
            // The radix is the notation's (0x, 0o, 0b), the range is the tree's: whole numbers from
            // 0 to 2^63-1.
            let parsed = i64::from_str_radix(integer.as_str(), integer.radix());
            match parsed.ok().and_then(|n| u64::try_from(n).ok()) {
                Some(number) => Value::Number(number),
                None => Value::OtherNumber(integer.to_string()),
            }
        }
        DeValue::Float(float) => Value::OtherNumber(float.to_string()),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(convert).collect()),
        DeValue::Table(table) => return convert_table(offset, table),
    };
    Node { offset, value }
}

/// Offset of a dotted key with too many parts. The parser nests one table for each part without a
/// bound of its own, so this is looked at first: outside texts and comments, only keys have many
/// dots.
fn deep_key(text: &str) -> Option<usize> {
    let mut rest = text;
    let mut dots = 0usize;
    while let Some(first) = rest.chars().next() {
        // Texts and comments are passed over whole, as the parser would: a dot in them belongs to
        // no key.
        let skip = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => text_length(rest, first),
            other => {
                match other {
                    '.' => dots += 1,
                    // Where a key can end, its count does.
                    '\n' | '=' | ',' | '{' | '}' => dots = 0,
                    _ => {}
                }
                if dots >= MAX_DEPTH {
                    return Some(text.len() - rest.len());
                }
                other.len_utf8()
            }
        };
        rest = rest.get(skip..)?;
    }
    None
}

/// Length of the text that `rest` begins with, quotes included.
fn text_length(rest: &str, quote: char) -> usize {
    let long: String = std::iter::repeat_n(quote, 3).collect();
    // Three quotes begin a text of several lines, in which single quotes mean nothing.
    let multi_line = rest.starts_with(&long);
    let end: &str = if multi_line { &long } else { long.get(..1).unwrap_or(&long) };
    let mut at = end.len();
    while let Some(tail) = rest.get(at..) {
        let Some(next) = tail.chars().next() else { break };
        if tail.starts_with(end) {
            return at + end.len();
        }
        if next == '\n' && !multi_line {
            return at;
        }
        at += next.len_utf8();
        // In basic strings (TOML 1.0, "String") a backslash takes the next character with it, a
        // quote too; in literal ones it is a character.
        if next == '\\' && quote == '"' {
            at += rest.get(at..).and_then(|t| t.chars().next()).map_or(0, char::len_utf8);
        }
    }
    rest.len()
}
