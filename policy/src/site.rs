//! A place in a document, for errors and for where a rule comes from.

use std::sync::Arc;

/// A place in a document, as messages name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// File name as it was given to the loader, or another name for messages.
    pub file: Arc<str>,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
