//! Deciding, comparing, merging and explaining, against brute force on random policies.
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

mod random;

use casemate_policy::fields::GRANT_FIELDS;
use casemate_policy::{
    DeviceFact, DeviceKind, Fact, Facts, Key, Point, Policy, Relation, Seen, WhyNot,
};
use random::{Random, fact, facts, keys, policy};

fn rounds(default: u64) -> u64 {
    std::env::var("CASEMATE_POLICY_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Every rule by itself, without the short cuts of `decide`.
fn naive(policy: &Policy, point: Point, facts: &Facts) -> bool {
    let holds = |key: Key, rule: &casemate_policy::Rule| match facts.get(key) {
        Some(fact) => rule.admits(fact),
        None => rule.is_any(),
    };
    if point == Point::Secrets {
        let Some(Fact::Text(resource)) = facts.get(Key::SecretResource) else { return false };
        let grant = policy.grants().iter().find(|grant| grant.resource().matches(resource));
        return grant
            .is_some_and(|grant| grant.rules().all(|(field, rule, _)| holds(field.key, rule)));
    }
    policy
        .rules(point)
        .filter(|(f, _, _)| f.key != Key::Setting)
        .all(|(f, rule, _)| holds(f.key, rule))
}

#[test]
fn a_decision_is_the_conjunction_of_its_rules_and_names_those_that_fail() {
    let mut r = Random::new(1);
    let (mut allowed, mut denied) = (0, 0);
    for _ in 0..rounds(120) {
        let policy = policy(&mut r);
        for point in Point::ALL {
            let facts = facts(&policy, point, &mut r);
            let decision = policy.decide(point, &facts);
            assert_eq!(decision.is_allow(), naive(&policy, point, &facts), "{decision}");
            assert_eq!(decision.is_allow(), decision.reasons.is_empty());
            if decision.is_allow() {
                allowed += 1;
            } else {
                denied += 1;
            }
        }
    }
    assert!(allowed * 5 > denied && denied * 5 > allowed, "{allowed} allowed, {denied} denied");
}

#[test]
fn the_canonical_form_loads_to_an_equal_policy_with_the_same_hash() {
    let mut r = Random::new(2);
    for _ in 0..rounds(70) {
        let policy = policy(&mut r);
        let text = policy.canonical();
        let again =
            Policy::load(&text, "canonical").unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(again.canonical(), text);
        assert_eq!(again.hash(), policy.hash());
        assert!(policy.diff(&again).differences.is_empty());
    }
}

#[test]
fn a_merge_admits_exactly_what_both_admit() {
    let mut r = Random::new(3);
    let (mut both, mut one) = (0u64, 0u64);
    for _ in 0..rounds(70) {
        let (a, b) = (policy(&mut r), policy(&mut r));
        let merged = a.merge(&b);
        assert!(
            !a.diff(&merged).is_looser() && !b.diff(&merged).is_looser(),
            "a merge only tightens"
        );
        for point in Point::ALL {
            for from in [&a, &b, &merged] {
                let facts = facts(from, point, &mut r);
                let (in_a, in_b) = (a.decide(point, &facts), b.decide(point, &facts));
                let in_both = merged.decide(point, &facts);
                assert_eq!(
                    in_both.is_allow(),
                    in_a.is_allow() && in_b.is_allow(),
                    "{point} {facts:?}"
                );
                both += u64::from(in_both.is_allow());
                one += u64::from(in_a.is_allow() != in_b.is_allow());
            }
        }
    }
    assert!(both > 100 && one > 100, "{both} admitted by both, {one} by one");
}

/// All inputs of a point with few facts, over a small domain of each.
fn all_inputs(point: Point, r: &mut Random) -> Vec<Facts> {
    let mut inputs = vec![Facts::new()];
    for key in keys(point) {
        let mut domain: Vec<Fact> = Vec::new();
        for _ in 0..200 {
            let fact = fact(key, r);
            if !domain.contains(&fact) {
                domain.push(fact);
            }
        }
        inputs = inputs
            .iter()
            .flat_map(|facts| {
                domain.iter().map(|fact| {
                    let mut facts = facts.clone();
                    facts.set(key, fact.clone());
                    facts
                })
            })
            .collect();
    }
    inputs
}

#[test]
fn comparison_equals_inclusion_of_all_inputs_on_small_points() {
    let mut r = Random::new(4);
    let points =
        [Point::Access, Point::GuestRequest, Point::EgressRate, Point::PageState, Point::Egress];
    let domains: Vec<(Point, Vec<Facts>)> =
        points.into_iter().map(|point| (point, all_inputs(point, &mut r))).collect();
    let mut seen = [0; 4];
    for _ in 0..rounds(40) {
        let (a, b) = (policy(&mut r), policy(&mut r));
        let (diff, merged) = (a.diff(&b), a.merge(&b));
        for (point, inputs) in &domains {
            let admits = |policy: &Policy| -> Vec<bool> {
                inputs.iter().map(|facts| policy.decide(*point, facts).is_allow()).collect()
            };
            let (in_a, in_b, in_both) = (admits(&a), admits(&b), admits(&merged));
            let meet: Vec<bool> = in_a.iter().zip(&in_b).map(|(a, b)| *a && *b).collect();
            assert_eq!(in_both, meet, "the merge is the intersection, for every input");
            let here: Vec<_> = diff
                .differences
                .iter()
                .filter(|d| {
                    point.fields().iter().any(|f| f.path == d.rule && f.key != Key::Setting)
                })
                .collect();
            let only_a = in_a.iter().zip(&in_b).any(|(a, b)| *a && !*b);
            let only_b = in_a.iter().zip(&in_b).any(|(a, b)| !*a && *b);
            // What brute force finds, the comparison must show; it may know inputs outside the
            // domain.
            assert!(!only_a || here.iter().any(|d| d.only_first.is_some()), "{point}");
            assert!(!only_b || here.iter().any(|d| d.only_second.is_some()), "{point}");
            seen[usize::from(only_a) + 2 * usize::from(only_b)] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 5), "all relations occur: {seen:?}");
}

#[test]
fn every_witness_is_admitted_by_one_policy_only() {
    let mut r = Random::new(5);
    let mut witnesses = 0;
    for _ in 0..rounds(70) {
        let (a, b) = (policy(&mut r), policy(&mut r));
        for difference in a.diff(&b).differences {
            for (input, yes, no) in
                [(&difference.only_first, &a, &b), (&difference.only_second, &b, &a)]
            {
                let Some(input) = input else { continue };
                let point = input.point.unwrap();
                assert!(yes.decide(point, &input.facts).is_allow(), "{difference:?}");
                let refused = no.decide(point, &input.facts);
                assert!(!refused.is_allow(), "{difference:?}");
                witnesses += 1;
            }
            if difference.relation == Relation::Stricter {
                assert!(difference.only_second.is_none(), "{difference:?}");
            }
        }
    }
    assert!(witnesses > 1000, "{witnesses}");
}

#[test]
fn a_policy_that_is_nowhere_looser_admits_nothing_new() {
    let mut r = Random::new(6);
    let mut compared = 0;
    for _ in 0..rounds(70) {
        let (a, other) = (policy(&mut r), policy(&mut r));
        let b = a.merge(&other);
        assert!(!a.diff(&b).is_looser());
        for point in Point::ALL {
            let facts = facts(&b, point, &mut r);
            if b.decide(point, &facts).is_allow() {
                assert!(a.decide(point, &facts).is_allow());
                compared += 1;
            }
        }
    }
    assert!(compared > 100);
}

#[test]
fn the_smallest_change_is_admitted_and_each_part_of_it_is_needed() {
    let mut r = Random::new(7);
    let mut changed = 0;
    for _ in 0..rounds(70) {
        let policy = policy(&mut r);
        for point in Point::ALL {
            let mut input = Facts::new();
            for key in keys(point) {
                input.set(key, fact(key, &mut r));
            }
            let answer = policy.why_not(point, &input);
            match &answer {
                WhyNot::Admitted => assert!(policy.decide(point, &input).is_allow()),
                WhyNot::Change(changes) => {
                    assert!(policy.decide(point, &answer.apply(&input)).is_allow(), "{changes:?}");
                    for without in 0..changes.len() {
                        let mut fewer = changes.clone();
                        fewer.remove(without);
                        let facts = WhyNot::Change(fewer).apply(&input);
                        // Needed to be admitted, or to be an input that can be.
                        let admitted = policy.decide(point, &facts).is_allow();
                        assert!(!admitted || !facts.contradictions().is_empty(), "{changes:?}");
                    }
                    changed += 1;
                }
                // Nothing is admitted: then no random input is either.
                WhyNot::Never(_) if point != Point::Secrets => {
                    for _ in 0..20 {
                        let facts = facts(&policy, point, &mut r);
                        assert!(!policy.decide(point, &facts).is_allow());
                    }
                }
                WhyNot::Never(_) => {}
            }
        }
    }
    assert!(changed > 100);
}

#[test]
fn a_layer_leaves_unstated_fields_to_the_policy_below() {
    let head = "schema_version = 1\nmin_engine = \"0.1.0\"\nlayer = true\n";
    let operator = Policy::builtin_strict();
    let empty = Policy::load_layer(head, "empty").unwrap();
    assert!(operator.diff(&operator.merge(&empty)).differences.is_empty());
    let text = format!(
        "{head}[resources]\nvcpus = {{ min = 1, max = 1000 }}\nmemory_mib = {{ min = 64, max = 128 }}\n"
    );
    let layer = Policy::load_layer(&text, "layer").unwrap();
    assert_eq!(operator.not_tightened_by(&layer), ["resources.vcpus"]);
    let diff = operator.diff(&operator.merge(&layer));
    let changed: Vec<&str> = diff.differences.iter().map(|d| d.rule.as_str()).collect();
    assert_eq!(changed, ["resources.memory_mib"]);
    assert!(Policy::load(head, "p").unwrap_err().to_string().contains("this is a layer"));
    assert!(GRANT_FIELDS.iter().all(|field| !field.meaning.is_empty()));
}

/// Each step admits nothing new, both together do: the first is where somebody has to look.
#[test]
fn a_widening_that_other_rules_hide_is_a_difference_of_its_own() {
    let head = "schema_version = 1\nmin_engine = \"0.1.0\"\n";
    let load = |body: &str| Policy::load(&format!("{head}{body}"), "p.toml").unwrap();
    let rest = "disk_mib = 1\ndisk_total_mib = 1\nqueues = 1\ncpu_percent = 1\ncgroup_memory_mib = 1\npids = 1";
    let steps = [
        format!("[resources]\nvcpus = 1\nmemory_mib = \"nothing\"\n{rest}"),
        format!("[resources]\nvcpus = 64\nmemory_mib = \"nothing\"\n{rest}"),
        format!("[resources]\nvcpus = 64\nmemory_mib = 64\n{rest}"),
    ];
    let [before, between, after] = steps.map(|body| load(&body));
    let first = before.diff(&between);
    assert!(first.is_looser() && first.is_latent(), "{first:?}");
    assert!(first.differences[0].without_effect && first.differences[0].is_latent());
    let second = between.diff(&after);
    assert!(second.is_looser() && !second.is_latent());
    // Devices of which there are none.
    let closed = load("[devices.block]\nroots = [\"/srv/a\"]");
    let opened = load("[devices.block]\nroots = [\"/srv/a\", \"/etc\"]");
    assert!(closed.diff(&opened).is_latent());
    assert!(!opened.diff(&closed).is_looser(), "a latent narrowing needs nobody");
}

/// Protects the one disk without a path from being a hole: the word for it admits it alone, no
/// directory admits it, and nothing that is not a disk has it. Cannot tell which disk it is.
#[test]
fn the_word_for_the_disk_of_initdata_is_no_directory_and_no_path_is_it() {
    let document = |roots: &str| {
        format!(
            "schema_version = 1\nmin_engine = \"0.1.0\"\n[devices]\ncount = 9\n\
             [devices.block]\ncount = 9\nqueues = 9\nread_only = \"any\"\n{roots}"
        )
    };
    let load = |roots: &str| Policy::load(&document(roots), "roots.toml").unwrap();
    let disks = |paths: &[&str]| {
        let device = |path| DeviceFact {
            kind: DeviceKind::Block,
            path: Some(path),
            read_only: true,
            foreign: false,
            queues: 1,
        };
        Facts::new().devices(&paths.iter().map(|path| device(*path)).collect::<Vec<_>>())
    };
    let admits =
        |policy: &Policy, paths: &[&str]| policy.decide(Point::Devices, &disks(paths)).is_allow();
    let both = load("roots = [\"/srv\", \"initdata\"]");
    assert!(admits(&both, &["/srv/root.img", "initdata"]));
    for path in ["/initdata", "/initdata/x", "initdata/", "initdata/x", "./initdata", "/etc"] {
        assert!(!admits(&both, &[path]), "{path}");
    }
    for narrower in ["", "roots = []", "roots = [\"/srv\"]", "roots = [\"/initdata\"]"] {
        let narrower = load(narrower);
        assert!(!admits(&narrower, &["initdata"]));
        assert!(narrower.diff(&both).is_looser());
    }
    // What would be admitted in its place is a path below a directory, and the other way round.
    for (roots, found, instead) in [
        ("roots = [\"/srv\"]", "initdata", "/srv/initdata/"),
        ("roots = [\"initdata\"]", "/srv/root.img", "initdata"),
    ] {
        let policy = load(roots);
        let facts = policy.why_not(Point::Devices, &disks(&[found])).apply(&disks(&[found]));
        let wanted = Fact::List(vec![Fact::Text(instead.into())]);
        assert_eq!(facts.get(Key::BlockPath), Some(&wanted));
        assert!(policy.decide(Point::Devices, &facts).is_allow());
    }
    // Written down, it is itself.
    let facts = disks(&["/srv/root.img", "initdata"]);
    let seen = Seen { point: Point::Devices, facts, partial: Vec::new() };
    let least = casemate_policy::least(&[seen], "least", "a test").unwrap();
    assert!(least.contains("\"initdata\""), "{least}");
    // A folder that is shared is never it.
    let shared = document("[devices.fs]\nroots = [\"initdata\"]");
    assert!(Policy::load(&shared, "roots.toml").is_err());
}
