//! Three independent evaluators agree on random policies and inputs.

#[path = "../../../policy/tests/random/mod.rs"]
mod random;

use casemate_policy::{Facts, Key, Point, Policy};
use policy_oracles::{Cedar, Rego};
use random::{Random, facts, policy};

/// Inputs for each policy and point.
const INPUTS: u64 = 9;

#[test]
fn rego_and_cedar_exports_decide_as_the_engine_does() {
    let wanted = std::env::var("CASEMATE_POLICY_CASES").ok().and_then(|n| n.parse().ok());
    let wanted: u64 = wanted.unwrap_or(100_000);
    let mut r = Random::new(99);
    let mut counts = [[0u64; 2]; 11];
    let mut cases = 0;
    while cases < wanted {
        let policy = policy(&mut r);
        let (mut rego, cedar) = (Rego::new(&policy), Cedar::new(&policy));
        for point in Point::ALL {
            for _ in 0..INPUTS {
                let facts = facts(&policy, point, &mut r);
                let own = policy.decide(point, &facts);
                let by_rego = rego.allows(Rego::input(point, &facts));
                let by_cedar = cedar.decides(point, &facts);
                assert_eq!(
                    (own.is_allow(), own.is_allow()),
                    (by_rego, by_cedar),
                    "engine, then Rego and Cedar, at {point}: {own}\n{facts:?}\n{}",
                    policy.canonical()
                );
                counts[point as usize][usize::from(own.is_allow())] += 1;
                cases += 1;
            }
        }
    }
    for (point, [denied, allowed]) in Point::ALL.into_iter().zip(counts) {
        println!("{point}: {allowed} allowed, {denied} denied");
        let both = allowed * 10 > denied && denied * 10 > allowed;
        assert!(
            both,
            "{point}: both verdicts are well covered: {allowed} allowed, {denied} denied"
        );
    }
    println!("{cases} cases");
}

#[test]
fn built_in_and_example_policies_export_to_valid_rego_and_cedar() {
    let examples = [
        Policy::strict_text(),
        Policy::permissive_text(),
        include_str!("../../../policy/examples/production.toml"),
        include_str!("../../../policy/examples/ci.toml"),
        include_str!("../../../policy/examples/multi-tenant.toml"),
    ];
    for text in examples {
        let policy = Policy::load(text, "example").unwrap();
        let mut rego = Rego::new(&policy);
        let cedar = Cedar::new(&policy);
        let mut r = Random::new(7);
        for point in Point::ALL {
            let facts = facts(&policy, point, &mut r);
            let own = policy.decide(point, &facts).is_allow();
            assert_eq!(rego.allows(Rego::input(point, &facts)), own);
            assert_eq!(cedar.decides(point, &facts), own);
        }
    }
}

/// Random inputs seldom have a long list with one bad element at its end: these do, in each place.
#[test]
fn one_request_to_cedar_is_the_whole_question() {
    let text = include_str!("../../../policy/examples/production.toml");
    let policy = Policy::load(text, "production").unwrap();
    let cedar = Cedar::new(&policy);
    let rules: Vec<_> = policy.rules(Point::Launch).map(|(field, _, _)| field.key).collect();
    assert!(rules.contains(&Key::LaunchCmdline));
    let admitted = policy.why_not(Point::Launch, &Facts::new()).apply(&Facts::new());
    for length in [1, 2, 63] {
        for bad in 0..=length {
            let mut words = vec!["lockdown=confidentiality"; length];
            words.insert(bad, "init=/bin/sh");
            let facts = admitted.clone().texts(Key::LaunchCmdline, words.iter().copied());
            assert!(!policy.decide(Point::Launch, &facts).is_allow());
            assert!(!cedar.allows(&cedar.request(Point::Launch, &facts)), "{bad} of {length}");
            words.remove(bad);
            let facts = admitted.clone().texts(Key::LaunchCmdline, words.iter().copied());
            assert!(policy.decide(Point::Launch, &facts).is_allow());
            assert!(cedar.allows(&cedar.request(Point::Launch, &facts)), "{length}");
        }
    }
}

/// What a caller makes without this engine's help: elements beyond the count, or a count without
/// them.
#[test]
fn a_cedar_list_whose_count_does_not_fit_is_denied() {
    let text = include_str!("../../../policy/examples/production.toml");
    let cedar = Cedar::new(&Policy::load(text, "production").unwrap());
    let list = |elements: &str| format!("{{\"network_endpoint\":{{{elements}}}}}");
    let good = "{\"address\":{\"__extn\":{\"fn\":\"ip\",\"arg\":\"10.20.0.1\"}},\"port\":5432,\
                \"protocol\":\"tcp\"}";
    let bad = good.replace("10.20", "10.21");
    for (elements, allowed) in [
        (format!("\"count\":1,\"e0\":{good}"), true),
        (format!("\"count\":2,\"e0\":{good},\"e1\":{good}"), true),
        (format!("\"count\":2,\"e0\":{good},\"e1\":{bad}"), false),
        (format!("\"count\":1,\"e0\":{good},\"e1\":{bad}"), false),
        (format!("\"count\":1,\"e0\":{good},\"e7\":{bad}"), false),
        (format!("\"count\":2,\"e0\":{good}"), false),
        (format!("\"count\":-1,\"e0\":{good}"), false),
        (format!("\"count\":9,\"e0\":{good}"), false),
        (format!("\"count\":0,\"e0\":{bad}"), false),
    ] {
        let request = cedar.raw_request(Point::Egress, &list(&elements));
        assert_eq!(cedar.allows(&request), allowed, "{elements}");
    }
}
