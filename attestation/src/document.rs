//! What a document after `--policy` is: an isolation policy or an appraisal.
//!
//! Principle: a document says what it is, and one that says nothing is an error. An isolation
//! policy says so by its `schema_version`; everything else has to be an appraisal with at least one
//! rule. The first lines of a strict policy, an empty file, or one whose header was lost are
//! therefore refused, where a reader that falls back to "no rules" would let everything pass.

use crate::record::PolicyText;
use crate::verify::{Appraisal, AppraisalError};

/// A document that says what a report must show.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// The policy engine's document, not parsed here.
    Isolation(PolicyText),
    /// An appraisal: rules for the fields of a report, in TOML.
    Appraisal(Box<Appraisal>),
}

/// Keys of an isolation policy: where one stands at the top level, the document is one, or was cut
/// out of one.
const ISOLATION: [&str; 2] = ["schema_version", "min_engine"];

impl Document {
    /// Reads a document; `name` is that of its file, for messages.
    ///
    /// # Errors
    /// [`AppraisalError`] when it is neither.
    pub fn read(text: &str, name: &str) -> Result<Self, AppraisalError> {
        let isolation =
            || Self::Isolation(PolicyText { name: name.to_owned(), text: text.to_owned() });
        // JSON is the engine's other notation; it demands the schema version itself.
        if text.trim_start().starts_with('{') {
            return Ok(isolation());
        }
        // Parsed as a table before it is parsed as an appraisal, so that the question what it is
        // has one answer, and that does not depend on which keys an appraisal knows.
        let table: toml::Table = toml::from_str(text)?;
        if ISOLATION.iter().any(|key| table.contains_key(*key)) {
            return Ok(isolation());
        }
        Appraisal::from_toml(text).map(|appraisal| Self::Appraisal(Box::new(appraisal)))
    }
}
