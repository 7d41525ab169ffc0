//! Texts of a policy that a reader may take for another: characters that are not seen, that turn
//! the order of those around them, or that are wildcards elsewhere and here are themselves.

use super::{Finding, Level};
use crate::fields::{GRANT_FIELDS, Point};
use crate::lattice::{Pattern, Patterns};
use crate::policy::Policy;
use crate::rule::Rule;
use crate::rules::Origin;

/// What a reader does not see in the text, or sees as something else.
fn trouble(text: &str) -> Option<String> {
    let unseen = |c: &char| {
        let c = u32::from(*c);
        // Unicode Standard Annexes 9 (embeddings, overrides, isolates) and 44
        // (Default_Ignorable_Code_Point).
        matches!(c,
            0x00..=0x1f | 0x7f..=0x9f | 0xad | 0x034f | 0x061c | 0x115f..=0x1160 | 0x17b4..=0x17b5
            | 0x180b..=0x180f | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164
            | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0xe0000..=0xe0fff)
            || matches!(c, 0xa0 | 0x1680 | 0x2000..=0x200a | 0x202f | 0x205f | 0x3000)
    };
    text.chars().find(unseen).map(|c| format!("has U+{:04X}, which is not seen", u32::from(c)))
}

/// A wildcard of other languages: a question mark, a set in brackets, alternatives in braces.
fn wildcard(text: &str) -> Option<&'static str> {
    let set = |open: char, close: char| {
        text.split_once(open).is_some_and(|(_, rest)| rest.contains(close))
    };
    if text.contains('?') {
        Some("`?`")
    } else if set('[', ']') {
        Some("`[..]`")
    } else if set('{', '}') {
        Some("`{..}`")
    } else {
        None
    }
}

fn remark(text: &str) -> Option<String> {
    // What is not seen is told before what is a wildcard elsewhere: it is the graver of the two.
    let literal =
        |found: &str| format!("has {found}, which is no wildcard here: only one `*` at the end is");
    trouble(text).or_else(|| wildcard(text).map(literal))
}

fn of_patterns(patterns: &Patterns) -> Option<(String, String)> {
    let mut all = patterns.patterns().iter().map(Pattern::text);
    all.find_map(|text| remark(text).map(|why| (text.to_owned(), why)))
}

fn of_rule(rule: &Rule) -> Option<(String, String)> {
    match rule {
        Rule::Names(patterns) => of_patterns(patterns),
        Rule::Forbidden(forbidden) => of_patterns(forbidden.patterns()),
        Rule::Required(required) => {
            let mut all = required.texts().unwrap_or_default().iter();
            all.find_map(|text| remark(text).map(|why| (text.to_string(), why)))
        }
        _ => None,
    }
}

/// The text with everything visible.
fn shown(text: &str) -> String {
    // By `trouble` itself, so that what is remarked on is exactly what is escaped.
    let escape = |c: char| -> String {
        let mut one = [0; 4];
        match trouble(c.encode_utf8(&mut one)) {
            Some(_) => c.escape_unicode().to_string(),
            None => c.to_string(),
        }
    };
    let all: String = text.chars().take(80).map(escape).collect();
    format!("\"{all}\"")
}

/// A remark on the first such text of each rule, of the resources of grants, and of the name.
pub(super) fn misleading(policy: &Policy) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut push = |rule: String, origin: &Origin, found: Option<(String, String)>| {
        out.extend(found.map(|(text, why)| Finding {
            id: "CM091",
            level: Level::Note,
            rule,
            origin: origin.clone(),
            message: format!("{} {why}", shown(&text)),
            witness: None,
        }));
    };
    // A name is no pattern: only what is not seen matters in it.
    let own = |text: &str| trouble(text).map(|why| (text.to_owned(), why));
    push("name".into(), &Origin::Default, own(policy.name()));
    push("description".into(), &Origin::Default, own(policy.description()));
    for (field, rule, origin) in Point::ALL.into_iter().flat_map(|point| policy.rules(point)) {
        push(field.path.into(), origin, of_rule(rule));
    }
    for grant in policy.grants() {
        let text = grant.resource().text();
        let found = remark(text).map(|why| (text.to_owned(), why));
        push(format!("secrets.{}", shown(text)), &grant.rules.origin, found);
        for (field, rule, origin) in grant.rules.iter(GRANT_FIELDS) {
            push(grant.path(field), origin, of_rule(rule));
        }
    }
    out
}
