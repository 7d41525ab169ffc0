//! YAML as pods are written in: a tree whose every value knows its line.
//!
//! The library gives events one by one, and the tree is made of them here: so the bounds hold while
//! it is read. Anchors and aliases are refused, by which a short text becomes a long one and one
//! line is two places; so are tags, merge keys, and a key that is there twice, of which readers
//! choose one or the other.

use casemate_foreign_text as foreign;
use saphyr_parser::{Event, Parser, ScalarStyle};

/// Longest text, in bytes: what etcd takes of one object, by default, is 1.5 MiB.
pub const MAX_SIZE: usize = 1 << 20;
/// How deep values lie in each other.
const MAX_DEPTH: usize = 32;
/// Values of one text.
const MAX_VALUES: usize = 64 * 1024;

/// A text that is none, or none that is taken here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct YamlError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub why: String,
}

/// A value and the line that it begins in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// From 1.
    pub line: usize,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A plain scalar that says nothing: `null`, `~`, or no text.
    Null,
    /// A scalar; whether it was written without quotes, so that `true` and `1` are no texts.
    Scalar(String, bool),
    /// A list.
    List(Vec<Value>),
    /// Values by name, in the order of the text.
    Map(Vec<(Key, Value)>),
}

/// A name in a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// From 1.
    pub line: usize,
    /// Characters before it in its line.
    pub column: usize,
    /// The name.
    pub name: String,
}

/// A value that is not closed yet, and for a map the key whose value comes next.
enum Part {
    List(usize, Vec<Value>),
    Map(usize, Vec<(Key, Value)>, Option<Key>),
}

/// Reads the documents of a text.
///
/// # Errors
/// [`YamlError`].
pub fn read(text: &str) -> Result<Vec<Value>, YamlError> {
    let wrong = |line: usize, why: &str| YamlError { line: line.max(1), why: why.to_owned() };
    if text.len() > MAX_SIZE {
        return Err(wrong(1, "more than 1 MiB"));
    }
    let (mut documents, mut open, mut values) = (Vec::new(), Vec::<Part>::new(), 0_usize);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let why = foreign::line(error.info()).at_most(120).to_string();
            YamlError { line: error.marker().line().max(1), why }
        })?;
        let line = span.start.line().max(1);
        let done = match event {
            Event::Alias(_) => return Err(wrong(line, "an alias; write the value out")),
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                return Err(wrong(line, "an anchor; write the value out where it is needed"));
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return Err(wrong(line, "a tag; values here have none"));
            }
            Event::Scalar(text, style, _, None) => {
                let plain = style == ScalarStyle::Plain;
                if let Some(Part::Map(_, entries, next @ None)) = open.last_mut() {
                    let name = text.into_owned();
                    if name == "<<" || entries.iter().any(|(key, _)| key.name == name) {
                        return Err(wrong(line, "a key that is there twice, or a merge key"));
                    }
                    *next = Some(Key { line, column: span.start.col(), name });
                    continue;
                }
                Value { line, kind: scalar(text.into_owned(), plain) }
            }
            Event::SequenceStart(_, None) => {
                open.push(Part::List(line, Vec::new()));
                check_depth(&open, line)?;
                continue;
            }
            Event::MappingStart(_, None) => {
                if let Some(Part::Map(_, _, None)) = open.last() {
                    return Err(wrong(line, "a key that is no word"));
                }
                open.push(Part::Map(line, Vec::new(), None));
                check_depth(&open, line)?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Part::List(line, list)) => Value { line, kind: Kind::List(list) },
                Some(Part::Map(line, entries, _)) => Value { line, kind: Kind::Map(entries) },
                None => return Err(wrong(line, "an end without its beginning")),
            },
            _ => continue,
        };
        values += 1;
        if values > MAX_VALUES {
            return Err(wrong(line, "more than 65536 values"));
        }
        match open.last_mut() {
            None => documents.push(done),
            Some(Part::List(_, list)) => list.push(done),
            Some(Part::Map(_, entries, next)) => match next.take() {
                Some(key) => entries.push((key, done)),
                None => return Err(wrong(line, "a key that is no word")),
            },
        }
    }
    Ok(documents)
}

fn check_depth(open: &[Part], line: usize) -> Result<(), YamlError> {
    if open.len() > MAX_DEPTH {
        return Err(YamlError { line, why: "values lie deeper than 32 in each other".into() });
    }
    Ok(())
}

fn scalar(text: String, plain: bool) -> Kind {
    if plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
        return Kind::Null;
    }
    Kind::Scalar(text, plain)
}

impl Value {
    /// Its entries, where it is a map.
    #[must_use]
    pub fn entries(&self) -> Option<&[(Key, Self)]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a name, where it is a map that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        let entry = self.entries()?.iter().find(|(key, _)| key.name == name);
        entry.map(|(_, value)| value).filter(|value| value.kind != Kind::Null)
    }

    /// Its text, where Kubernetes' reader would take it for one: a plain number or `true` is none.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text, plain) if !(*plain && is_no_text(text)) => Some(text),
            _ => None,
        }
    }

    /// Its text, whatever a reader would make of it.
    #[must_use]
    pub fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// `true` or `false`.
    #[must_use]
    pub fn flag(&self) -> Option<bool> {
        match &self.kind {
            Kind::Scalar(text, true) if text == "true" => Some(true),
            Kind::Scalar(text, true) if text == "false" => Some(false),
            _ => None,
        }
    }

    /// A number from 0 to 2^32 - 1. One that begins with 0 has two readings: YAML 1.1, which
    /// Kubernetes reads, has it in octal, and 1.2 does not.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        let plain = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit())
                && (text == "0" || !text.starts_with('0'))
        };
        match &self.kind {
            Kind::Scalar(text, true) if plain(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Its values, where it is a list.
    #[must_use]
    pub fn list(&self) -> Option<&[Self]> {
        match &self.kind {
            Kind::List(list) => Some(list),
            _ => None,
        }
    }
}

/// Whether readers of YAML 1.1, which Kubernetes has, take a plain scalar for something else than
/// a text: they know more words for truth, and more numbers, than those of 1.2.
fn is_no_text(text: &str) -> bool {
    const WORDS: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "y", "n", ".nan", ".inf"];
    let lower = text.to_ascii_lowercase();
    let signless = lower.trim_start_matches(['+', '-']);
    let numeric = signless.starts_with(|c: char| c.is_ascii_digit())
        && signless
            .chars()
            .all(|c| c.is_ascii_hexdigit() || matches!(c, '_' | '.' | 'x' | 'o' | '+' | '-' | ':'));
    WORDS.contains(&signless) || numeric
}
