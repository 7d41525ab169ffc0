//! The rules that hold where a document states none.

use super::{Sink, Value, parse, parse_rule};
use crate::fields::{Field, GRANT_FIELDS, Point};
use crate::rule::Rule;
use crate::rules::{Origin, Rules};
use std::sync::LazyLock;

/// Defaults of every point, parsed once.
static DEFAULTS: LazyLock<Vec<Rules>> = LazyLock::new(|| {
    Point::ALL.into_iter().map(|point| Rules::from_fields(point.fields())).collect()
});
static GRANT_DEFAULTS: LazyLock<Rules> = LazyLock::new(|| Rules::from_fields(GRANT_FIELDS));

impl Rules {
    fn from_fields(fields: &[Field]) -> Self {
        Self {
            rules: fields.iter().map(default_rule).collect(),
            origins: fields.iter().map(|_| Origin::Default).collect(),
            origin: Origin::Default,
        }
    }

    /// The defaults of a point.
    pub(crate) fn defaults(point: Point) -> Self {
        DEFAULTS.get(point.index()).cloned().unwrap_or_else(|| Self::from_fields(point.fields()))
    }

    /// The defaults of a grant.
    pub(crate) fn grant_defaults() -> Self {
        GRANT_DEFAULTS.clone()
    }
}

/// The rule of a field's default.
fn default_rule(field: &Field) -> Rule {
    let text = format!("v = {}", field.default);
    let mut sink = Sink::new(&text, "default");
    let root = parse(&text, &mut sink);
    let node = match root.map(|root| root.value) {
        Some(Value::Table(entries)) => entries.into_iter().next().map(|entry| entry.node),
        _ => None,
    };
    // A default that does not parse admits nothing; a test checks that there is none.
    let rule = node.and_then(|node| parse_rule(field.kind, &node, field.path, &mut sink));
    rule.unwrap_or_else(|| field.kind.nothing())
}
