//! The head of a document: which schema and engine it was written for.

use super::{Node, Sink, Value, parse_version};

/// The version of the document schema that this engine reads.
pub const SCHEMA_VERSION: u64 = 1;
/// The version of this engine, compared with a document's `min_engine`.
pub const ENGINE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The head of a document, as far as it has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    /// The document is a layer: unstated fields are left to the policy it is merged with.
    pub(crate) layer: bool,
    /// Whether the document has a section `secrets`, even an empty one.
    pub(crate) secrets: bool,
    schema: bool,
    engine: bool,
}

impl Header {
    /// Keys of the head, in the order in which documents mostly have them.
    pub(crate) const KEYS: [&'static str; 5] =
        ["schema_version", "min_engine", "name", "description", "layer"];

    /// Reads one key of the head; the caller has checked that it is one.
    pub(crate) fn read(&mut self, key: &str, node: &Node, sink: &mut Sink<'_>) {
        match (key, &node.value) {
            // Only the number 1 is this schema; a later one may mean other things by the same keys.
            ("schema_version", value) => {
                self.schema = true;
                if *value != Value::Number(SCHEMA_VERSION) {
                    let found = value.describe();
                    let message = format!("expected {SCHEMA_VERSION}, found {found}");
                    sink.error(node.offset, key, message);
                }
            }
            ("min_engine", Value::Text(text)) => {
                self.engine = true;
                check_engine(text, node, sink);
            }
            ("layer", Value::Bool(layer)) => self.layer = *layer,
            ("layer", value) => {
                sink.error(
                    node.offset,
                    key,
                    format!("expected true or false, found {}", value.describe()),
                );
            }
            ("name", Value::Text(text)) => self.name = Some(text.clone()),
            ("description", Value::Text(text)) => self.description = Some(text.clone()),
            (_, value) => {
                // The key was there, so "missing" is not said as well.
                self.engine |= key == "min_engine";
                sink.error(
                    node.offset,
                    key,
                    format!("expected a text, found {}", value.describe()),
                );
            }
        }
    }

    /// Reports what is missing.
    pub(crate) fn finish(&self, sink: &mut Sink<'_>) {
        // Both are demanded: a document without them could be one for any engine.
        if !self.schema {
            sink.error(
                0,
                "schema_version",
                format!("missing; write `schema_version = {SCHEMA_VERSION}`"),
            );
        }
        if !self.engine {
            sink.error(
                0,
                "min_engine",
                format!("missing; write `min_engine = \"{ENGINE_VERSION}\"`"),
            );
        }
    }
}

fn check_engine(text: &str, node: &Node, sink: &mut Sink<'_>) {
    // Newer than this engine is refused: it may rely on a rule that this one would not know to be
    // one.
    match (parse_version(text), parse_version(ENGINE_VERSION)) {
        (Some(wanted), Some(own)) if wanted <= own => {}
        (Some(_), _) => sink.error(
            node.offset,
            "min_engine",
            format!(
                "the document needs engine {text}, this is {ENGINE_VERSION}; use a newer casemate"
            ),
        ),
        (None, _) => sink.error(
            node.offset,
            "min_engine",
            format!("expected a version such as \"{ENGINE_VERSION}\""),
        ),
    }
}
