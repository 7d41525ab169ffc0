//! The log as a file: chain across restarts, crashes in mid-write, locks.

use super::{DecisionLog, HeadPolicy};
use crate::LogError;
use casemate_policy::log::{LogReport, ProblemKind, PublicKey, SigningKey, Verifier};
use casemate_policy::{Facts, Point, Policy};
use std::path::{Path, PathBuf};

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("casemate-log-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).unwrap()
}

fn verify(path: &Path) -> LogReport {
    let bytes = std::fs::read(path).unwrap();
    let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let mut verifier = Verifier::new(Some(PublicKey(key().public().0)), None);
    for line in bytes[..end].split_inclusive(|b| *b == b'\n') {
        verifier.line(&line[..line.len() - 1]);
    }
    verifier.finish(&bytes[end..])
}

fn write(path: &Path, decisions: u64) -> DecisionLog {
    let heads = HeadPolicy { records: 4, seconds: 3600 };
    let (mut log, _) = DecisionLog::open(path, Some(key()), heads).unwrap();
    let (policy, facts) = (Policy::builtin_strict(), Facts::new());
    let decision = policy.decide(Point::Access, &facts);
    for _ in 0..decisions {
        log.decision(policy.hash(), Point::Access, &facts, &decision).unwrap();
    }
    log
}

#[test]
fn a_log_goes_on_after_a_restart_and_closes_with_a_signed_head() {
    let path = scratch("restart");
    write(&path, 5).close().unwrap();
    write(&path, 3).close().unwrap();
    let report = verify(&path);
    assert!(report.is_good(), "{:?}", report.problems);
    assert_eq!((report.decisions, report.unsigned, report.closed), (8, 0, true));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_crash_at_any_byte_of_the_last_line_recovers_to_the_last_whole_record() {
    let path = scratch("torn");
    drop(write(&path, 2));
    let whole = std::fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
    for cut in last..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let heads = HeadPolicy::default();
        let (log, recovery) = DecisionLog::open(&path, Some(key()), heads).unwrap();
        assert_eq!(recovery.dropped, u64::try_from(cut - last).unwrap());
        drop(log);
        let report = verify(&path);
        assert!(report.is_good(), "cut at {cut}: {:?}", report.problems);
        assert_eq!(report.recovered, u64::from(cut > last), "the log says that it was torn");
        assert_eq!(report.decisions, 1);
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_killed_process_leaves_a_chain_without_a_closing_head() {
    let path = scratch("killed");
    drop(write(&path, 9));
    let report = verify(&path);
    assert!(report.is_good());
    assert!(!report.closed && report.heads > 0);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_damaged_last_record_is_not_built_upon() {
    let path = scratch("damaged");
    drop(write(&path, 2));
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let result = DecisionLog::open(&path, None, HeadPolicy::default());
    assert!(matches!(result, Err(LogError::Damaged { .. })));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_log_has_one_writer() {
    let path = scratch("locked");
    let first = write(&path, 1);
    let second = DecisionLog::open(&path, None, HeadPolicy::default());
    assert!(matches!(second, Err(LogError::Locked(_))));
    first.close().unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_file_that_is_no_log_is_not_touched() {
    let path = scratch("other");
    std::fs::write(&path, "hello\n").unwrap();
    assert!(DecisionLog::open(&path, None, HeadPolicy::default()).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "hello\n");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_torn_end_is_reported_by_the_verifier() {
    let path = scratch("end");
    drop(write(&path, 1));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.pop();
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(verify(&path).problems.last().unwrap().kind, ProblemKind::Torn);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_head_kept_elsewhere_shows_that_the_end_was_cut_off() {
    for signed in [true, false] {
        let (path, head) = (scratch(&format!("cut-{signed}")), scratch(&format!("head-{signed}")));
        let heads = HeadPolicy { records: 4, seconds: 3600 };
        let (mut log, _) = DecisionLog::open(&path, signed.then(key), heads).unwrap();
        log.keep_head(&head).unwrap();
        let (policy, facts) = (Policy::builtin_strict(), Facts::new());
        let decision = policy.decide(Point::Access, &facts);
        for _ in 0..10 {
            log.decision(policy.hash(), Point::Access, &facts, &decision).unwrap();
        }
        log.close().unwrap();
        let known = || std::fs::read_to_string(&head).unwrap().trim().parse().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
        for kept in 1..=lines.len() {
            let mut verifier = Verifier::new(None, Some(known()));
            lines[..kept].iter().for_each(|line| drop(verifier.line(&line[..line.len() - 1])));
            let report = verifier.finish(&[]);
            assert_eq!(report.is_good(), kept == lines.len(), "{kept} of {} lines", lines.len());
        }
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(head).unwrap();
    }
}
