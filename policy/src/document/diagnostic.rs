//! Errors of a document, each with file, line, column and key.

use super::MAX_ERRORS;
use crate::site::Site;
use casemate_foreign_text::line;
use std::sync::Arc;

/// One error of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where in the document.
    pub site: Site,
    /// Dotted path of the key, empty for the document.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// How to put it right, where that is known.
    pub help: Option<String>,
}

/// On one line, whatever is in the document: a key may have a line feed in it, and what follows
/// would pass for the next error, or for a verdict of ours.
impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { site, key, message, help } = self;
        let colon = if key.is_empty() { "" } else { ": " };
        let (semicolon, help) = help.as_ref().map_or(("", ""), |help| ("; ", help));
        let text = format_args!("{site}: {key}{colon}{message}{semicolon}{help}");
        write!(f, "{}", line(text))
    }
}

/// A document that was refused, with all of its errors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct LoadError {
    /// The errors, in the order of the document.
    pub diagnostics: Vec<Diagnostic>,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            write!(f, "{}{diagnostic}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// Collects the errors of one document and knows its lines.
pub(crate) struct Sink<'t> {
    text: &'t str,
    file: Arc<str>,
    line_starts: Vec<usize>,
    found: Vec<(usize, Diagnostic)>,
    dropped: usize,
}

impl<'t> Sink<'t> {
    pub(crate) fn new(text: &'t str, file: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        // Line starts are found once, so that each error costs a search and no second reading of
        // the text.
        let line_starts = std::iter::once(0).chain(breaks).collect();
        Self { text, file: file.into(), line_starts, found: Vec::new(), dropped: 0 }
    }

    pub(crate) fn site(&self, offset: usize) -> Site {
        // The last line that starts at or before the offset.
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|l| self.line_starts.get(l)).copied().unwrap_or(0);
        let before = self.text.as_bytes().get(start..offset).unwrap_or(&[]);
        // Characters are counted as bytes that are not UTF-8 continuations.
        let column = before.iter().filter(|b| **b & 0xc0 != 0x80).count() + 1;
        Site { file: self.file.clone(), line: line.max(1), column }
    }

    pub(crate) fn error(&mut self, offset: usize, key: &str, message: impl Into<String>) {
        self.error_with_help(offset, key, message, None);
    }

    pub(crate) fn error_with_help(
        &mut self,
        offset: usize,
        key: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        // Beyond the bound errors are only counted: a document of a million wrong keys makes no
        // million messages.
        if self.found.len() >= MAX_ERRORS {
            self.dropped += 1;
            return;
        }
        let (site, key, message) = (self.site(offset), key.to_owned(), message.into());
        self.found.push((offset, Diagnostic { site, key, message, help }));
    }

    /// Whether further errors are only counted.
    pub(crate) fn full(&self) -> bool {
        self.found.len() >= MAX_ERRORS
    }

    /// The errors so far, or `Ok` when there are none.
    pub(crate) fn finish(mut self) -> Result<(), LoadError> {
        if self.found.is_empty() {
            return Ok(());
        }
        // In the order of the document: header and fields are checked at different times.
        self.found.sort_by_key(|(offset, _)| *offset);
        let mut diagnostics: Vec<Diagnostic> = self.found.into_iter().map(|(_, d)| d).collect();
        if self.dropped > 0 {
            diagnostics.push(Diagnostic {
                site: Site { file: self.file, line: 1, column: 1 },
                key: String::new(),
                message: format!("at least {} more errors are not shown", self.dropped),
                help: None,
            });
        }
        Err(LoadError { diagnostics })
    }
}
