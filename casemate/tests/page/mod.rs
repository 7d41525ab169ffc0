//! A page read as XML: the rows of its tables.

use roxmltree::{Document, Node, ParsingOptions};

/// A page, which must be XML.
pub fn parse(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).unwrap_or_else(|e| panic!("{e}\n{page}"))
}

/// All text below it, each piece apart from the next by a space.
pub fn shown(node: Node<'_, '_>) -> String {
    let texts = node.descendants().filter(Node::is_text).filter_map(|node| node.text());
    texts.collect::<Vec<_>>().join(" ")
}

/// The rows of the table with this caption.
pub fn rows(document: &Document<'_>, caption: &str) -> Vec<Vec<String>> {
    let is = |node: &Node<'_, '_>| {
        node.has_tag_name("table")
            && node.first_element_child().map(shown).as_deref() == Some(caption)
    };
    let table = document.descendants().find(is).unwrap_or_else(|| panic!("no table {caption}"));
    let body = table.children().find(|node| node.has_tag_name("tbody")).unwrap();
    let cells = |row: Node<'_, '_>| row.children().filter(Node::is_element).map(shown).collect();
    body.children().filter(Node::is_element).map(cells).collect()
}
