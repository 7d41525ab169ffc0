//! Check, lint, SARIF, test suites, the starter, the schema and the field reference.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    missing_docs,
    reason = "tests: functions that tests share"
)]

use casemate_policy::audit::{Audited, Finding, Level, Suite, catalog, check, lint};
use casemate_policy::fields::GRANT_FIELDS;
use casemate_policy::{Origin, Point, Policy};
use std::collections::BTreeSet;

const HEAD: &str = "schema_version = 1\nmin_engine = \"0.1.0\"\n";
const EXAMPLES: [(&str, &str, &str); 3] = [
    (
        "production",
        include_str!("../examples/production.toml"),
        include_str!("../examples/production.cases.toml"),
    ),
    ("ci", include_str!("../examples/ci.toml"), include_str!("../examples/ci.cases.toml")),
    (
        "multi-tenant",
        include_str!("../examples/multi-tenant.toml"),
        include_str!("../examples/multi-tenant.cases.toml"),
    ),
];

fn load(body: &str) -> Policy {
    Policy::load(&format!("{HEAD}{body}"), "p.toml").unwrap_or_else(|error| panic!("{error}"))
}

fn sarif(findings: &[Finding], file: &str, root: &str) -> String {
    casemate_policy::audit::sarif(&[Audited { file, findings }], root)
}

fn ids(body: &str) -> BTreeSet<&'static str> {
    let policy = load(body);
    check(&policy).into_iter().chain(lint(&policy, None)).map(|finding| finding.id).collect()
}

#[test]
fn the_examples_pass_their_tests_and_every_rule_is_tested() {
    for (name, text, cases) in EXAMPLES {
        let policy = Policy::load(text, name).unwrap_or_else(|error| panic!("{error}"));
        let report =
            Suite::load(cases, name).unwrap_or_else(|error| panic!("{error}")).run(&policy);
        for result in &report.results {
            assert!(result.passed, "{name}: {}: {}", result.name, result.decision);
        }
        for mutant in &report.mutants {
            assert!(
                mutant.noticed,
                "{name}: no case notices when {} {}",
                mutant.rule, mutant.change
            );
        }
        assert!(report.mutants.len() >= 20, "{name}");
        assert!(check(&policy).is_empty(), "{name}");
    }
    let layer = include_str!("../examples/tenant-blue.layer.toml");
    let layer = Policy::load_layer(layer, "layer").unwrap_or_else(|error| panic!("{error}"));
    let operator = Policy::load(EXAMPLES[2].1, "operator").unwrap();
    assert!(operator.not_tightened_by(&layer).is_empty());
    assert!(!operator.diff(&operator.merge(&layer)).differences.is_empty());
}

#[test]
fn the_production_example_has_no_errors_and_no_warnings() {
    let policy = Policy::load(EXAMPLES[0].1, "production.toml").unwrap();
    let grave: Vec<String> = lint(&policy, None)
        .into_iter()
        .filter(|finding| finding.level > Level::Note)
        .map(|finding| finding.to_string())
        .collect();
    assert!(grave.is_empty(), "{grave:#?}");
}

#[test]
fn a_suite_that_tests_too_little_is_told_and_given_the_cases() {
    let (_, text, _) = EXAMPLES[0];
    let policy = Policy::load(text, "production.toml").unwrap();
    let empty = Suite::default();
    let report = empty.run(&policy);
    assert!(report.mutants.iter().all(|mutant| !mutant.noticed));
    let findings = lint(&policy, Some(&report));
    assert!(findings.iter().any(|finding| finding.id == "CM090"));
    let cases = empty.suggest(&policy, &report);
    let suite = Suite::load(&cases, "suggested").unwrap_or_else(|error| panic!("{error}\n{cases}"));
    assert!(suite.run(&policy).is_good());
}

#[test]
fn a_case_that_does_not_hold_fails_and_bad_documents_are_refused() {
    let policy = Policy::builtin_strict();
    let text = "[[case]]\nname = \"x\"\npoint = \"launch\"\nexpect = \"allow\"\ninput.launch.protection = \"none\"\n";
    assert!(!Suite::load(text, "c").unwrap().run(&policy).results[0].passed);
    for bad in [
        "[[cases]]\n",
        "case = 1",
        "[[case]]\nname = \"x\"\n",
        "[[case]]\nname = \"x\"\npoint = \"lunch\"\nexpect = \"allow\"\n",
        "[[case]]\nname = \"x\"\nfrom = \"y\"\nexpect = \"allow\"\n",
        "[[case]]\nname = \"x\"\npoint = \"launch\"\nexpect = \"maybe\"\n",
        "[[case]]\nname = \"x\"\npoint = \"launch\"\nexpect = \"deny\"\nbecause = [1]\n",
        "[[case]]\nname = \"x\"\npoint = \"launch\"\nexpect = \"deny\"\nremove = [\"launch.tenat\"]\n",
        "[[case]]\nname = \"x\"\npoint = \"launch\"\nexpect = \"deny\"\ninput.launch.tenat = 1\n",
        "[[case]]\nname = \"x\"\npoint = \"launch\"\nexpect = \"deny\"\ninput.launch.vcpus = 1\nchange.launch.vcpus = 2\n",
    ] {
        assert!(Suite::load(bad, "c").is_err(), "{bad}");
    }
}

#[test]
fn contradictions_are_found() {
    for (body, id) in [
        ("[launch]\ncmdline_allow = [\"a\"]\ncmdline_require = [\"b\"]", "CC001"),
        ("[resources]\nvcpus = 4", "CC001"),
        ("[devices.block]\nread_only = \"any\"", "CC002"),
        ("[launch]\ncmdline_allow = [\"a*\"]\ncmdline_forbid = [\"b*\"]", "CC003"),
        (
            "[attestation]\nchip_allow = [\"1111111111111111\"]\nchip_deny = [\"2222222222222222\"]",
            "CC003",
        ),
        (
            "[host]\ngenerations = [\"turin\"]\ntcb = { milan = { bootloader = 1, tee = 0, snp = 1, microcode = 1 } }",
            "CC004",
        ),
        ("[secrets.\"x/y/z\"]\nmeasurement = \"any\"", "CC005"),
    ] {
        assert!(ids(body).contains(id), "{body}: {:?}", ids(body));
    }
    assert!(ids("").is_empty(), "an empty policy is closed, not wrong: {:?}", ids(""));
}

/// Protects `casemate policy rules`, too: what it shows as an example is one.
#[test]
fn each_check_and_lint_finds_its_own_example() {
    let mut shown = 0;
    for described in catalog() {
        let (id, body) = (described.id, described.example);
        assert!(described.remedy.ends_with('.') && !described.meaning.is_empty(), "{id}");
        match id {
            "CD001" => assert!(Policy::load(&format!("{HEAD}{body}\n"), "p").is_err()),
            // Of test cases: `a_rule_that_no_case_notices…` shows it.
            "CM090" => assert_eq!(body, ""),
            _ => {
                assert!(ids(body).contains(id), "{id}: {body}: {:?}", ids(body));
                let empty = ids("").contains(id);
                assert!(!empty, "{id} is found in the empty policy");
                shown += 1;
            }
        }
    }
    assert!(shown > 50, "{shown}");
}

#[test]
fn the_internet_in_two_halves_is_the_internet() {
    let half = |cidr: &str| format!("{{ cidr = \"{cidr}\", ports = 443, protocol = \"tcp\" }}");
    let both = format!("[network]\negress = [{}, {}]", half("0.0.0.0/1"), half("128.0.0.0/1"));
    assert!(ids(&both).contains("CM040"), "{both}");
}

/// Whom a grant or the attestation section pins gets the secret, and the lints that would be there
/// without are not: a signer's key is how secrets survive an update, HOST_DATA what the host cannot
/// choose. Cannot tell whether the key or the hash is the right one.
#[test]
fn what_pins_a_signer_or_initdata_is_no_finding_and_initdata_alone_neither() {
    let key = "d4".repeat(48);
    let hash = "f6".repeat(32);
    for (body, id) in [
        (format!("[secrets.\"x/y/z\"]\nmeasurement = \"any\"\nid_key = [\"{key}\"]"), "CM071"),
        (format!("[secrets.\"x/y/z\"]\nhost_data = [\"{hash}\"]"), "CM078"),
        ("[secrets.\"x/y/z\"]\nhost_data = [\"unset\"]".into(), "CM078"),
        (
            format!(
                "[secrets.\"x/y/z\"]\nhost_data = \"any\"\n[attestation]\nhost_data = [\"{hash}\"]"
            ),
            "CM078",
        ),
        ("[launch]\nhost_data = [\"initdata\"]".into(), "CM018"),
        ("[launch]\nhost_data = [\"initdata\", \"unset\"]".into(), "CM028"),
        (format!("[launch]\nhost_data = [\"{hash}\"]"), "CM028"),
        ("[launch]\ntenants = [\"me\"]\n[attestation]\nvmpl = 0".into(), "CM097"),
        (
            "[launch]\ncmdline_allow = [\"casemate.*\"]\ncmdline_forbid = [\"casemate.debug*\"]"
                .into(),
            "CM027",
        ),
    ] {
        // With whatever else there is to say, attestation open where the grant has to pin.
        let body = if body.contains("[attestation]") || id != "CM071" {
            body
        } else {
            format!("{body}\n[attestation]\nmeasurement = \"any\"\nid_key = \"any\"")
        };
        assert!(!ids(&body).contains(id), "{id}: {body}: {:?}", ids(&body));
    }
}

#[test]
fn sarif_is_json_of_the_right_shape_with_places() {
    let policy = load("[launch]\ntenants = \"any\"\nguest_policy = { may = [\"debug\"] }");
    let text = sarif(&lint(&policy, None), "p.toml", "");
    let log: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for result in run["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let region = &result["locations"][0]["physicalLocation"]["region"];
        assert!(region["startLine"].as_u64().unwrap() >= 1);
    }
    assert!(text.contains("\"startLine\":5"), "{text}");
}

#[test]
fn sarif_names_files_relative_and_findings_by_what_they_are() {
    let body = "[launch]\ntenants = \"any\"\n";
    let log = |before: &str, name: &str, root: &str| -> serde_json::Value {
        let text = format!("{HEAD}{before}{body}");
        let policy = Policy::load(&text, name).unwrap();
        serde_json::from_str(&sarif(&lint(&policy, None), name, root)).unwrap()
    };
    let uri = |log: &serde_json::Value| {
        let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        place["artifactLocation"]["uri"].as_str().unwrap().to_owned()
    };
    assert_eq!(uri(&log("", "/src/repo/a b/p.toml", "/src/repo")), "a%20b/p.toml");
    assert_eq!(uri(&log("", "./p.toml", "/src/repo")), "p.toml");
    assert_eq!(
        uri(&log("", "/src/repository/p.toml", "/src/repo")),
        "file:///src/repository/p.toml"
    );
    let fingerprint = |log: &serde_json::Value| {
        log["runs"][0]["results"][0]["partialFingerprints"]["casemateFinding/v1"].clone()
    };
    let (plain, moved) = (log("", "p.toml", ""), log("# one line more\n", "p.toml", ""));
    assert!(fingerprint(&plain).is_string());
    assert_eq!(
        fingerprint(&plain),
        fingerprint(&moved),
        "a line above does not make another finding"
    );
    let rules = plain["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    assert!(
        rules.iter().all(|rule| rule["help"]["text"].as_str().unwrap().len() > 10),
        "{rules:?}"
    );
}

#[test]
fn a_document_that_is_refused_has_findings_with_places() {
    let error = Policy::load("schema_version = 1\n[lunch]\n", "p.toml").unwrap_err();
    let findings = casemate_policy::audit::refused(&error);
    assert_eq!(findings.len(), error.diagnostics.len());
    let log: serde_json::Value = serde_json::from_str(&sarif(&findings, "p.toml", "")).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert!(results.iter().any(|r| r["message"]["text"].as_str().unwrap().contains("unknown key")));
    assert!(results.iter().all(|r| r["level"] == "error" && r["ruleId"] == "CD001"));
    let place = &results[1]["locations"][0]["physicalLocation"]["region"];
    assert_eq!(place["startLine"], 2);
}

/// Protects who closed one of two findings that read alike: the other one stays open.
#[test]
fn two_findings_that_read_alike_have_two_fingerprints() {
    let policy = load("[launch]\ntenants = \"any\"\n");
    let one = lint(&policy, None).remove(0);
    let twice = [one.clone(), one];
    let log: serde_json::Value = serde_json::from_str(&sarif(&twice, "p.toml", "")).unwrap();
    let print = |index: usize| {
        log["runs"][0]["results"][index]["partialFingerprints"]["casemateFinding/v1"].clone()
    };
    assert_ne!(print(0), print(1));
}

/// Protects a run over several files: each has its own findings, and none is under another's name.
#[test]
fn a_log_over_several_documents_names_each_at_its_findings() {
    let findings = lint(&load("[launch]\ntenants = \"any\"\n"), None);
    let all = ["a.toml", "b.toml"].map(|file| Audited { file, findings: &findings });
    let text = casemate_policy::audit::sarif(&all, "");
    let log: serde_json::Value = serde_json::from_str(&text).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 2 * findings.len());
    for (index, result) in results.iter().enumerate() {
        let place = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(*place, if index < findings.len() { "a.toml" } else { "b.toml" });
    }
}

#[test]
fn an_unknown_id_has_no_help() {
    assert!(casemate_policy::audit::help("CM000").is_none());
}

/// A reader takes these for something else; the engine takes them for what they are.
#[test]
fn texts_that_mislead_a_reader_are_remarked() {
    for (body, word) in [
        ("[launch]\ntenants = [\"uid-100?\"]", "`?`"),
        ("[launch]\ntenants = [\"[a-z]ed\"]", "`[..]`"),
        ("[launch]\ntenants = [\"{blue,green}\"]", "`{..}`"),
        ("[launch]\ncmdline_forbid = [\"init=?\"]", "`?`"),
        ("[launch]\ncmdline_require = [\"a\\u200Bb\"]", "U+200B"),
        ("[launch]\ntenants = [\"blue\\u202Enimda\"]", "U+202E"),
        ("[attestation]\ncontext = [\"kbs\\u00A0\"]", "U+00A0"),
        ("[devices.block]\nroots = [\"/srv/[ab]\"]", "`[..]`"),
    ] {
        let findings = lint(&load(body), None);
        let found = findings.iter().find(|finding| finding.id == "CM091");
        let text = found.unwrap_or_else(|| panic!("{body}")).to_string();
        assert!(text.contains(word), "{body}: {text}");
        assert!(!text.contains('\u{202e}') && !text.contains('\u{200b}'), "{text}");
    }
    let policy = Policy::load(&format!("{HEAD}name = \"a\\u2066b\"\n"), "p.toml").unwrap();
    assert!(lint(&policy, None).iter().any(|f| f.id == "CM091" && f.rule == "name"));
}

#[test]
fn the_starter_loads_and_is_no_looser_than_the_defaults() {
    let starter = Policy::load(&casemate_policy::starter(), "starter.toml")
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(Policy::defaults("d").diff(&starter).differences.is_empty());
    let grant = casemate_policy::starter().replace("# [secrets", "[secrets");
    let grant: String = grant
        .lines()
        .map(|line| {
            let field =
                GRANT_FIELDS.iter().any(|f| line.starts_with(&format!("# {} = ", f.name())));
            format!("{}\n", if field { &line[2..] } else { line })
        })
        .collect();
    assert_eq!(
        Policy::load(&grant, "starter.toml").unwrap().grants().len(),
        1,
        "the commented grant is good"
    );
}

#[test]
fn every_default_is_good_and_every_field_is_described() {
    let mut paths = BTreeSet::new();
    for field in Point::ALL.into_iter().flat_map(Point::fields).chain(GRANT_FIELDS) {
        assert!(paths.insert(field.path), "{} twice", field.path);
        let text = match field.path.strip_prefix("secrets.*.") {
            Some(name) => format!("[secrets.\"x/y/z\"]\n{name} = {}", field.default),
            None => format!("{} = {}", field.path, field.default),
        };
        let stated = load(&text);
        if let Some(rule) = stated.rule(field.path) {
            assert_eq!(Some(rule), Policy::defaults("d").rule(field.path), "{}", field.path);
        }
        for text in [field.meaning, field.enforced_by, field.without] {
            assert!(
                text.len() > 10 && (text.ends_with('.') || text == field.enforced_by),
                "{}: {text}",
                field.path
            );
        }
    }
    assert!(paths.len() > 90);
    assert!(
        Policy::defaults("d").rules(Point::Launch).all(|(_, _, origin)| *origin == Origin::Default)
    );
}

/// Compares a generated document with the committed one; with CASEMATE_BLESS set it writes it.
fn committed(path: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(path);
    if std::env::var_os("CASEMATE_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{} is out of date: run the test with CASEMATE_BLESS=1", path.display());
}

#[test]
fn the_committed_field_reference_is_the_generated_one() {
    committed("policy-fields.md", &casemate_policy::reference());
}

#[test]
fn the_committed_schema_is_the_generated_one_and_knows_every_field() {
    let text = casemate_policy::json_schema();
    committed("policy.schema.json", &text);
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    for field in Point::ALL.into_iter().flat_map(Point::fields) {
        let at = field.path.split('.').fold(&schema, |at, name| &at["properties"][name]);
        assert!(at["description"].is_string(), "{}", field.path);
    }
}

/// Protects who reads a policy from taking every line of it for kept. Cannot tell whether the parts
/// that are there keep theirs.
#[test]
fn rules_that_nobody_keeps_yet_are_named_and_the_shipped_examples_have_none_that_refuses() {
    let findings = |text: &str| {
        let policy = Policy::load(text, "test").unwrap();
        lint(&policy, None).into_iter().map(|f| (f.id, f.rule)).collect::<Vec<_>>()
    };
    for example in
        [include_str!("../examples/production.toml"), include_str!("../examples/multi-tenant.toml")]
    {
        let found = findings(example);
        assert!(!found.iter().any(|(id, _)| *id == "CM095"), "{found:?}");
        let has_secrets = example.contains("\n[secrets.");
        assert_eq!(found.contains(&("CM096", "policy".into())), has_secrets, "{found:?}");
        let rate = "guest_requests = { per_second = 5, total = 9 }";
        let limited = example.replace("guest_requests = \"any\"", rate);
        assert_ne!(limited, example);
        let found = findings(&limited);
        assert!(found.contains(&("CM095", "runtime.guest_requests".into())), "{found:?}");
    }
}
