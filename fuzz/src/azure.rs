//! Bodies for Azure evidence, for documents about reports, and for the printer of foreign text.
//!
//! Oracles: no panic; bounded memory; nothing that differs from a genuine piece of evidence in a
//! bound part is authentic; nothing that a terminal obeys is printed.

use casemate_attestation::document::Document;
use casemate_attestation::evidence::{Azure, Claims, Evidence, Quote};
use casemate_attestation::report::Generation;
use casemate_attestation::verify::Verifier;
use casemate_foreign_text as foreign;
use std::sync::OnceLock;

const GENUINE: [&[u8]; 4] = [
    include_bytes!("../../tests/vectors/evidence/trustee_az_evidence_v0.json"),
    include_bytes!("../../tests/vectors/evidence/trustee_az_evidence_v1.json"),
    include_bytes!("../../tests/vectors/evidence/trustee_az_evidence_v2.json"),
    include_bytes!("../../tests/vectors/evidence/trustee_az_evidence_genoa.json"),
];
/// 2026-03-01.
const AT: u64 = 1_772_323_200;
const FLOOR: u64 = 1024 * 1024;

fn bounded(data: &[u8], factor: u64, body: impl FnOnce()) {
    crate::bounded(FLOOR + factor * data.len() as u64, body);
}

fn genuine() -> &'static [Evidence] {
    static GENUINE_ONES: OnceLock<Vec<Evidence>> = OnceLock::new();
    GENUINE_ONES.get_or_init(|| GENUINE.map(|json| Evidence::read(json).unwrap()).to_vec())
}

/// Report, claims, and message and registers of the quote.
type Parts<'a> = (&'a [u8], &'a [u8], Option<(&'a [u8], &'a [[u8; 32]])>);

/// What is signed or hashed of a piece of evidence, but for the signature of the quote (RSA has one
/// for each message).
fn bound(evidence: &Evidence) -> Option<Parts<'_>> {
    let Azure { claims, quote, .. } = evidence.azure.as_ref()?;
    let quote = quote.as_ref().map(|quote| (&*quote.message, &*quote.pcrs));
    Some((&evidence.report, claims, quote))
}

/// Evidence of Confidential Containers from Azure, verified.
pub fn evidence(data: &[u8]) {
    let genuine = genuine();
    bounded(data, 64, || {
        let Ok(evidence) = Evidence::read(data) else { return };
        let Some(azure) = &evidence.azure else { return };
        let mut verifier = Verifier::new(AT);
        verifier.appraisal.allow_broken_roots = vec![Generation::Milan];
        let vek = genuine
            .iter()
            .find_map(|one| (one.report == evidence.report).then_some(one.vek()).flatten());
        let verdict = verifier.verify_azure(&evidence.report, Some(azure), vek.or(evidence.vek()));
        if verdict.authentic() {
            // The blob without its quote, or with another quote of the same VM (versions 0 and 1),
            // is genuine, too.
            let known = bound(&evidence).is_some_and(|(report, claims, quote)| {
                let same = genuine
                    .iter()
                    .filter_map(bound)
                    .filter(|one| (one.0, one.1) == (report, claims));
                same.clone().next().is_some()
                    && (quote.is_none() || same.map(|one| one.2).any(|own| own == quote))
            });
            assert!(known, "altered evidence was found authentic");
        }
    });
}

/// Runtime claims.
pub fn claims(data: &[u8]) {
    bounded(data, 64, || {
        if let Ok(claims) = Claims::parse(data) {
            assert!(claims.keys.iter().filter(|kid| *kid == "HCLAkPub").count() == 1);
            let _ = claims.ak.key_digest();
        }
    });
}

/// A TPM's quote: the signed structure.
pub fn quote(data: &[u8]) {
    bounded(data, 8, || {
        let quote =
            Quote { message: data.to_vec(), signature: vec![0; 256], pcrs: vec![[0; 32]; 24] };
        if let Ok(attested) = quote.attested() {
            assert!(attested.selected < 1 << 24 && attested.nonce.len() <= 66);
            assert!(
                quote.selected(attested.selected).count()
                    == attested.selected.count_ones() as usize
            );
            let _ = quote.digest_of(attested.selected);
        }
    });
}

/// A document after `--policy`.
pub fn document(data: &[u8]) {
    bounded(data, 256, || {
        let Ok(text) = std::str::from_utf8(data) else { return };
        match Document::read(text, "fuzz") {
            Ok(Document::Appraisal(_)) => {
                let silent =
                    text.lines().all(|line| line.trim().is_empty() || line.starts_with('#'));
                assert!(!silent, "a document without a word is an appraisal");
            }
            Ok(Document::Isolation(_)) => {}
            Err(error) => fits(&error.to_string(), foreign::LINE),
        }
    });
}

fn fits(text: &str, limit: usize) {
    assert!(text.chars().all(foreign::is_plain), "{text:?}");
    assert!(text.chars().count() <= 10 * limit + 64);
}

/// The printer of foreign text.
pub fn foreign_text(data: &[u8]) {
    fits(&foreign::bytes(data).to_string(), foreign::VALUE);
    let text = String::from_utf8_lossy(data);
    fits(&foreign::value(&text).to_string(), foreign::VALUE);
    fits(&foreign::line(&text).to_string(), foreign::LINE);
    let lines = foreign::text(&text).to_string();
    assert!(lines.chars().all(|c| c == '\n' || foreign::is_plain(c)));
    // JSON for a terminal says what it said before.
    let json = serde_json::to_string(&text).unwrap();
    let safe = foreign::json(&json);
    fits(&safe, safe.len());
    assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
}
