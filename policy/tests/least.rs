//! The strictest policy of what was seen: protects whoever writes a first policy from what a VM
//! does, and relies on it that it admits that VM and not a bit more than it must. It cannot tell
//! whether what was seen was good.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod random;

use casemate_policy::{Facts, Key, Kind, LeastError, Point, Policy, Seen, least};
use random::{Random, facts, policy};

fn seen(point: Point, facts: Facts) -> Seen {
    Seen { point, facts, partial: Vec::new() }
}

const POINTS: [Point; 10] = [
    Point::Host,
    Point::Launch,
    Point::Resources,
    Point::Devices,
    Point::Egress,
    Point::EgressRate,
    Point::PageState,
    Point::GuestRequest,
    Point::Access,
    Point::Attestation,
];

#[test]
fn the_least_policy_admits_what_was_seen_and_is_below_every_policy_that_does() {
    let mut r = Random::new(31);
    let (mut written, mut compared) = (0, 0);
    for _ in 0..400 {
        let other = policy(&mut r);
        let mut all = Vec::new();
        for point in POINTS {
            for _ in 0..r.below(4) {
                let facts = facts(&other, point, &mut r);
                if other.decide(point, &facts).is_allow() {
                    all.push(seen(point, facts));
                }
            }
        }
        if all.is_empty() {
            continue;
        }
        let text = least(&all, "least", "random inputs").unwrap_or_else(|e| panic!("{e}"));
        let strictest = Policy::load(&text, "least.toml").unwrap();
        written += 1;
        for one in &all {
            assert!(strictest.decide(one.point, &one.facts).is_allow(), "{text}");
        }
        for point in POINTS.into_iter().filter(|p| all.iter().any(|one| one.point == *p)) {
            for (field, rule, _) in strictest.rules(point) {
                // Denied members have no strictest list.
                let endless = matches!(field.kind, Kind::NamesForbidden | Kind::BytesDenied(_));
                if field.key == Key::Setting || endless {
                    continue;
                }
                let given = other.rule(field.path).unwrap();
                assert!(rule.le(given), "{}: {rule:?} and {given:?}\n{text}", field.path);
                compared += 1;
            }
        }
    }
    assert!(written > 300 && compared > 5000, "{written} {compared}");
}

#[test]
fn what_one_policy_of_nothing_else_says_is_exactly_what_was_found() {
    let facts = Facts::new()
        .text(Key::AccessConsole, "output")
        .text(Key::AccessDebug, "none")
        .flag(Key::AccessSnapshot, false);
    let text = least(&[seen(Point::Access, facts)], "vm", "vm.toml").unwrap();
    assert!(text.contains("\nconsole = \"output\"\n"), "{text}");
    assert!(text.contains("\nsnapshot = \"forbidden\"\n"), "{text}");
    // Not known: only `any` admits it, and the reader is told what that opens.
    assert!(text.contains("not known here. The guest ends up on a host"), "{text}");
    assert!(text.contains("\nmigration = \"any\"\n"), "{text}");
    assert!(!text.contains("[launch]"), "{text}");
}

#[test]
fn a_word_with_a_star_costs_a_prefix_and_hostile_text_stays_in_its_comment() {
    let line = "console=ttyS0 a*b any \u{1b}[2J quiet";
    let facts = Facts::new().command_line(line);
    let text = least(&[seen(Point::Launch, facts.clone())], "vm\n[x]", "a\nschema = 2").unwrap();
    let policy = Policy::load(&text, "x").unwrap();
    assert!(policy.decide(Point::Launch, &facts).is_allow());
    assert!(text.contains("\"a*\""), "{text}");
    assert!(!text.contains('\u{1b}') && policy.name() == "vm\n[x]", "{text}");
    // A line that lacks a word, or has one more, is not the one that was seen.
    for other in ["console=ttyS0 a*b any quiet", "console=ttyS0 a*b any \u{1b}[2J quiet init=/x"] {
        assert!(!policy.decide(Point::Launch, &Facts::new().command_line(other)).is_allow());
    }
}

#[test]
fn what_a_log_keeps_of_a_command_line_is_taken_for_not_known() {
    let facts = Facts::new().command_line("console=ttyS0 token=\u{2026}");
    let partial = vec![Key::LaunchCmdline];
    let text = least(&[Seen { point: Point::Launch, facts, partial }], "vm", "log").unwrap();
    assert!(text.contains("\ncmdline_allow = \"any\"\n"), "{text}");
    assert!(text.contains("\ncmdline_require = []\n"), "{text}");
}

#[test]
fn a_confidential_guest_gets_the_built_in_rules_for_what_is_asked_while_it_runs() {
    let facts = Facts::new().text(Key::LaunchProtection, "sev-snp");
    let text = least(&[seen(Point::Launch, facts)], "vm", "vm.toml").unwrap();
    let policy = Policy::load(&text, "x").unwrap();
    let strict = Policy::builtin_strict();
    for path in ["runtime.page_state_changes", "runtime.shared_percent", "runtime.on_page_state"] {
        assert_eq!(policy.rule(path), strict.rule(path), "{path}");
    }
    let facts = Facts::new().text(Key::LaunchProtection, "none");
    let text = least(&[seen(Point::Launch, facts)], "vm", "vm.toml").unwrap();
    assert!(!text.contains("shared_percent"), "{text}");
}

#[test]
fn what_no_policy_can_admit_is_an_error_and_no_document() {
    assert_eq!(least(&[], "vm", "x"), Err(LeastError::Nothing));
    let secret = Facts::new().text(Key::SecretResource, "a/b/c");
    assert_eq!(least(&[seen(Point::Secrets, secret)], "vm", "x"), Err(LeastError::Secrets));
    let invalid = Facts::new().bytes(Key::LaunchKernel, &[1]);
    let error = least(&[seen(Point::Launch, invalid)], "vm", "x").unwrap_err();
    assert!(error.to_string().starts_with("launch: launch.kernel is not valid"), "{error}");
}
