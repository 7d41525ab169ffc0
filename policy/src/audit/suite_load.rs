//! The document of test cases: TOML or JSON, a list `case` of tables.
//!
//! A case has `name`, `point`, `expect` (allow, throttle, deny, kill), optionally `because` (rule
//! ids), and its input as `input`. Instead of repeating an input, `from` names an earlier case;
//! `change` then sets facts and `remove` takes some away.
//!
//! A case may contradict itself, unlike an input: one fact is changed to show that one rule denies
//! it, and whether the world could be so is not the question.

use super::suite::{Case, Suite};
use crate::decide::Verdict;
use crate::document::{LoadError, Node, Sink, Value, parse, suggest, tree::Entry};
use crate::facts::Facts;
use crate::fields::{Key, Point};
use crate::input::Input;

const KEYS: [&str; 8] = ["name", "point", "expect", "because", "from", "input", "change", "remove"];
/// Most cases of a document.
const MAX_CASES: usize = 10_000;

impl Suite {
    /// Reads a document of test cases. `name` is its file name, for messages.
    ///
    /// # Errors
    /// All errors of the document at once, each with its place.
    pub fn load(text: &str, name: &str) -> Result<Self, LoadError> {
        let mut sink = Sink::new(text, name);
        let mut suite = Self::default();
        if let Some(root) = parse(text, &mut sink) {
            read_root(&root, &mut suite, &mut sink);
        }
        sink.finish()?;
        Ok(suite)
    }
}

fn read_root(root: &Node, suite: &mut Suite, sink: &mut Sink<'_>) {
    let Value::Table(entries) = &root.value else {
        sink.error(root.offset, "", "expected a table with a list `case`");
        return;
    };
    for entry in entries {
        match (entry.key.as_str(), &entry.node.value) {
            // The bound is on cases before any is read: each costs a decision for every mutant.
            ("case", Value::List(items)) if items.len() <= MAX_CASES => {
                for item in items {
                    if let Some(case) = read_case(item, suite, sink) {
                        suite.cases.push(case);
                    }
                }
            }
            ("case", _) => {
                sink.error(
                    entry.offset,
                    "case",
                    format!("expected a list of at most {MAX_CASES} tables"),
                );
            }
            _ => {
                let help = suggest::help(&entry.key, ["case"]);
                sink.error_with_help(entry.offset, &entry.key, "unknown key", help);
            }
        }
    }
}

fn text<'e>(entry: &'e Entry, sink: &mut Sink<'_>) -> Option<&'e str> {
    match &entry.node.value {
        Value::Text(text) => Some(text),
        other => {
            let found = other.describe();
            sink.error(entry.node.offset, &entry.key, format!("expected a text, found {found}"));
            None
        }
    }
}

fn texts(entry: &Entry, sink: &mut Sink<'_>) -> Option<Vec<String>> {
    let list = match &entry.node.value {
        Value::List(items) => items
            .iter()
            .map(|item| match &item.value {
                Value::Text(text) => Some(text.clone()),
                _ => None,
            })
            .collect(),
        _ => None,
    };
    if list.is_none() {
        sink.error(entry.node.offset, &entry.key, "expected a list of texts");
    }
    list
}

fn read_case(node: &Node, suite: &Suite, sink: &mut Sink<'_>) -> Option<Case> {
    let Value::Table(entries) = &node.value else {
        sink.error(node.offset, "case", "expected a table");
        return None;
    };
    // Unknown keys are told, and the rest is read all the same, so that all errors come at once.
    for entry in entries.iter().filter(|entry| !KEYS.contains(&entry.key.as_str())) {
        let help = suggest::help(&entry.key, KEYS);
        sink.error_with_help(entry.offset, &format!("case.{}", entry.key), "unknown key", help);
    }
    let get = |key: &str| entries.iter().find(|entry| entry.key == key);
    let need = |key: &str, sink: &mut Sink<'_>| {
        let found = get(key);
        if found.is_none() {
            sink.error(node.offset, &format!("case.{key}"), "missing");
        }
        found
    };
    let name = need("name", sink).and_then(|entry| text(entry, sink));
    let expect = need("expect", sink).and_then(|entry| verdict(entry, sink));
    let because = get("because").map(|entry| texts(entry, sink));
    // A case is built on the ones before it, so a name that comes later is an error, and no circle
    // is possible.
    let base = match get("from") {
        Some(entry) => base_case(entry, suite, sink)?,
        None => None,
    };
    let facts = facts(node, entries, base, sink);
    // A case on the basis of another has its point, unless it says another.
    let point = match get("point") {
        Some(entry) => point(entry, sink),
        None if base.is_some() => base.map(|case| case.point),
        None => need("point", sink).and(None),
    };
    // Wrong is not absent: a list that could not be read must not become "no reasons demanded".
    let because = match because {
        Some(None) => return None,
        Some(list) => list,
        None => None,
    };
    Some(Case { name: name?.to_owned(), point: point?, facts, expect: expect?, because })
}

fn verdict(entry: &Entry, sink: &mut Sink<'_>) -> Option<Verdict> {
    let verdict = Verdict::from_name(text(entry, sink)?);
    if verdict.is_none() {
        let message = "expected allow, throttle, deny or kill";
        sink.error(entry.node.offset, "case.expect", message);
    }
    verdict
}

/// The facts of a case: those of the case it is built on, with what it sets, less what it removes.
fn facts(node: &Node, entries: &[Entry], base: Option<&Case>, sink: &mut Sink<'_>) -> Facts {
    let get = |key: &str| entries.iter().find(|entry| entry.key == key);
    let mut facts = base.map_or_else(Facts::new, |case| case.facts.clone());
    // One of the two words for the same: the other would be looked at and not read.
    if let (Some(_), Some(change)) = (get("input"), get("change")) {
        let message = "stands beside `input`; write one or the other";
        sink.error(change.offset, "case.change", message);
    }
    // Errors inside the input go to the sink; contradictions are no errors here (see above).
    if let Some(entry) = get("input").or_else(|| get("change")) {
        let input = Input::read(&entry.node, sink);
        for (key, fact) in input.facts.iter() {
            facts.set(key, fact.clone());
        }
    }
    // After the changes: what is removed is gone, whatever was set.
    for path in get("remove").and_then(|entry| texts(entry, sink)).unwrap_or_default() {
        match Key::from_path(&path) {
            Some(key) => facts.remove(key),
            None => sink.error(node.offset, "case.remove", format!("unknown fact {path:?}")),
        }
    }
    facts
}

fn point(entry: &Entry, sink: &mut Sink<'_>) -> Option<Point> {
    let name = text(entry, sink)?;
    let point = Point::from_name(name);
    if point.is_none() {
        let help = suggest::help(name, Point::ALL.into_iter().map(Point::name));
        sink.error_with_help(entry.node.offset, "case.point", "unknown decision point", help);
    }
    point
}

/// The earlier case that `from` names; the outer `None` is an error.
fn base_case<'s>(entry: &Entry, suite: &'s Suite, sink: &mut Sink<'_>) -> Option<Option<&'s Case>> {
    let name = text(entry, sink)?;
    let found = suite.cases.iter().find(|case| case.name == name);
    if found.is_none() {
        sink.error(entry.node.offset, "case.from", format!("no earlier case is named {name:?}"));
        return None;
    }
    Some(found)
}
