//! The cases of policies as JUnit XML, the form in which CI shows tests.
//!
//! There is no standard of it, but what Jenkins, GitLab and GitHub's actions read in common:
//! `testsuites`, `testsuite`, `testcase`, in it `failure` or `error`. A case is a `testcase`, and
//! so is each loosened rule, since one that no case notices fails the command as well.

use casemate_policy::audit::{CaseResult, Mutant, SuiteReport};

/// What came of one policy.
pub(super) enum Suite<'a> {
    /// Its cases ran.
    Ran(&'a SuiteReport),
    /// The policy or its cases could not be taken, for this reason: no case ran, and a reader of
    /// the file alone must not take that for success.
    Refused(&'a str),
}

/// The whole document. `suites` have the file of each policy.
pub(super) fn junit(suites: &[(String, Suite<'_>)]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (file, suite) in suites {
        let cases: Vec<Case> = match suite {
            Suite::Ran(report) => {
                let results = report.results.iter().map(of_result);
                results.chain(report.mutants.iter().map(of_mutant)).collect()
            }
            Suite::Refused(why) => vec![Case {
                name: "the policy and its cases are read".into(),
                class: "document",
                wrong: Some(("error", (*why).to_owned())),
            }],
        };
        let count = |kind| cases.iter().filter(|case| case.is(kind)).count();
        out.push_str(&format!(
            "<testsuite name={} tests=\"{}\" failures=\"{}\" errors=\"{}\">\n",
            quoted(file),
            cases.len(),
            count("failure"),
            count("error")
        ));
        cases.iter().for_each(|case| out.push_str(&case.to_xml(file)));
        out.push_str("</testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

struct Case {
    name: String,
    class: &'static str,
    /// The element that says so, and its text.
    wrong: Option<(&'static str, String)>,
}

impl Case {
    fn is(&self, kind: &str) -> bool {
        self.wrong.as_ref().is_some_and(|(found, _)| *found == kind)
    }

    fn to_xml(&self, file: &str) -> String {
        let (name, class) = (quoted(&self.name), self.class);
        let begin = format!("<testcase name={name} classname=\"{class}\" file={}", quoted(file));
        match &self.wrong {
            None => format!("{begin}/>\n"),
            Some((kind, text)) => {
                let first = text.lines().next().unwrap_or_default();
                let (message, text) = (quoted(first), escaped(text));
                format!("{begin}><{kind} message={message}>{text}</{kind}></testcase>\n")
            }
        }
    }
}

fn of_result(result: &CaseResult) -> Case {
    let text = || format!("expected {}\ndecided {}", result.expected, result.decision);
    let wrong = (!result.passed).then(|| ("failure", text()));
    Case { name: result.name.clone(), class: "case", wrong }
}

fn of_mutant(mutant: &Mutant) -> Case {
    let Mutant { rule, change, origin, noticed, .. } = mutant;
    let text = || format!("{origin}: no case notices when {rule} {change}");
    let wrong = (!noticed).then(|| ("failure", text()));
    Case { name: format!("a case notices when {rule} {change}"), class: "loosened rule", wrong }
}

/// An attribute's value with its quotes.
fn quoted(text: &str) -> String {
    // A line feed in an attribute is a space to every reader (XML 1.0, section 3.3.3): so it is
    // written as what it is.
    format!("\"{}\"", escaped(text).replace('\n', "&#10;"))
}

/// Text of a document or of a file's name, as XML can hold it: what would end it is an entity; what
/// steers a terminal is written out, and that is more than what XML 1.0 (section 2.2) has no form
/// for at all, such as U+0000 and U+FFFE.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in casemate_foreign_text::text(text).to_string().chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            c if casemate_foreign_text::is_plain(c) => out.push(c),
            // What the printer leaves beside these is nothing that XML must have.
            _ => out.push('\u{fffd}'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Suite, escaped, junit, quoted};

    /// Protects the reader of a report from the names in it: each stays text, and none is a
    /// character that XML has no form for. Cannot tell what a reader makes of the text.
    #[test]
    fn whatever_a_name_is_it_stays_text() {
        let hostile = "\"/><testcase name=\"ok\u{0}\u{1b}[31m\u{fffe}\u{ffff}\u{202e}]]>&lt;\t\r";
        let text = escaped(hostile);
        for bad in ['<', '"', '>', '\u{0}', '\u{1b}', '\u{fffe}', '\u{ffff}', '\u{202e}', '\r'] {
            assert!(!text.contains(bad), "{bad:?}: {text}");
        }
        assert_eq!(quoted("a\nb"), "\"a&#10;b\"");
    }

    /// Protects CI from green where nothing ran.
    #[test]
    fn a_policy_that_is_refused_is_an_error_and_not_nothing() {
        let text = junit(&[("p.toml".into(), Suite::Refused("line 1: no"))]);
        assert!(text.contains("tests=\"1\" failures=\"0\" errors=\"1\""), "{text}");
        assert!(text.contains("<error message=\"line 1: no\">"), "{text}");
    }
}
