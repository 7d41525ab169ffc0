//! Findings as SARIF 2.1.0, for code review and CI.

use super::{Finding, Level};
use crate::document::ENGINE_VERSION;
use crate::document::json::quote;
use crate::rules::Origin;
use std::collections::BTreeMap;

/// One SARIF log with one run.
#[must_use]
pub fn sarif(findings: &[Finding], file: &str) -> String {
    let mut rules: BTreeMap<&str, &Finding> = BTreeMap::new();
    for finding in findings {
        rules.entry(finding.id).or_insert(finding);
    }
    let described: Vec<String> = rules
        .values()
        .map(|finding| {
            format!(
                "{{\"id\":\"{}\",\"shortDescription\":{{\"text\":{}}},\"defaultConfiguration\":{{\"level\":\"{}\"}}}}",
                finding.id,
                quote(&summary(finding)),
                finding.level.name()
            )
        })
        .collect();
    let ids: Vec<&str> = rules.keys().copied().collect();
    let results: Vec<String> = findings.iter().map(|finding| result(finding, &ids, file)).collect();
    format!(
        "{{\"$schema\":\"https://json.schemastore.org/sarif-2.1.0.json\",\"version\":\"2.1.0\",\
         \"runs\":[{{\"tool\":{{\"driver\":{{\"name\":\"casemate policy lint\",\
         \"semanticVersion\":\"{ENGINE_VERSION}\",\"rules\":[{}]}}}},\"results\":[{}]}}]}}\n",
        described.join(","),
        results.join(",")
    )
}

/// The message of a lint does not depend on the place, except for the one that counts.
fn summary(finding: &Finding) -> String {
    match finding.level {
        Level::Note if finding.id == "CM099" => "rules that are written `any`".into(),
        _ => finding.message.clone(),
    }
}

fn result(finding: &Finding, ids: &[&str], file: &str) -> String {
    let (file, line, column) = first_site(&finding.origin).unwrap_or((file, 1, 1));
    let index = ids.iter().position(|id| *id == finding.id).unwrap_or(0);
    format!(
        "{{\"ruleId\":\"{}\",\"ruleIndex\":{index},\"level\":\"{}\",\"message\":{{\"text\":{}}},\
         \"locations\":[{{\"physicalLocation\":{{\"artifactLocation\":{{\"uri\":{}}},\
         \"region\":{{\"startLine\":{line},\"startColumn\":{column}}}}},\
         \"logicalLocations\":[{{\"fullyQualifiedName\":{}}}]}}]}}",
        finding.id,
        finding.level.name(),
        quote(&format!("{}: {}", finding.rule, finding.message)),
        quote(file),
        quote(&finding.rule),
    )
}

fn first_site(origin: &Origin) -> Option<(&str, usize, usize)> {
    match origin {
        Origin::Default => None,
        Origin::Stated(site) => Some((&site.file, site.line, site.column)),
        Origin::Layers(layers) => layers.iter().find_map(first_site),
    }
}
