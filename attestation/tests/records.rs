//! A record is evidence and a claim: the evidence is judged under the caller's terms.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "common/model.rs"]
mod fixture;

use casemate_attestation::cert::certificates_in;
use casemate_attestation::evidence::Evidence;
use casemate_attestation::record::{Inputs, Record};
use casemate_attestation::verify::{Conclusion, Demand};

fn json(inputs: &Inputs) -> String {
    let verdict = inputs.verify().unwrap();
    serde_json::to_string(&Record::new(inputs, &verdict).unwrap()).unwrap()
}

fn read(text: &str) -> Record {
    Record::from_json(text.as_bytes()).unwrap()
}

/// Protects against an altered record: every input has its digest, every outcome is compared.
#[test]
fn a_record_repeats_to_the_same_verdict_and_not_when_it_was_altered() {
    let pair = common::find("ms_turin");
    let inputs = Inputs {
        report: pair.report.clone(),
        vek: Some(pair.vek),
        at: pair.at,
        ..Inputs::default()
    };
    for (change, conclusion) in [(0u8, Conclusion::Authentic), (1, Conclusion::Refused)] {
        let mut inputs = inputs.clone();
        inputs.report[0x90] ^= change;
        let json = json(&inputs);
        let repeated = read(&json).repeat().unwrap();
        assert!(repeated.same);
        assert_eq!(repeated.verdict.conclusion(), conclusion);
        let word = format!("{conclusion:?}").to_lowercase();
        for (from, to) in [
            (format!("\"conclusion\":\"{word}\""), "\"conclusion\":\"accepted\"".to_owned()),
            ("\"not_proven\":[\"measurement\",".to_owned(), "\"not_proven\":[".to_owned()),
            ("\"model\":false".to_owned(), "\"model\":true".to_owned()),
            (format!("\"at\":{}", pair.at), "\"at\":1".to_owned()),
        ] {
            let altered = json.replace(&from, &to);
            assert_ne!(altered, json, "{from}");
            assert!(!read(&altered).repeat().unwrap().same, "{from}");
        }
        let swapped = json.replacen("\"base64\":\"BQ", "\"base64\":\"BA", 1);
        assert_ne!(swapped, json);
        assert!(read(&swapped).repeat().is_err());
        for format in [1, 3] {
            let other = json.replace("\"format\":2", &format!("\"format\":{format}"));
            assert!(Record::from_json(other.as_bytes()).is_err());
        }
    }
}

/// Protects against trust taken from the thing that is judged: roots, time, rules and expected
/// values of a record are not the caller's.
#[test]
fn recorded_evidence_is_judged_under_the_callers_terms() {
    let chip = fixture::chip();
    let report = chip.report(fixture::guest(&chip).state(), [9; 64], 0, 0).unwrap();
    let bundle = certificates_in(fixture::root().bundle_pem().as_bytes()).unwrap();
    let roots: Vec<Vec<u8>> = bundle.iter().map(|one| one.der().to_vec()).collect();
    let at = common::at("2026-06-01");
    let demand = vec![Demand { by: "--nonce".to_owned(), value: [9; 64] }];
    let recorded = Inputs {
        report: report.to_vec(),
        vek: Some(chip.vcek().to_vec()),
        at,
        model_roots: roots.clone(),
        report_data: demand.clone(),
        ..Inputs::default()
    };
    let record = read(&json(&recorded));
    assert!(record.repeat().unwrap().same);
    assert_eq!(record.repeat().unwrap().verdict.conclusion(), Conclusion::Authentic);
    let judge = |terms: Inputs| record.evidence(terms).unwrap().verify().unwrap();
    let terms = Inputs { at, ..Inputs::default() };
    let verdict = judge(terms.clone());
    assert_eq!(verdict.conclusion(), Conclusion::Refused, "the record's MODEL root is not ours");
    let terms = Inputs { model_roots: roots, ..terms };
    let verdict = judge(terms.clone());
    assert_eq!(verdict.conclusion(), Conclusion::Authentic);
    assert!(verdict.is_model() && verdict.headline().contains("MODEL"));
    let fresh = casemate_attestation::verify::Property::Freshness;
    assert!(verdict.not_proven().contains(&fresh), "nor is the nonce that the record expected");
    assert!(!judge(Inputs { report_data: demand, ..terms.clone() }).not_proven().contains(&fresh));
    let other = vec![Demand { by: "--nonce".to_owned(), value: [8; 64] }];
    assert!(!judge(Inputs { report_data: other, ..terms.clone() }).authentic());
    assert!(!judge(Inputs { at: common::at("2060-01-01"), ..terms.clone() }).authentic());
    let mut strict = terms;
    strict.appraisal.vmpl = Some(vec![3]);
    assert!(!judge(strict).authentic());
}

/// Protects Azure evidence on its way through a record: claims and quote come along, and are
/// checked again.
#[test]
fn azure_evidence_goes_through_a_record_whole() {
    let evidence = Evidence::read(&common::read("evidence/trustee_az_evidence_v2.json")).unwrap();
    let mut inputs = Inputs {
        vek: evidence.vek().map(<[u8]>::to_vec),
        report: evidence.report,
        azure: evidence.azure,
        at: common::at("2026-03-01"),
        ..Inputs::default()
    };
    inputs.appraisal.allow_broken_roots = vec![casemate_attestation::report::Generation::Milan];
    let record = read(&json(&inputs));
    let repeated = record.repeat().unwrap();
    assert!(repeated.same && repeated.verdict.azure().is_some());
    let opened = record.evidence(Inputs::default()).unwrap();
    assert_eq!(opened.azure, inputs.azure);
}
