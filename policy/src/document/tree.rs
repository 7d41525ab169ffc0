//! The untyped tree that both notations are read into.

use super::{MAX_DEPTH, MAX_DOCUMENT, Sink, json, toml};

/// A value with the byte offset where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) offset: usize,
    pub(crate) value: Value,
}

/// A value of a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Number(u64),
    /// A number that is not a whole number from 0 to 2^63-1, as written.
    OtherNumber(String),
    Text(String),
    Null,
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table, with the offset of the key, and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) offset: usize,
    pub(crate) key: String,
    pub(crate) node: Node,
}

impl Value {
    /// What the value is, for "expected X, found Y".
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Bool(b) => format!("{b}"),
            Self::Number(n) => format!("the number {n}"),
            Self::OtherNumber(text) => format!("the number {}", shorten(text)),
            Self::Text(text) => format!("the text {:?}", shorten(text)),
            Self::Null => "null".into(),
            Self::List(_) => "a list".into(),
            Self::Table(_) => "a table".into(),
        }
    }
}

/// At most 40 characters of `text`.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Reads JSON when the first character is `{`, else TOML. `None` after an error.
pub(crate) fn parse(text: &str, sink: &mut Sink<'_>) -> Option<Node> {
    if text.len() > MAX_DOCUMENT {
        let message = format!("the document is longer than {MAX_DOCUMENT} bytes");
        sink.error(0, "", message);
        return None;
    }
    let body = text.trim_start_matches('\u{feff}').trim_start();
    let node =
        if body.starts_with('{') { json::parse(text, sink) } else { toml::parse(text, sink) }?;
    check_depth(&node, 0, sink).then_some(node)
}

fn check_depth(node: &Node, depth: usize, sink: &mut Sink<'_>) -> bool {
    if depth > MAX_DEPTH {
        sink.error(node.offset, "", format!("more than {MAX_DEPTH} nested tables or lists"));
        return false;
    }
    match &node.value {
        Value::List(items) => items.iter().all(|item| check_depth(item, depth + 1, sink)),
        Value::Table(entries) => {
            entries.iter().all(|entry| check_depth(&entry.node, depth + 1, sink))
        }
        _ => true,
    }
}
