//! The untyped tree that both notations are read into.

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
