//! A whole document to the rules of every point and the grants.

use super::{Header, MAX_GRANTS, Node, Sink, Value, parse_rule, pattern, suggest, tree::Entry};
use crate::fields::{Field, GRANT_FIELDS, Point, SECTIONS, pattern_fault};
use crate::rules::{Grant, Origin, Rules};

/// What a document says, before the defaults are filled in.
pub(crate) struct Loaded {
    pub(crate) header: Header,
    pub(crate) points: Vec<Rules>,
    pub(crate) grants: Vec<Grant>,
}

/// Reads the tree of a document. Errors go to the sink; the result then is not to be used.
pub(crate) fn load(root: &Node, sink: &mut Sink<'_>) -> Loaded {
    // Every field begins with its default; what the document states replaces it.
    let mut header = Header::default();
    let mut points: Vec<Rules> = Point::ALL.into_iter().map(Rules::defaults).collect();
    let mut grants = Vec::new();
    let Value::Table(entries) = &root.value else {
        sink.error(root.offset, "", "expected a table");
        return Loaded { header, points, grants };
    };
    for entry in entries {
        // With the bound of errors reached, more reading would only count them.
        if sink.full() {
            break;
        }
        let key = entry.key.as_str();
        // Keys of the head and sections share one level, so that an unknown one is told with both
        // in mind.
        if Header::KEYS.contains(&key) {
            header.read(key, &entry.node, sink);
        } else if key == "secrets" {
            header.secrets = true;
            load_grants(&entry.node, &mut grants, sink);
        } else if SECTIONS.iter().any(|(name, _)| *name == key) {
            load_table(&entry.node, key, &mut points, sink);
        } else {
            let sections = SECTIONS.iter().map(|(name, _)| *name);
            let help = suggest::help(key, sections.chain(Header::KEYS));
            sink.error_with_help(entry.offset, key, "unknown key", help);
        }
    }
    header.finish(sink);
    Loaded { header, points, grants }
}

fn entries<'n>(node: &'n Node, path: &str, sink: &mut Sink<'_>) -> &'n [Entry] {
    if let Value::Table(entries) = &node.value {
        return entries;
    }
    sink.error(node.offset, path, format!("expected a table, found {}", node.value.describe()));
    &[]
}

/// Names that can follow `prefix` in the path of a field.
fn known_after(prefix: &str) -> impl Iterator<Item = &'static str> {
    let fields = Point::ALL.into_iter().flat_map(Point::fields);
    fields.filter_map(move |field| {
        let rest = field.path.strip_prefix(prefix)?.strip_prefix('.')?;
        rest.split('.').next()
    })
}

fn load_table(node: &Node, prefix: &str, points: &mut [Rules], sink: &mut Sink<'_>) {
    for entry in entries(node, prefix, sink) {
        if sink.full() {
            return;
        }
        let path = format!("{prefix}.{}", entry.key);
        // A section may hold fields of several points: the path decides, not the table.
        let slots = Point::ALL.into_iter().zip(points.iter_mut());
        let found = slots.into_iter().find_map(|(point, rules)| {
            let index = point.fields().iter().position(|field| field.path == path)?;
            Some((point.fields().get(index)?, rules, index))
        });
        if let Some((field, rules, index)) = found {
            // A rule that could not be read leaves the default in its place. The document is
            // refused anyway; nothing decides by it.
            if let Some(rule) = parse_rule(field.kind, &entry.node, &path, sink) {
                rules.state(index, rule, Origin::Stated(sink.site(entry.offset)));
            }
        } else if known_after(&path).next().is_some() {
            // A table on the way to a field (`devices.block`), and no field itself.
            load_table(&entry.node, &path, points, sink);
        } else {
            let help = suggest::help(&entry.key, known_after(prefix));
            sink.error_with_help(entry.offset, &path, "unknown key", help);
        }
    }
}

fn load_grants(node: &Node, grants: &mut Vec<Grant>, sink: &mut Sink<'_>) {
    let entries = entries(node, "secrets", sink);
    if entries.len() > MAX_GRANTS {
        sink.error(node.offset, "secrets", format!("more than {MAX_GRANTS} grants"));
        return;
    }
    for entry in entries {
        let path = format!("secrets.{:?}", entry.key);
        // The key is a pattern: one that no name of the broker's protocol can match would be a
        // grant that never releases, and so a mistake.
        match pattern(&entry.key) {
            Ok(resource) if pattern_fault(&resource).is_some() => {
                let fault = pattern_fault(&resource).unwrap_or_default();
                let message = format!("no resource of the key broker protocol matches: {fault}");
                let help = "write repository/type/tag, or a beginning of it and one `*`".to_owned();
                sink.error_with_help(entry.offset, &path, message, Some(help));
            }
            Ok(resource) => {
                let mut grant = Grant { resource, rules: Rules::grant_defaults() };
                grant.rules.origin = Origin::Stated(sink.site(entry.offset));
                load_grant(&entry.node, &path, &mut grant.rules, sink);
                grants.push(grant);
            }
            Err((message, help)) => sink.error_with_help(entry.offset, &path, message, help),
        }
    }
    // Sorted, so that overlaps are neighbours and the canonical form has one order.
    grants.sort_by(|a, b| a.resource.cmp(&b.resource));
    report_overlaps(grants, node, sink);
}

fn load_grant(node: &Node, path: &str, rules: &mut Rules, sink: &mut Sink<'_>) {
    for entry in entries(node, path, sink) {
        if sink.full() {
            return;
        }
        let key = format!("{path}.{}", entry.key);
        match GRANT_FIELDS.iter().position(|field| field.name() == entry.key) {
            Some(index) => {
                let kind = GRANT_FIELDS.get(index).map(|field| field.kind);
                if let Some(rule) = kind.and_then(|k| parse_rule(k, &entry.node, &key, sink)) {
                    rules.state(index, rule, Origin::Stated(sink.site(entry.offset)));
                }
            }
            None => {
                let help = suggest::help(&entry.key, GRANT_FIELDS.iter().map(Field::name));
                sink.error_with_help(entry.offset, &key, "unknown key", help);
            }
        }
    }
}

/// Each resource has at most one grant, so that no order between grants decides.
fn report_overlaps(grants: &[Grant], node: &Node, sink: &mut Sink<'_>) {
    // A prefix sorts right before what it covers, so neighbours are enough.
    for (first, second) in grants.iter().zip(grants.iter().skip(1)) {
        let (a, b) = (&first.resource, &second.resource);
        if a.covers(b) || b.covers(a) {
            let message = format!("the grants {:?} and {:?} overlap", a.to_string(), b.to_string());
            sink.error(node.offset, "secrets", message);
        }
    }
}
