//! A verdict's word never says more than was checked, and demands on a report add up.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use casemate_attestation::context::Context;
use casemate_attestation::document::Document;
use casemate_attestation::hex::encode;
use casemate_attestation::report::{Generation, Report};
use casemate_attestation::verify::{
    Appraisal, AppraisalError, Code, Conclusion, Demand, Property, Status, Verifier,
};

/// Genoa, at a time when the list that is at hand is current.
fn genoa() -> (common::Pair, u64) {
    (common::find("oak_genoa_oc"), common::at("2025-10-01"))
}

fn field(pair: &common::Pair, from: usize, length: usize) -> String {
    encode(&pair.report[from..from + length])
}

/// The four demands as lines of an appraisal, in the order of [`Property::ALL`]; revocation is the
/// list.
fn demands(pair: &common::Pair) -> [String; 4] {
    [
        format!("measurements = ['{}']\n", field(pair, 0x90, 48)),
        format!("report-data = '{}'\n", field(pair, 0x50, 64)),
        "require-crl = true\n".to_owned(),
        "tcb.genoa.reported = { snp = 1 }\n".to_owned(),
    ]
}

/// Protects whoever releases something on the word ACCEPTED: every subset of the four demands but
/// all of them is less. Cannot tell whether the demanded values are the right ones.
#[test]
fn accepted_needs_measurement_freshness_revocation_and_a_tcb_floor_and_the_rest_is_named() {
    let (pair, at) = genoa();
    let lines = demands(&pair);
    for subset in 0..16usize {
        let has = |index: usize| subset >> index & 1 == 1;
        let mut verifier = Verifier::new(at);
        let text: String = (0..4).filter(|i| has(*i)).map(|i| lines[i].as_str()).collect();
        if !text.is_empty() {
            verifier.appraisal = Appraisal::from_toml(&text).unwrap();
        }
        if has(2) {
            verifier.add_crl(&common::read("crls/genoa_crl_4.der"));
        }
        let verdict = verifier.verify(&pair.report, Some(&pair.vek));
        let open: Vec<_> = (0..4).filter(|i| !has(*i)).map(|i| Property::ALL[i]).collect();
        assert_eq!(verdict.not_proven(), open, "{text}");
        assert_eq!(verdict.accepted(), subset == 15, "{text}");
        assert!(verdict.authentic());
        let line = verdict.not_proven_line();
        assert_eq!(line.is_none(), subset == 15);
        for property in open {
            assert!(line.as_ref().unwrap().contains(property.name()), "{line:?}");
        }
    }
    let bare = Verifier::new(at).verify(&pair.report, Some(&pair.vek));
    assert_eq!(bare.headline(), "AUTHENTIC");
    assert_eq!(
        bare.not_proven_line().unwrap(),
        "not proven: measurement, freshness, revocation, TCB floor"
    );
}

/// Protects against rules that look like demands: a signer of zeros is none, a floor of zero is
/// none.
#[test]
fn a_rule_that_singles_nothing_out_proves_nothing() {
    let (pair, at) = genoa();
    let open = |text: &str| {
        let mut verifier = Verifier::new(at);
        verifier.appraisal = Appraisal::from_toml(text).unwrap();
        let verdict = verifier.verify(&pair.report, Some(&pair.vek));
        assert!(verdict.authentic(), "{text}");
        verdict.not_proven().to_vec()
    };
    // This vector has no ID block: the digest of its signer is zero.
    let zero = format!("id-key-digests = ['{}']", "00".repeat(48));
    assert!(open(&zero).contains(&Property::Measurement));
    assert!(
        open("family-ids = ['00000000000000000000000000000000']").contains(&Property::Measurement)
    );
    for floor in [
        "tcb.genoa.reported = { snp = 0, microcode = 0 }",
        "tcb.genoa.reported = {}\nvmpl = [0]",
        "tcb.turin.reported = { snp = 1 }",
        // The report's key is of the reported TCB: a floor elsewhere says nothing about it.
        "tcb.genoa.committed = { snp = 1 }",
        "tcb.genoa.launch = { snp = 1 }",
    ] {
        assert!(open(floor).contains(&Property::TcbFloor), "{floor}");
    }
    assert!(!open("tcb.presets = ['amd-sb-3019']").contains(&Property::TcbFloor));
    assert!(!open("tcb.genoa.reported = { microcode = 1 }").contains(&Property::TcbFloor));
    let signed = common::find("ms_genoa");
    let signer = format!("id-key-digests = ['{}']", field(&signed, 0xe0, 48));
    let mut verifier = Verifier::new(signed.at);
    verifier.appraisal = Appraisal::from_toml(&signer).unwrap();
    let verdict = verifier.verify(&signed.report, Some(&signed.vek));
    assert!(!verdict.not_proven().contains(&Property::Measurement), "a signer stands for it");
}

/// Protects against a policy whose rules are there and open: `any` demands nothing.
#[test]
fn an_isolation_policy_proves_what_its_rules_single_out() {
    let (pair, at) = genoa();
    let verdict = |replace: &[(&str, &str)]| {
        let mut text = open_policy();
        for (field, rule) in replace {
            text = text.replace(&format!("{field} = \"any\""), &format!("{field} = {rule}"));
            assert!(text.contains(rule), "{field}");
        }
        let mut verifier = Verifier::new(at);
        verifier.policy = Some(casemate_policy::Policy::load(&text, "p.toml").unwrap().into());
        verifier.add_crl(&common::read("crls/genoa_crl_4.der"));
        let verdict = verifier.verify(&pair.report, Some(&pair.vek));
        assert!(verdict.authentic(), "{:?}", verdict.first_failure());
        verdict.not_proven().to_vec()
    };
    use Property::{Freshness, Measurement, TcbFloor};
    assert_eq!(verdict(&[]), [Measurement, Freshness, TcbFloor]);
    let measurement = format!("[\"{}\"]", field(&pair, 0x90, 48));
    assert_eq!(verdict(&[("measurement", &measurement)]), [Freshness, TcbFloor]);
    assert_eq!(verdict(&[("id_key", "[\"unset\"]")]), [Measurement, Freshness, TcbFloor]);
    let floor = |levels: &str| format!("{{ genoa = {{ {levels} }} }}");
    let zero = floor("bootloader = 0, tee = 0, snp = 0, microcode = 0");
    assert_eq!(verdict(&[("reported_tcb", &zero)]), [Measurement, Freshness, TcbFloor]);
    let real = floor("bootloader = 1, tee = 0, snp = 1, microcode = 1");
    assert_eq!(verdict(&[("reported_tcb", &real)]), [Measurement, Freshness]);
}

/// A policy whose attestation section is open.
fn open_policy() -> String {
    let strict = casemate_policy::Policy::builtin_strict();
    let rules = strict.rules(casemate_policy::Point::Attestation);
    let open: String = rules.map(|(field, _, _)| format!("{} = \"any\"\n", field.name())).collect();
    format!("schema_version = 1\nmin_engine = \"0.1.0\"\n[attestation]\n{open}")
}

/// Protects against reports that anyone who broke Milan's root can make. Being on a list of
/// generations is not enough.
#[test]
fn a_generation_with_a_broken_root_is_refused_unless_allowed_by_name() {
    let pair = common::find("ms_milan");
    let outcome = |verifier: &Verifier| {
        let verdict = verifier.verify(&pair.report, Some(&pair.vek));
        let checks = verdict.checks().to_vec();
        let check = checks.into_iter().find(|c| c.code == Code::GenerationAllowed).unwrap();
        (verdict.conclusion(), check.status, check.saw.into_owned())
    };
    let mut verifier = Verifier::new(pair.at);
    let (conclusion, status, saw) = outcome(&verifier);
    assert_eq!((conclusion, status), (Conclusion::Refused, Status::Failed));
    assert!(saw.contains("Milan") && saw.contains("2026"), "{saw}");
    verifier.appraisal = Appraisal::from_toml("generations = ['milan']").unwrap();
    assert_eq!(outcome(&verifier).0, Conclusion::Refused, "a list of generations names no break");
    verifier.policy = Some(casemate_policy::Policy::load(&open_policy(), "p.toml").unwrap().into());
    assert_eq!(outcome(&verifier).0, Conclusion::Refused, "neither does a policy");
    verifier.policy = Some(casemate_policy::Policy::builtin_strict().into());
    assert_eq!(outcome(&verifier).0, Conclusion::Refused);
    let mut verifier = Verifier::new(pair.at);
    verifier.appraisal = Appraisal::from_toml("allow-broken-roots = ['milan']").unwrap();
    let (conclusion, status, _) = outcome(&verifier);
    assert_eq!((conclusion, status), (Conclusion::Authentic, Status::Warning));
    verifier.appraisal.allow_broken_roots = vec![Generation::Genoa];
    assert_eq!(outcome(&verifier).0, Conclusion::Refused, "another name is another generation");
}

/// Protects the stricter of two demands: one that comes later or from elsewhere replaces nothing.
#[test]
fn every_demanded_report_data_must_hold_and_a_conflict_is_named() {
    let (pair, at) = genoa();
    let own: [u8; 64] = pair.report[0x50..0x90].try_into().unwrap();
    let other = [0xab; 64];
    let demand = |by: &str, value| Demand { by: by.to_owned(), value };
    let judge = |demands: &[Demand], appraisal: Option<[u8; 64]>, context: Option<Context>| {
        let mut verifier = Verifier::new(at);
        verifier.report_data = demands.to_vec();
        verifier.appraisal.report_data = appraisal.map(casemate_attestation::hex::Hex);
        verifier.context = context;
        let verdict = verifier.verify(&pair.report, Some(&pair.vek));
        verdict.first_failure().map(|check| {
            assert_eq!(check.code, Code::ReportData);
            format!("{} {}", check.saw, check.wanted)
        })
    };
    assert_eq!(judge(&[demand("--nonce", own)], Some(own), None), None);
    assert_eq!(judge(&[demand("--nonce", own), demand("--report-data", own)], None, None), None);
    assert!(judge(&[demand("--nonce", other)], None, None).unwrap().contains("--nonce"));
    for (first, second) in [(own, other), (other, own)] {
        let said = judge(&[demand("--report-data", first)], Some(second), None).unwrap();
        assert!(said.contains("--report-data") && said.contains("the appraisal"), "{said}");
        let both = [demand("--nonce", first), demand("--report-data", second)];
        assert!(judge(&both, None, None).unwrap().contains("two values are demanded"));
    }
    let context = Context { label: "tls".to_owned(), nonce: b"nonce".to_vec() };
    let said = judge(&[demand("--report-data", own)], None, Some(context)).unwrap();
    assert!(said.contains("context tls"), "{said}");
}

/// Protects against zeros taken for a nonce without a word: the demand holds, and the check says
/// what it is worth.
#[test]
fn a_demanded_report_data_of_zeros_is_a_warning() {
    let pair = common::find("ms_genoa");
    let mut verifier = Verifier::new(pair.at);
    verifier.report_data = vec![Demand { by: "--nonce".to_owned(), value: [0; 64] }];
    let verdict = verifier.verify(&pair.report, Some(&pair.vek));
    let check = verdict.checks().iter().find(|check| check.code == Code::ReportData).unwrap();
    assert_eq!(check.status, Status::Warning);
}

/// Protects against a document that was cut off: the first lines of a policy are no decision to
/// demand nothing.
#[test]
fn a_document_that_says_nothing_is_an_error() {
    let strict = casemate_policy::Policy::strict_text();
    let starter = casemate_policy::starter();
    for text in [strict, &starter] {
        for lines in 0..=text.lines().count() {
            let cut: String = text.lines().take(lines).map(|line| format!("{line}\n")).collect();
            match Document::read(&cut, "p.toml") {
                Err(AppraisalError::SaysNothing) => assert!(!cut.contains("\nschema_version")),
                Ok(Document::Isolation(policy)) => {
                    // What the engine makes of the rest denies: sections that are not there are
                    // closed.
                    if let Ok(policy) = casemate_policy::Policy::load(&policy.text, "p.toml") {
                        let facts = casemate_policy::Facts::new();
                        let point = casemate_policy::Point::Attestation;
                        assert!(!policy.decide(point, &facts).is_allow(), "{lines} lines");
                    }
                }
                other => panic!("{lines} lines: {other:?}"),
            }
        }
        // Cut anywhere in its first lines, too.
        for bytes in 0..400.min(text.len()) {
            let cut = &text[..text.floor_char_boundary(bytes)];
            assert!(!matches!(Document::read(cut, "p"), Ok(Document::Appraisal(_))), "{cut:?}");
        }
    }
    for nothing in
        ["", "\n\n", "# vmpl = [0]\n", "[tcb]\n", "[guest-policy]\n[platform]\n", "tcb = {}"]
    {
        assert_eq!(Document::read(nothing, "p"), Err(AppraisalError::SaysNothing), "{nothing:?}");
        assert_eq!(Appraisal::from_toml(nothing), Err(AppraisalError::SaysNothing));
    }
    assert!(matches!(Document::read("vmpl = [1]", "p"), Ok(Document::Appraisal(_))));
    assert!(matches!(Document::read("{}", "p"), Ok(Document::Isolation(_))));
    for mixed in ["schema_version = 1\nvmpl = [1]\n", "min_engine = \"0.1.0\"\nvmpl = [1]\n"] {
        let Ok(Document::Isolation(policy)) = Document::read(mixed, "p") else { panic!("{mixed}") };
        assert!(casemate_policy::Policy::load(&policy.text, "p").is_err(), "{mixed}");
    }
}

/// Protects readers of messages: names out of documents and texts out of certificates cannot steer
/// a terminal.
#[test]
fn texts_of_documents_and_evidence_are_printed_escaped_and_on_one_line() {
    let is_fit = |text: &str| text.chars().all(casemate_foreign_text::is_plain);
    let hostile = "\u{1b}[2J\u{202e}\nACCEPTED\u{9b}1m";
    let toml = format!("{hostile:?} = 1\n").replace("\\u{1b}", "\\u001b");
    let toml = toml.replace("\\u{202e}", "\\u202e").replace("\\u{9b}", "\\u009b");
    let error = Appraisal::from_toml(&toml).unwrap_err().to_string();
    assert!(is_fit(&error), "{error:?}");
    let (pair, at) = genoa();
    let mut verifier = Verifier::new(at);
    verifier.appraisal.csp_ids = Some(vec![hostile.to_owned()]);
    verifier.report_data = vec![Demand { by: hostile.to_owned(), value: [7; 64] }];
    verifier.context = Some(Context { label: hostile.to_owned(), nonce: vec![1] });
    verifier.damaged_crls = vec![hostile.repeat(10_000)];
    for verdict in [verifier.verify(&pair.report, Some(&pair.vek)), {
        verifier.damaged_crls.clear();
        verifier.verify(&pair.report, Some(&pair.vek))
    }] {
        assert!(!verdict.authentic());
        for check in verdict.checks() {
            assert!(is_fit(&check.saw) && is_fit(&check.wanted), "{check:?}");
            assert!(check.saw.len() + check.wanted.len() < 50_000, "{}", check.code);
        }
    }
    assert!(Report::parse(&pair.report).is_ok());
}
