//! Circles in a graph of names.

use std::collections::{BTreeMap, BTreeSet};

/// Who imports whom.
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// A circle, if there is one: each imports the next, the last the first.
#[must_use]
pub fn circle(graph: &Graph) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    graph.keys().find_map(|start| from(graph, start, &mut Vec::new(), &mut done))
}

fn from<'a>(
    graph: &'a Graph,
    at: &'a String,
    way: &mut Vec<&'a String>,
    done: &mut BTreeSet<&'a String>,
) -> Option<Vec<String>> {
    if let Some(begin) = way.iter().position(|name| *name == at) {
        return Some(way.iter().skip(begin).map(|name| (*name).clone()).collect());
    }
    if done.contains(at) {
        return None;
    }
    way.push(at);
    let found = graph.get(at).into_iter().flatten().find_map(|next| from(graph, next, way, done));
    way.pop();
    done.insert(at);
    found
}
