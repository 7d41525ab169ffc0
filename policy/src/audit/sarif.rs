//! Findings as SARIF 2.1.0, for code review and CI.

use super::{Finding, Level, help};
use crate::canonical::sha256;
use crate::document::json::quote;
use crate::document::{ENGINE_VERSION, LoadError};
use crate::rules::Origin;
use std::collections::BTreeMap;

/// A document and what was found in it.
#[derive(Debug, Clone, Copy)]
pub struct Audited<'a> {
    /// The name of its file, as it was given: not the one that messages show, which is made fit for
    /// a terminal and leads nowhere.
    pub file: &'a str,
    /// What was found, in the order in which it is shown.
    pub findings: &'a [Finding],
}

/// One SARIF log with one run over all documents. `root` is the directory below which names are
/// written relative to it, so that they mean the same on every machine.
#[must_use]
pub fn sarif(documents: &[Audited<'_>], root: &str) -> String {
    // A rule of SARIF for each id, described by its first finding; sorted, so that the log does not
    // depend on the order of the findings.
    let mut rules: BTreeMap<&str, &Finding> = BTreeMap::new();
    for finding in documents.iter().flat_map(|document| document.findings) {
        rules.entry(finding.id).or_insert(finding);
    }
    let described: Vec<String> = rules.values().map(|finding| describe(finding)).collect();
    let ids: Vec<&str> = rules.keys().copied().collect();
    let mut results = Vec::new();
    for document in documents {
        let mut seen = BTreeMap::new();
        let file = uri(document.file, root);
        for finding in document.findings {
            results.push(result(finding, &ids, &file, &fingerprint(finding, &mut seen)));
        }
    }
    format!(
        "{{\"$schema\":\"https://json.schemastore.org/sarif-2.1.0.json\",\"version\":\"2.1.0\",\
         \"runs\":[{{\"tool\":{{\"driver\":{{\"name\":\"casemate policy\",\
         \"semanticVersion\":\"{ENGINE_VERSION}\",\"rules\":[{}]}}}},\
         \"columnKind\":\"unicodeCodePoints\",\"results\":[{}]}}]}}\n",
        described.join(","),
        results.join(",")
    )
}

/// What a finding is called from one run to the next.
///
/// Without its place: it stays the same when lines above it come and go. Where a document has the
/// same one twice they are counted, in the order of the document: a reviewer who has closed one of
/// two has not closed the other.
fn fingerprint(finding: &Finding, seen: &mut BTreeMap<String, usize>) -> String {
    let identity = format!("{}\0{}\0{}", finding.id, finding.rule, finding.message);
    let hash = crate::lattice::hex(&sha256(identity.as_bytes()));
    let count = seen.entry(identity).or_insert(0);
    *count += 1;
    if *count == 1 { hash } else { format!("{hash}:{count}") }
}

/// A document that is refused, as findings with the places of its errors: a review tool that gets
/// nothing shows nothing, and green is what nothing looks like.
#[must_use]
pub fn refused(error: &LoadError) -> Vec<Finding> {
    let finding = |diagnostic: &crate::document::Diagnostic| {
        let help = diagnostic.help.iter().map(|help| format!("; {help}"));
        Finding {
            id: "CD001",
            level: Level::Error,
            rule: if diagnostic.key.is_empty() { "policy".into() } else { diagnostic.key.clone() },
            origin: Origin::Stated(diagnostic.site.clone()),
            message: std::iter::once(diagnostic.message.clone()).chain(help).collect(),
            witness: None,
        }
    };
    error.diagnostics.iter().map(finding).collect()
}

fn describe(finding: &Finding) -> String {
    format!(
        "{{\"id\":\"{}\",\"shortDescription\":{{\"text\":{}}},\"help\":{{\"text\":{}}},\
         \"defaultConfiguration\":{{\"level\":\"{}\"}}}}",
        finding.id,
        quote(&summary(finding)),
        quote(help(finding.id).unwrap_or_default()),
        finding.level.name()
    )
}

/// The message of a lint does not depend on the place, except for those that quote or count.
fn summary(finding: &Finding) -> String {
    match finding.id {
        "CD001" => "the document is refused".into(),
        "CM090" => "no test case notices when the rule is loosened".into(),
        "CM091" => "a text that a reader may take for another".into(),
        "CM099" => "rules that are written `any`".into(),
        _ => finding.message.clone(),
    }
}

fn result(finding: &Finding, ids: &[&str], file: &str, fingerprint: &str) -> String {
    // A default has no place of its own: it is shown at the beginning of the document, where the
    // field would be added.
    let (line, column) = place(&finding.origin).unwrap_or((1, 1));
    let index = ids.iter().position(|id| *id == finding.id).unwrap_or(0);
    let message = match &finding.witness {
        Some(witness) if witness.facts.iter().next().is_some() => {
            format!("{}: {}; admitted: {witness}", finding.rule, finding.message)
        }
        _ => format!("{}: {}", finding.rule, finding.message),
    };
    // The whole admitted input goes along for machines; people get the dangerous facts in the
    // message.
    let input = finding.witness.as_ref().and_then(|witness| witness.input.as_ref());
    let properties = input.map_or_else(String::new, |input| {
        format!(",\"properties\":{{\"admitted\":{}}}", input.to_json())
    });
    format!(
        "{{\"ruleId\":\"{}\",\"ruleIndex\":{index},\"level\":\"{}\",\"message\":{{\"text\":{}}},\
         \"locations\":[{{\"physicalLocation\":{{\"artifactLocation\":{{\"uri\":{}}},\
         \"region\":{{\"startLine\":{line},\"startColumn\":{column}}}}},\
         \"logicalLocations\":[{{\"fullyQualifiedName\":{}}}]}}],\
         \"partialFingerprints\":{{\"casemateFinding/v1\":\"{fingerprint}\"}}{properties}}}",
        finding.id,
        finding.level.name(),
        quote(&message),
        quote(file),
        quote(&finding.rule),
    )
}

/// A file name as a URI reference, relative below `root`, with everything escaped that has a
/// meaning in one.
fn uri(file: &str, root: &str) -> String {
    // Only a whole first part is taken off: `/srv/a` is no root of `/srv/about`.
    let below = file.strip_prefix(root).and_then(|rest| rest.strip_prefix('/'));
    let relative = below.filter(|_| !root.is_empty()).unwrap_or(file);
    let relative = relative.strip_prefix("./").unwrap_or(relative);
    let mut out = String::new();
    if relative.starts_with('/') {
        out.push_str("file://");
    }
    // RFC 3986, section 2.3: unreserved characters stand for themselves, and the slash divides. All
    // else is escaped byte by byte, also what a reader of URIs might forgive.
    for byte in relative.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Line and column of the first statement of a rule, both from 1; none of a default.
#[must_use]
pub fn place(origin: &Origin) -> Option<(usize, usize)> {
    match origin {
        Origin::Default => None,
        Origin::Stated(site) => Some((site.line, site.column)),
        Origin::Layers(layers) => layers.iter().find_map(place),
    }
}
