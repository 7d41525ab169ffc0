//! The two notations of a document, and the bounds that both keep.

use super::tree::{Node, Value};
use super::{MAX_DEPTH, MAX_DOCUMENT, Sink, json, toml};

/// Reads JSON when the first character is `{`, else TOML. `None` after an error.
pub(crate) fn parse(text: &str, sink: &mut Sink<'_>) -> Option<Node> {
    // Before either parser: what follows is linear in the text, and some of it keeps several
    // copies.
    if text.len() > MAX_DOCUMENT {
        let message = format!("the document is longer than {MAX_DOCUMENT} bytes");
        sink.error(0, "", message);
        return None;
    }
    // A document in TOML cannot begin with `{`.
    let body = text.trim_start_matches('\u{feff}').trim_start();
    let node =
        if body.starts_with('{') { json::parse(text, sink) } else { toml::parse(text, sink) }?;
    // For both notations, after the parse: TOML's parser bounds nesting in its own way, JSON's
    // reader by this bound already.
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
