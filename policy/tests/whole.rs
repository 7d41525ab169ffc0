//! Inputs as a whole: what cannot be is refused where it is read, and examples are of what can be.
//! Cannot tell contradictions that nobody listed.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use casemate_policy::audit::Suite;
use casemate_policy::{Fact, Facts, Input, Key, Point, Policy, WhyNot};

fn refused(json: &str) -> String {
    match Input::load(json, "i.json") {
        Ok(input) => panic!("taken: {json}: {:?}", input.facts),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_input_that_contradicts_itself_is_refused() {
    let tcb = |generation: &str, fmc: u8| {
        format!(
            "{{\"generation\":\"{generation}\",\"fmc\":{fmc},\"bootloader\":9,\"tee\":0,\"snp\":23,\
             \"microcode\":84}}"
        )
    };
    let id = "ab".repeat(48);
    for (json, word) in [
        (
            "{\"devices.block.count\":1,\"devices.block.path\":[\"/a\",\"/b\",\"/c\"]}".into(),
            "3 elements",
        ),
        ("{\"devices.block.count\":2,\"devices.block.read_only\":[true]}".into(), "1 elements"),
        ("{\"devices.net.count\":1,\"devices.net.queues\":[]}".into(), "0 elements"),
        ("{\"devices.count\":1,\"devices.net.count\":2}".into(), "together are 2"),
        (
            "{\"resources.disk_mib\":[5,6],\"resources.disk_total_mib\":10}".into(),
            "together are 11",
        ),
        ("{\"resources.disk_mib\":[5,6],\"devices.block.count\":1}".into(), "2 disks"),
        (
            "{\"resources.queues\":1,\"devices.net.count\":1,\"devices.net.queues\":[2]}".into(),
            "have 2",
        ),
        (format!("{{\"host.generation\":\"genoa\",\"host.tcb\":{}}}", tcb("milan", 0)), "milan"),
        (
            format!(
                "{{\"attestation.generation\":\"genoa\",\"attestation.reported_tcb\":{}}}",
                tcb("milan", 0)
            ),
            "attestation.reported_tcb",
        ),
        (
            format!(
                "{{\"attestation.generation\":\"turin\",\"attestation.launch_tcb\":{}}}",
                tcb("venice", 1)
            ),
            "attestation.launch_tcb",
        ),
        (format!("{{\"host.tcb\":{}}}", tcb("genoa", 1)), "no FMC"),
        ("{\"attestation.signer\":\"vcek\",\"attestation.csp_id\":\"CN=x\"}".into(), "vcek"),
        ("{\"attestation.signer\":\"vlek\",\"attestation.csp_id\":\"\"}".into(), "no provider"),
        ("{\"network.usage\":{\"in_second\":5,\"total\":4}}".into(), "more in this second"),
        ("{\"runtime.shared_percent\":101}".into(), "100 percent"),
        (format!("{{\"launch.id_key\":\"unset\",\"launch.author_key\":\"{id}\"}}"), "author"),
        ("{\"secrets.resource\":\"db/../other/key\"}".into(), "no resource"),
        ("{\"secrets.resource\":\"db/key/1\\n\"}".into(), "no resource"),
        ("{\"secrets.resource\":\"db/key/\\u0000\"}".into(), "no resource"),
    ] {
        let said = refused(&json);
        assert!(said.contains(word), "{json}: {said}");
    }
    let good = "{\"devices.block.count\":1,\"devices.block.path\":[\"/a\"],\"devices.count\":3}";
    assert!(Input::load(good, "i.json").is_ok(), "what is not there is not assumed");
}

#[test]
fn a_report_that_attestation_denies_is_not_attested() {
    let policy = include_str!("../examples/production.toml");
    let policy = Policy::load(policy, "production.toml").unwrap();
    let facts = Facts::new()
        .text(Key::SecretResource, "acme/db/password")
        .flag(Key::SecretAttested, true)
        .text(Key::ReportGeneration, "genoa");
    assert!(policy.contradictions(Point::Secrets, &facts).is_empty());
    for bad in [
        facts.clone().text(Key::ReportGeneration, "milan"),
        facts.clone().number(Key::ReportVmpl, 3),
        facts.clone().bytes(Key::ReportMeasurement, &[7; 48]),
        facts.clone().flag(Key::ReportModelRoot, true),
    ] {
        let said = policy.contradictions(Point::Secrets, &bad);
        assert!(said.iter().any(|line| line.contains("secrets.attested is true")), "{said:?}");
        let denied = bad.clone().flag(Key::SecretAttested, false);
        assert!(policy.contradictions(Point::Secrets, &denied).is_empty());
        assert!(
            policy.contradictions(Point::Launch, &bad).is_empty(),
            "asked about something else"
        );
    }
}

/// However the facts were set: an empty list of what has no list would be admitted by every rule,
/// for all of its elements are.
#[test]
fn a_list_where_none_belongs_is_denied() {
    let policy = Policy::builtin_strict();
    let mut facts = policy.why_not(Point::Launch, &Facts::new()).apply(&Facts::new());
    assert!(policy.decide(Point::Launch, &facts).is_allow());
    facts.set(Key::LaunchProtection, Fact::List(Vec::new()));
    assert!(!policy.decide(Point::Launch, &facts).is_allow());
    let mut facts = policy.why_not(Point::Devices, &Facts::new()).apply(&Facts::new());
    assert!(policy.decide(Point::Devices, &facts).is_allow());
    facts.set(Key::BlockPath, Fact::Text("/etc/".into()));
    assert!(!policy.decide(Point::Devices, &facts).is_allow());
}

#[test]
fn a_secret_is_not_looked_up_by_what_is_no_name() {
    let text = "schema_version = 1\nmin_engine = \"0.1.0\"\n[secrets.\"db/*\"]\nattested = \"any\"\n\
                measurement = \"any\"\ncontext = \"any\"\nuses = \"any\"\nwindow = \"any\"\nvmpl = \"any\"\n\
                session_age = \"any\"\nguest_svn = \"any\"\nhost_data = \"any\"\n";
    let policy = Policy::load(text, "p.toml").unwrap();
    let mut facts = Facts::new().text(Key::SecretResource, "db/key/1");
    assert!(policy.decide(Point::Secrets, &facts).is_allow());
    for name in
        ["db/../other/key", "db/key", "db/key/1\n", "db/key/1\0", "db/", "db//1", "db/key/1/2"]
    {
        // Past the setter, too.
        facts.set(Key::SecretResource, Fact::Text(name.into()));
        let decision = policy.decide(Point::Secrets, &facts);
        assert!(!decision.is_allow(), "{name:?}");
        assert!(decision.to_string().starts_with("deny: secrets.resource"), "{decision}");
        assert!(policy.grant(name).is_none(), "{name:?}");
        let facts = Facts::new().text(Key::SecretResource, name);
        assert!(!policy.decide(Point::Secrets, &facts).is_allow(), "{name:?}");
    }
}

#[test]
fn the_smallest_change_of_what_can_be_can_be() {
    let text = include_str!("../examples/production.toml");
    let policy = Policy::load(text, "production.toml").unwrap();
    let devices: Vec<String> = (0..5)
        .map(|n| format!("{{\"kind\":\"block\",\"path\":\"/var/lib/casemate/acme/{n}\"}}"))
        .collect();
    let json = format!("{{\"point\":\"devices\",\"devices\":[{}]}}", devices.join(","));
    let input = Input::load(&json, "i.json").unwrap();
    let answer = policy.why_not(Point::Devices, &input.facts);
    let changed = answer.apply(&input.facts);
    assert!(matches!(answer, WhyNot::Change(_)));
    assert!(policy.decide(Point::Devices, &changed).is_allow());
    assert!(changed.contradictions().is_empty(), "{answer:?}");
}

#[test]
fn suggested_allowed_inputs_can_be() {
    for text in [
        include_str!("../examples/production.toml"),
        include_str!("../examples/multi-tenant.toml"),
        include_str!("../examples/ci.toml"),
        Policy::strict_text(),
        Policy::permissive_text(),
    ] {
        let policy = Policy::load(text, "p.toml").unwrap();
        let suite = Suite::default();
        let cases = suite.suggest(&policy, &suite.run(&policy));
        let cases = Suite::load(&cases, "cases").unwrap().cases;
        let allowed: Vec<_> = cases.iter().filter(|case| case.expect.is_allow()).collect();
        assert!(allowed.len() >= 7, "{}", policy.name());
        for case in allowed {
            let found = policy.contradictions(case.point, &case.facts);
            assert!(found.is_empty(), "{}: {found:?}", policy.name());
        }
    }
}

/// A launch policy that lies in a guest's initdata names that initdata without its hash. Cannot
/// tell whether who gives the fact has compared the document: `run` has a test of that.
#[test]
fn initdata_is_a_host_data_of_its_own_that_no_hash_is() {
    let load = |rule: &str| {
        let text = format!(
            "schema_version = 1\nmin_engine = \"0.1.0\"\n[launch]\nprotection = \"any\"\n\
             tenants = \"any\"\nmeasurement = \"any\"\nkernel = \"any\"\ninitrd = \"any\"\n\
             cmdline_allow = \"any\"\nid_key = \"any\"\nauthor_key = \"any\"\n\
             guest_policy = \"any\"\nguest_svn = \"any\"\nfamily_id = \"any\"\n\
             image_id = \"any\"\nhost_data = {rule}\n"
        );
        Policy::load(&text, "t").unwrap()
    };
    let hash = "f6".repeat(32);
    let own = Facts::new().host_data_of_this_document();
    let zeros = Facts::new().bytes(Key::LaunchHostData, &[0; 32]);
    let other = Facts::new().bytes(Key::LaunchHostData, &[0xf6; 32]);
    let by = |rule: &str, facts: &Facts| load(rule).decide(Point::Launch, facts).is_allow();
    for (rule, admits) in [
        ("[\"initdata\"]".to_owned(), [true, false, false, false]),
        (format!("[\"{hash}\"]"), [false, false, true, false]),
        (format!("[\"initdata\", \"unset\", \"{hash}\"]"), [true, true, true, false]),
        ("\"any\"".to_owned(), [true, true, true, true]),
        ("\"nothing\"".to_owned(), [false, false, false, false]),
    ] {
        let found = [&own, &zeros, &other, &Facts::new()].map(|facts| by(&rule, facts));
        assert_eq!(found, admits, "{rule}");
        assert_eq!(load(&rule).canonical(), {
            let again = Policy::load(&load(&rule).canonical(), "t").unwrap();
            again.canonical()
        });
    }
    let denied = load(&format!("[\"{hash}\"]")).decide(Point::Launch, &own).to_string();
    assert!(denied.contains("found \"initdata\""), "{denied}");
    let input =
        Input::load("{\"point\":\"launch\",\"launch.host_data\":\"initdata\"}", "i").unwrap();
    assert_eq!(input.facts.get(Key::LaunchHostData), own.get(Key::LaunchHostData));
}

/// The word is of a launch only: a report's HOST_DATA is bytes, whoever asks.
#[test]
fn initdata_is_no_word_for_a_report() {
    for section in ["attestation", "secrets.\"a/b/c\""] {
        let text = format!(
            "schema_version = 1\nmin_engine = \"0.1.0\"\n[{section}]\nhost_data = [\"initdata\"]\n"
        );
        let error = Policy::load(&text, "t").unwrap_err().to_string();
        assert!(error.contains("64 hexadecimal digits"), "{error}");
    }
    let fact = "{\"point\":\"attestation\",\"attestation.host_data\":\"initdata\"}";
    assert!(Input::load(fact, "i").is_err());
    let empty = Facts::new().bytes(Key::LaunchHostData, &[]);
    assert!(matches!(empty.get(Key::LaunchHostData), Some(Fact::Invalid(_))));
}
