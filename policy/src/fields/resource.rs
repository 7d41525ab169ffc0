//! Names of secrets: the resource paths of the key broker protocol.
//!
//! `GET /kbs/v0/resource/<repository>/<type>/<tag>`: exactly three segments, each of letters,
//! digits, `_`, `-` and, not first, `.`. A name that is anything else (`db/../other/key`, a line
//! feed, a zero byte, an empty segment) would mean one thing to a pattern and another to the store
//! behind it: it is no name.

use crate::lattice::{Pattern, Patterns};

/// Longest name in bytes that is taken.
const MOST: usize = 1024;

fn first(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

fn segment_fault(segment: &str) -> Option<&'static str> {
    // The first character decides most of it: a segment that begins with `.` could be `..`, or a
    // hidden file.
    match segment.chars().next() {
        None => Some("an empty segment"),
        Some(c) if !first(c) && c != '.' => {
            Some("a character that is not A-Z, a-z, 0-9, _, - or .")
        }
        Some('.') => Some("a segment that begins with `.`"),
        _ if !segment.chars().all(|c| first(c) || c == '.') => {
            Some("a character that is not A-Z, a-z, 0-9, _, - or .")
        }
        _ => None,
    }
}

/// Why the text names no resource, `None` when it does: for whoever keeps or asks for secrets.
#[must_use]
pub fn resource_fault(text: &str) -> Option<&'static str> {
    // The length first: what follows looks at every character.
    if text.len() > MOST {
        return Some("more than 1024 bytes");
    }
    let mut segments = text.split('/');
    // Three segments at most are looked at; whether there are exactly three is asked afterwards, so
    // that the graver fault is told.
    let fault = segments.by_ref().take(3).find_map(segment_fault);
    fault.or_else(|| {
        let three = text.matches('/').count() == 2;
        (!three).then_some("not three segments: repository/type/tag")
    })
}

/// Why no resource matches the pattern, `None` when one does.
pub(crate) fn pattern_fault(pattern: &Pattern) -> Option<&'static str> {
    if !pattern.is_prefix() {
        return resource_fault(pattern.text());
    }
    // A prefix is good when something that begins so is a name: it is filled up and asked as a
    // name.
    resource_fault(&completed(pattern.text(), 'x'))
}

/// The text as the beginning of a resource, filled up to three segments.
fn completed(text: &str, fill: char) -> String {
    let mut out = text.to_owned();
    // A segment that is begun is left as it is: `a/b` becomes `a/b/x`, `a/b/` becomes `a/b/x`.
    if out.is_empty() || out.ends_with('/') {
        out.push(fill);
    }
    for _ in out.matches('/').count()..2 {
        out.push('/');
        out.push(fill);
    }
    out
}

/// A resource that the pattern matches.
pub(crate) fn sample_resource(pattern: &Pattern) -> String {
    if pattern.is_prefix() { completed(pattern.text(), 'x') } else { pattern.text().to_owned() }
}

/// A resource that the pattern matches and none of the others.
pub(crate) fn resource_outside(pattern: &Pattern, others: &[Pattern]) -> Option<String> {
    // Covering by several of the others together is not searched for exactly: a few hundred names
    // near the ends of all patterns are tried, and the first that is free taken.
    let taken = Patterns::new(others.to_vec());
    let letters = || ('a'..='z').chain('A'..='Z').chain('0'..='9').chain(['_', '-', '.', '/']);
    // What goes on from the pattern's text, or from that of a pattern inside it, with another
    // character.
    let texts = std::iter::once(pattern.text()).chain(others.iter().map(Pattern::text));
    let longer = texts.flat_map(|text| {
        std::iter::once(text.to_owned()).chain(letters().map(move |c| format!("{text}{c}")))
    });
    let mut all = longer.flat_map(|text| ['x', '7'].map(|fill| completed(&text, fill)));
    all.find(|text| resource_fault(text).is_none() && pattern.matches(text) && !taken.admits(text))
}

#[cfg(test)]
mod tests {
    use super::{pattern_fault, resource_fault, resource_outside, sample_resource};
    use crate::lattice::Pattern;

    #[test]
    fn a_name_has_three_segments_of_the_protocol_and_nothing_else() {
        for good in ["a/b/c", "db/key/1.2.3", "A_-/b.c/x--y", "0/0/0"] {
            assert_eq!(resource_fault(good), None, "{good}");
        }
        for bad in [
            "",
            "a",
            "a/b",
            "a/b/",
            "a//c",
            "/b/c",
            "a/b/c/d",
            "a/b/c/",
            "db/../other",
            "./b/c",
            "a/.b/c",
            "a/b/c\0",
            "a/b\n/c",
            "a/b/c d",
            "a/b/ü",
            "a/b/c%2f",
            "a\\b/c/d",
            "a/b/*",
            "db/../other/key",
            " a/b/c",
            "a/b/c?x",
        ] {
            assert!(resource_fault(bad).is_some(), "{bad:?}");
        }
        assert!(resource_fault(&format!("a/b/{}", "c".repeat(2000))).is_some());
    }

    #[test]
    fn a_pattern_is_good_when_a_name_matches_it_and_its_sample_is_one() {
        for text in ["a", "db/", "db/k", "db/key/", "db/key/1.", "d-"] {
            let pattern = Pattern::prefix(text);
            assert_eq!(pattern_fault(&pattern), None, "{text}");
            let sample = sample_resource(&pattern);
            assert!(resource_fault(&sample).is_none() && pattern.matches(&sample), "{sample}");
        }
        for text in ["/", "a//", "..", "db/../", "a/b/c/", "a\n", "a/b/c/d", "a b"] {
            assert!(pattern_fault(&Pattern::prefix(text)).is_some(), "{text:?}");
        }
        assert!(pattern_fault(&Pattern::exact("db")).is_some());
    }

    #[test]
    fn a_name_outside_other_patterns_is_found_where_there_is_one() {
        let inside: Vec<Pattern> =
            ["db/x", "db/y", "db/a/", "db/b/c"].map(Pattern::prefix).to_vec();
        let pattern = Pattern::prefix("db/");
        let found = resource_outside(&pattern, &inside).unwrap_or_default();
        assert!(pattern.matches(&found) && !inside.iter().any(|p| p.matches(&found)), "{found}");
        assert_eq!(resource_outside(&pattern, &[Pattern::prefix("d")]), None);
    }
}
