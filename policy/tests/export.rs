//! Exports: one request is the whole question, and what cannot be said is refused. That the answers
//! agree with this engine's, `make policy-oracles` shows with engines that others wrote.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use casemate_policy::lattice::Usage;
use casemate_policy::{Facts, Input, Key, Point, Policy, export};

const HEAD: &str = "schema_version = 1\nmin_engine = \"0.1.0\"\n";
const EXAMPLES: [&str; 3] = [
    include_str!("../examples/production.toml"),
    include_str!("../examples/ci.toml"),
    include_str!("../examples/multi-tenant.toml"),
];

/// A caller that asks about the point and forgets to ask about each word of the command line must
/// not be told Allow: there is nothing else to ask about.
#[test]
fn a_cedar_export_has_one_action_for_each_point_and_no_other() {
    let schema = export::cedar_schema();
    let actions: Vec<&str> = schema.matches("action \"").collect();
    assert_eq!(actions.len(), Point::ALL.len());
    for text in EXAMPLES {
        let policy = Policy::load(text, "p.toml").unwrap();
        let cedar = export::cedar(&policy).unwrap();
        for permit in cedar.split("permit (").skip(1) {
            let action = permit.split("Action::\"").nth(1).unwrap().split('"').next().unwrap();
            assert!(Point::from_name(action).is_some(), "{action}");
        }
        assert!(!cedar.contains("&& true\n"), "a condition that says nothing:\n{cedar}");
    }
}

#[test]
fn a_cedar_request_holds_every_element_of_a_list_or_is_refused() {
    let words: Vec<String> = (0..65).map(|n| format!("word{n}")).collect();
    let facts = |count: usize| {
        Facts::new().texts(Key::LaunchCmdline, words.iter().take(count).map(String::as_str))
    };
    let context = export::cedar_request(Point::Launch, &facts(64)).unwrap().context;
    assert!(context.contains("\"count\":64") && context.contains("\"e63\":\"word63\""));
    let refused = export::cedar_request(Point::Launch, &facts(65)).unwrap_err().to_string();
    assert!(refused.contains("launch.cmdline: 65 elements"), "{refused}");
}

/// Protects who asks another engine: a rule looks at the fact that a request has. Only the command
/// line has more than one reading, each by a name of its own.
#[test]
fn every_fact_has_its_own_name_in_the_schema() {
    let schema = export::cedar_schema();
    for key in Key::ALL.iter().filter(|key| **key != Key::Setting) {
        let name = format!(" {}?: ", key.path().replace('.', "_"));
        assert!(schema.contains(&name), "{name}");
    }
    let readings = schema.matches("_seen?: ").count() + schema.matches("_taken?: ").count();
    assert_eq!(readings, 2, "of the command line alone");
}

/// Cut off at 2^63-1 a number would be admitted by a ceiling that it is above.
#[test]
fn a_number_that_cedar_does_not_have_is_refused() {
    let facts = Facts::new().number(Key::ResourcesVcpus, 1 << 63);
    let refused = export::cedar_request(Point::Resources, &facts).unwrap_err().to_string();
    assert!(refused.contains("resources.vcpus"), "{refused}");
    let usage = Usage { in_second: 1, total: u64::MAX };
    let facts = Facts::new().usage(Key::NetworkUsage, usage);
    assert!(export::cedar_request(Point::EgressRate, &facts).is_err());
}

/// Left out, an invalid fact would be admitted by a rule that is `any`.
#[test]
fn no_request_is_made_of_a_fact_that_is_not_valid() {
    let facts = Facts::new().bytes(Key::LaunchMeasurement, &[1; 3]);
    assert!(!Policy::builtin_strict().decide(Point::Launch, &facts).is_allow());
    assert!(export::cedar_request(Point::Launch, &facts).is_err());
    assert!(export::cedar_request(Point::Host, &facts).is_ok(), "another point's fact");
    let rego = |point| export::rego_input(&Input { point: Some(point), facts: facts.clone() });
    assert_eq!(rego(Point::Launch), "{}");
    assert_eq!(rego(Point::Host), "{\"point\":\"host\"}");
}

#[test]
fn a_rule_that_no_cedar_engine_would_read_is_refused_with_its_name() {
    let words: Vec<String> = (0..20_000).map(|n| format!("\"word{n}=*\"")).collect();
    let text = format!("{HEAD}[launch]\ncmdline_allow = [{}]\n", words.join(","));
    let policy = Policy::load(&text, "p.toml").unwrap();
    let refused = export::cedar(&policy).unwrap_err().to_string();
    assert!(refused.contains("launch.cmdline_allow"), "{refused}");
    assert!(export::rego(&policy).contains("word19999="), "Rego says each pattern once");
}

/// `not` inside `every` is evaluated to the opposite by an engine that people use, and admits what
/// is forbidden.
#[test]
fn a_rego_export_leans_on_no_negation_and_no_quantifier() {
    for text in EXAMPLES.iter().copied().chain([Policy::strict_text(), Policy::permissive_text()]) {
        let rego = export::rego(&Policy::load(text, "p.toml").unwrap());
        let code = rego.lines().filter(|line| !line.starts_with('#'));
        for line in code {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert!(!words.contains(&"not") && !words.contains(&"every"), "{line}");
        }
    }
    let input = Input { point: Some(Point::Host), facts: Facts::new().flag(Key::HostSnp, true) };
    assert_eq!(export::rego_input(&input), "{\"point\":\"host\",\"host.snp\":true}");
}

/// Protects: a rule on the command line looks in an export at the same words as here. It cannot
/// tell whether an engine evaluates them alike: the differential tests do.
#[test]
fn each_rule_on_the_command_line_has_its_own_view_of_it_in_both_exports() {
    let text = "schema_version = 1\nmin_engine = \"0.1.0\"\nname = \"p\"\n[launch]\ncmdline_allow = [\"a\"]\n\
                cmdline_forbid = [\"b\"]\ncmdline_require = [\"c-d=1\"]\n";
    let policy = Policy::load(text, "p.toml").unwrap();
    let facts = Facts::new().command_line("c-d=1 x=\"a b\" c_d=2 -- e");
    let input = Input { point: Some(Point::Launch), facts: facts.clone() };
    let rego_input = export::rego_input(&input);
    let cedar = export::cedar_request(Point::Launch, &facts).unwrap().context;
    let schema = export::cedar_schema();
    for (view, rule, words) in [
        ("launch.cmdline", "\"a\"", &["c_d=1", "x=a b", "c_d=2", "--", "e"][..]),
        (
            "launch.cmdline_seen",
            "\"b\"",
            &["c_d=1", "x=a b", "c_d=2", "--", "e", "x=\\\"a", "b\\\""],
        ),
        ("launch.cmdline_taken", "\"c_d=1\"", &["c_d=2", "x=a b"]),
    ] {
        let list: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let list = format!("\"{view}\":[{}]", list.join(","));
        assert!(rego_input.contains(&list), "{list}\n{rego_input}");
        let rego = export::rego(&policy);
        let asks = rego.split("\n# ").find(|part| part.contains(&format!("input[\"{view}\"]")));
        assert!(asks.is_some_and(|part| part.contains(rule)), "{view}: {rego}");
        let attribute = view.replace('.', "_");
        let elements: Vec<String> = words
            .iter()
            .enumerate()
            .map(|(slot, word)| format!(",\"e{slot}\":\"{word}\""))
            .collect();
        let record = format!("\"{attribute}\":{{\"count\":{}{}}}", words.len(), elements.concat());
        assert!(cedar.contains(&record), "{record}\n{cedar}");
        assert!(schema.contains(&format!("{attribute}?: {{ count: Long")));
        let permit = export::cedar(&policy).unwrap();
        assert!(permit.contains(&format!("context has {attribute} &&")), "{permit}");
    }
}
