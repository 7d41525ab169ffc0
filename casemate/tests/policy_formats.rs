//! What `casemate policy` writes for programs, read by readers of others: SARIF against its schema,
//! JSON, JUnit XML. What a review tool shows of it, no test here can tell.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "functions that tests share"
)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names as somebody may choose them who wants a reader to see something else.
const HOSTILE: &str = "a\\\"><script>&amp;\\u001b[31m\\u202e ]]> '";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/examples").join(name)
}

/// A folder of this test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("formats-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        name.to_owned()
    }

    /// Runs the program in it; status and standard output.
    fn casemate(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        let output = command.current_dir(&self.0).args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn loose() -> String {
    format!(
        "schema_version = 1\nmin_engine = \"0.1.0\"\nname = \"{HOSTILE}\"\n[launch]\ntenants = \"any\"\n"
    )
}

const REFUSED: &str = "schema_version = 1\nmin_engine = \"0.1.0\"\n[launch]\nmeasurment = []\n";
const NO_TOML: &str = "schema_version = \n";

/// The log, which its schema admits.
fn sarif(text: &str) -> Value {
    let schema = include_str!("../../tests/vectors/sarif/sarif-2.1.0.json");
    // A pattern of it is no regular expression of the kind that JSON Schema demands; the errata of
    // the standard have it so.
    let broken = "^[a-zA-Z]{2}|^[a-zA-Z]{2}-[a-zA-Z]{2}]?$";
    assert!(schema.contains(broken));
    let schema = schema.replace(broken, "^[a-zA-Z]{2}(-[a-zA-Z]{2})?$");
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let log: Value = serde_json::from_str(text).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&log).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{text}");
    // That the validator has the schema at all.
    let mut wrong = log.clone();
    wrong["runs"][0]["results"][0]["level"] = "grave".into();
    assert!(!validator.is_valid(&wrong));
    log
}

/// Protects who uploads findings in CI: what is written is SARIF 2.1.0 by its schema, also of a
/// document that is refused, with help, a fingerprint and a relative place at each finding.
#[test]
fn sarif_is_what_its_schema_says_also_of_a_policy_that_is_refused() {
    let folder = Folder::new("sarif");
    folder.write("loose policy.toml", &loose());
    folder.write("refused.toml", REFUSED);
    folder.write("broken.toml", NO_TOML);
    let production = example("production.toml");
    let absolute = folder.0.join("loose policy.toml");
    let cases: &[(&[&str], i32)] = &[
        (&["lint", "loose policy.toml"], 0),
        (&["lint", absolute.to_str().unwrap()], 0),
        (&["lint", production.to_str().unwrap()], 0),
        (&["lint", "builtin:permissive"], 1),
        (&["lint", "refused.toml"], 2),
        (&["lint", "broken.toml"], 2),
        (&["check", "loose policy.toml", "refused.toml", "broken.toml"], 2),
    ];
    for (arguments, expected) in cases {
        let all = [&["policy"], *arguments, &["--format", "sarif"]].concat();
        let (status, text) = folder.casemate(&all);
        assert_eq!(status, *expected, "{all:?}: {text}");
        let log = sarif(&text);
        let run = &log["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        assert!(rules.iter().all(|rule| rule["help"]["text"].as_str().unwrap().len() > 10));
        let results = run["results"].as_array().unwrap();
        assert!(!results.is_empty(), "{all:?}");
        for result in results {
            let place = &result["locations"][0]["physicalLocation"];
            let uri = place["artifactLocation"]["uri"].as_str().unwrap();
            assert!(place["region"]["startLine"].as_u64().unwrap() > 0, "{result}");
            let print = &result["partialFingerprints"]["casemateFinding/v1"];
            assert!(print.as_str().unwrap().len() >= 64, "{result}");
            let inside = arguments.iter().any(|name| name.contains("loose"));
            assert!(!inside || !uri.starts_with('/') && !uri.contains(':'), "{uri}");
        }
        let refused = results.iter().any(|result| result["ruleId"] == "CD001");
        assert_eq!(refused, *expected == 2, "{all:?}: {text}");
    }
    let (_, text) =
        folder.casemate(&["policy", "lint", absolute.to_str().unwrap(), "--format=sarif"]);
    let log = sarif(&text);
    let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "loose%20policy.toml");
}

/// Protects scripts: each document of a command is there with its findings, one that is refused,
/// too, and the status is what it is for people.
#[test]
fn json_of_check_and_lint_has_every_document_and_the_status_of_the_text() {
    let folder = Folder::new("json");
    folder.write("loose.toml", &loose());
    folder.write("refused.toml", REFUSED);
    let (status, text) =
        folder.casemate(&["policy", "check", "--json", "loose.toml", "refused.toml"]);
    assert_eq!(status, 2);
    let all: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(all["policies"][0]["accepted"], true);
    assert_eq!(all["policies"][0]["sha256"].as_str().unwrap().len(), 64);
    let refused = &all["policies"][1];
    assert_eq!((&refused["accepted"], &refused["sha256"]), (&false.into(), &Value::Null));
    assert_eq!(refused["findings"][0]["id"], "CD001");
    assert_eq!(refused["findings"][0]["at"]["line"], 4);
    for more in [&["--json"][..], &["--format", "json"]] {
        let words = [&["policy", "lint", "loose.toml"], more].concat();
        let (status, text) = folder.casemate(&words);
        let all: Value = serde_json::from_str(&text).unwrap();
        let findings = all["policies"][0]["findings"].as_array().unwrap();
        let any = findings.iter().find(|one| one["rule"] == "launch.tenants").unwrap();
        assert_eq!(
            (any["at"]["line"].as_u64(), any["level"].is_string()),
            (Some(5), true),
            "{any}"
        );
        assert!(findings.iter().any(|one| one["facts"].is_string()), "{text}");
        assert!(findings.iter().all(|one| one["help"].is_string()), "{text}");
        let errors = findings.iter().filter(|one| one["level"] == "error").count();
        assert_eq!(all["policies"][0]["errors"], errors);
        assert_eq!(status, i32::from(errors > 0));
    }
}

/// Protects scripts that ask what would have to change: fact by fact, as data.
#[test]
fn json_of_why_not_has_each_change_as_data() {
    let folder = Folder::new("why-not");
    let input = r#"{"point": "access", "runtime": {"console": "interactive", "debug": "none",
        "snapshot": true, "migration": false}}"#;
    folder.write("input.json", input);
    let words = ["policy", "why-not", "builtin:strict", "--input", "input.json", "--json"];
    let (status, text) = folder.casemate(&words);
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &answer["answer"]), (1, &"change".into()), "{text}");
    let changes = answer["changes"].as_array().unwrap();
    let snapshot = changes.iter().find(|one| one["fact"] == "runtime.snapshot").unwrap();
    assert_eq!((&snapshot["from"], &snapshot["to"]), (&"true".into(), &"false".into()), "{text}");
    assert_eq!(changes.len(), answer["lines"].as_array().unwrap().len());
}

/// Protects who approves a change by a page of it: what differs stands there, and a name is a name.
#[test]
fn a_page_of_differences_has_both_sides_and_no_element_of_a_policy() {
    let folder = Folder::new("diff");
    folder.write("a.toml", &loose());
    folder.write("b.toml", &loose().replace("\"any\"", "[\"uid-7\"]"));
    let words = ["policy", "diff", "b.toml", "a.toml", "--html", "d.html"];
    assert_eq!(folder.casemate(&words).0, 1);
    let page = std::fs::read_to_string(folder.0.join("d.html")).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&page, options).unwrap();
    assert!(document.descendants().all(|node| !node.has_tag_name("script")), "{page}");
    let cells: Vec<_> = document.descendants().filter(|node| node.has_tag_name("td")).collect();
    let has = |text: &str| cells.iter().any(|cell| cell.text().is_some_and(|it| it.contains(text)));
    assert!(has("launch.tenants") && has("looser") && has("uid-7") && has("any"), "{page}");
    let onto = ["policy", "diff", "b.toml", "a.toml", "--html", "a.toml"];
    assert_eq!(folder.casemate(&onto).0, 2);
}

/// Protects the reader of test reports in CI: well-formed XML with a case for each case and each
/// loosened rule, whatever they are called, and an error where nothing could run.
#[test]
fn junit_is_well_formed_whatever_the_names_are_and_counts_what_failed() {
    let folder = Folder::new("junit");
    let cases = format!(
        "[[case]]\nname = \"{HOSTILE}\"\npoint = \"access\"\nexpect = \"allow\"\n\
         input.runtime = {{ console = \"output\", debug = \"none\", snapshot = false, migration = false }}\n\
         [[case]]\nname = \"wrong\"\npoint = \"access\"\nexpect = \"allow\"\n\
         input.runtime = {{ console = \"output\", debug = \"full\", snapshot = false, migration = false }}\n"
    );
    folder.write(
        "p<&\">.toml",
        "schema_version = 1\nmin_engine = \"0.1.0\"\n[runtime]\nconsole = \"output\"\n",
    );
    folder.write("p<&\">.cases.toml", &cases);
    let words = ["policy", "test", "p<&\">.toml", "--junit", "out.xml"];
    let (status, text) = folder.casemate(&words);
    assert_eq!(status, 1, "{text}");
    let xml = std::fs::read_to_string(folder.0.join("out.xml")).unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap_or_else(|e| panic!("{e}\n{xml}"));
    let suite = document.root_element().first_element_child().unwrap();
    assert_eq!(suite.attribute("name"), Some("p<&\">.toml"));
    let cases: Vec<_> = suite.children().filter(|node| node.has_tag_name("testcase")).collect();
    let failed = |node: &&roxmltree::Node<'_, '_>| node.first_element_child().is_some();
    let number = |name: &str| suite.attribute(name).unwrap().parse::<usize>().unwrap();
    assert_eq!(number("tests"), cases.len());
    assert_eq!(number("failures"), cases.iter().filter(failed).count());
    assert!(number("failures") >= 1 && cases.len() > 2, "{xml}");
    let name = cases[0].attribute("name").unwrap();
    assert!(name.contains("a\"><script>&amp;") && name.contains("]]>"), "{name}");
    assert!(!xml.contains('\u{1b}') && !xml.contains('\u{202e}'));
    // The document as a whole is refused: an error, and the status of bad input.
    folder.write("refused.toml", REFUSED);
    let (status, _) = folder.casemate(&["policy", "test", "refused.toml", "--junit", "out.xml"]);
    let xml = std::fs::read_to_string(folder.0.join("out.xml")).unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let suite = document.root_element().first_element_child().unwrap();
    assert_eq!((status, suite.attribute("errors")), (2, Some("1")), "{xml}");
    // And a report is written over nothing that was read.
    let words = ["policy", "test", "refused.toml", "--junit", "refused.toml"];
    assert_eq!(folder.casemate(&words).0, 2);
    assert_eq!(std::fs::read_to_string(folder.0.join("refused.toml")).unwrap(), REFUSED);
}
