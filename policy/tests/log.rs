//! The decision log: every edit, drop, repeat and move is found.
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

use casemate_policy::log::{
    Chain, DecisionRecord, Entry, KnownHead, LogReport, ProblemKind, PublicKey, Record, SigningKey,
    Verifier,
};
use casemate_policy::{Facts, Key, Point, Policy};

fn key() -> SigningKey {
    SigningKey::from_seed(&[3; 32]).unwrap()
}

fn decision(tenant: &str) -> Entry {
    let policy = Policy::builtin_permissive();
    let facts = Facts::new().text(Key::LaunchProtection, "sev-snp").text(Key::LaunchTenant, tenant);
    let decision = policy.decide(Point::Launch, &facts);
    Entry::Decision(DecisionRecord::new([9; 32], Point::Launch, &facts, &decision))
}

/// A closed log of ten decisions with a head after each fifth record.
fn log() -> Vec<String> {
    let mut chain = Chain::new();
    let mut lines = Vec::new();
    let mut time = 1_795_620_817_000_000;
    let mut add = |step: (String, Chain)| {
        lines.push(step.0);
        step.1
    };
    chain = add(chain.append(time, Entry::Open));
    for n in 0..10 {
        time += 1_000_001;
        chain = add(chain.append(time, decision(&format!("tenant \"{n}\"\u{202e}ü"))));
        if n % 5 == 4 {
            chain = add(chain.append_head(time, n == 9, &key()));
        }
    }
    lines
}

fn verify_bytes(bytes: &[u8], known: Option<KnownHead>) -> LogReport {
    let mut verifier = Verifier::new(Some(key().public()), known);
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        verifier.line(&rest[..end]);
        rest = &rest[end + 1..];
    }
    verifier.finish(rest)
}

fn verify(lines: &[String]) -> LogReport {
    verify_bytes(lines.concat().as_bytes(), None)
}

#[test]
fn a_whole_log_is_good_and_says_what_is_signed() {
    let report = verify(&log());
    assert!(report.is_good(), "{:?}", report.problems);
    assert_eq!((report.records, report.decisions, report.heads), (13, 10, 2));
    assert_eq!((report.unsigned, report.closed), (0, true));
    assert_eq!(report.last_head.unwrap().seq, 12);
    let text = log()[1].clone();
    assert!(text.contains("\"time\":\"2026-11-25T15:33:38.000001Z\""), "{text}");
}

#[test]
fn every_edit_of_a_single_byte_is_found() {
    // A line by itself shows that it was edited; a line feed by what the lines become.
    for line in log() {
        let good = line.trim_end().as_bytes();
        assert!(Record::parse(good).is_ok());
        for at in 0..good.len() {
            for flip in [1, 2, 4, 8, 16, 32, 64, 128] {
                let mut bytes = good.to_vec();
                bytes[at] ^= flip;
                assert!(Record::parse(&bytes).is_err(), "byte {at} with {flip:#x} of {line}");
            }
        }
    }
    let good = log().concat().into_bytes();
    for at in (0..good.len()).filter(|at| good[*at] == b'\n') {
        for flip in [1, 2, 4, 8, 16, 32, 64, 128] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            assert!(!verify_bytes(&bytes, None).is_good(), "line feed at {at} with {flip:#x}");
        }
    }
    // And an edited line is found where it is in a log, with every line around it.
    for at in (0..good.len()).step_by(61) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert!(!verify_bytes(&bytes, None).is_good(), "byte {at}");
    }
}

#[test]
fn every_dropped_repeated_and_swapped_line_is_found() {
    let good = log();
    for at in 0..good.len() - 1 {
        let mut lines = good.clone();
        lines.remove(at);
        assert!(!verify(&lines).is_good(), "dropped {at}");
    }
    for at in 0..good.len() {
        let mut lines = good.clone();
        lines.insert(at, good[at].clone());
        assert!(!verify(&lines).is_good(), "repeated {at}");
        for other in at + 1..good.len() {
            let mut lines = good.clone();
            lines.swap(at, other);
            assert!(!verify(&lines).is_good(), "swapped {at} and {other}");
        }
    }
}

#[test]
fn a_cut_is_found_with_a_head_that_is_known_and_visible_without() {
    let good = log();
    let known = verify(&good).last_head;
    for keep in 0..good.len() {
        let bytes = good[..keep].concat();
        let report = verify_bytes(bytes.as_bytes(), known);
        assert!(
            report.problems.iter().any(|p| p.kind == ProblemKind::KnownHeadMissing),
            "{keep} lines"
        );
        assert!(
            !verify(&good[..keep]).closed,
            "without its last head a log does not count as closed"
        );
    }
    for cut in 1..good[12].len() {
        let bytes = good.concat();
        let report = verify_bytes(&bytes.as_bytes()[..bytes.len() - cut], None);
        assert!(
            report.problems.iter().any(|p| p.kind == ProblemKind::Torn) || cut == good[12].len()
        );
    }
}

#[test]
fn a_log_that_is_made_anew_needs_the_key() {
    // Without the key, an attacker can make a chain; heads then have the wrong key or no signature.
    let other = SigningKey::from_seed(&[4; 32]).unwrap();
    let (first, chain) = Chain::new().append(1, Entry::Open);
    let (head, _) = chain.append_head(2, true, &other);
    let report = verify(&[first.clone(), head]);
    assert_eq!(report.problems[0].kind, ProblemKind::OtherKey);
    assert_eq!((report.heads, report.unsigned, report.closed), (0, 2, false));
    let entry = Entry::Head { closed: true, key: key().public().0, signature: [0; 64] };
    let (forged, _) = chain.append(2, entry);
    let report = verify(&[first, forged]);
    assert_eq!(report.problems[0].kind, ProblemKind::BadSignature);
}

#[test]
fn a_rewritten_decision_with_its_chain_made_anew_breaks_the_next_head() {
    let good = log();
    let mut chain = Chain::new();
    let mut lines = Vec::new();
    for line in &good {
        let (record, _) = Record::parse(line.trim_end().as_bytes()).unwrap();
        let entry = match record.entry {
            Entry::Decision(mut decision) if record.seq == 3 => {
                decision.rules.clear();
                Entry::Decision(decision)
            }
            other => other,
        };
        let (line, next) = chain.append(record.time, entry);
        lines.push(line);
        chain = next;
    }
    let report = verify(&lines);
    assert_eq!(report.heads, 0);
    assert!(
        report.problems.iter().all(|p| p.kind == ProblemKind::BadSignature),
        "{:?}",
        report.problems
    );
}

#[test]
fn a_line_reads_back_as_it_was_written() {
    for line in log() {
        let (record, hash) = Record::parse(line.trim_end().as_bytes()).unwrap();
        let (again, same) = record.line();
        assert_eq!((again.as_str(), same), (line.trim_end(), hash));
    }
    assert!(Record::parse(b"").is_err());
    assert!(Record::parse(&[b'x'; 1 << 20]).is_err());
    assert!(Record::parse(&[0xff, 0xfe]).is_err());
    let _ = PublicKey([0; 32]).verify(b"x", &[0; 64]);
}

#[test]
fn a_record_is_bounded_whatever_its_input() {
    let long = "x".repeat(1 << 20);
    let (line, _) = Chain::new().append(u64::MAX, decision(&long));
    assert!(line.len() < casemate_policy::log::MAX_LINE, "{}", line.len());
}
