//! The decision log of a process that is killed while it writes: the chain holds.
#![allow(missing_docs, clippy::unwrap_used, reason = "functions that tests share")]

use casemate_policy::log::{SigningKey, Verifier};
use casemate_policy::{Facts, Point, Policy};
use casemate_policy_log::LogFile;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const FILE: &str = "CASEMATE_TEST_LOG";

/// Writes decisions without end.
fn write(path: &Path) {
    // A kill can fall between a record and its head, though they are one write: the kernel writes
    // page by page. Such an end is refused unless it is taken over, which is what a supervisor
    // would ask.
    let file = LogFile::new(path);
    let file = LogFile { key: SigningKey::from_seed(&[5; 32]), adopt: true, ..file };
    let (mut log, _) = file.open().unwrap();
    let (policy, facts) = (Policy::builtin_strict(), Facts::new());
    let decision = policy.decide(Point::Access, &facts);
    loop {
        log.decision([1; 32], Point::Access, &facts, &decision).unwrap();
    }
}

#[test]
fn kill_9_at_any_moment_leaves_a_chain_that_the_next_start_goes_on_with() {
    if let Some(path) = std::env::var_os(FILE) {
        write(Path::new(&path));
    }
    let path = std::env::temp_dir().join(format!("casemate-kill-{}.log", std::process::id()));
    let mut last = 0;
    for round in 1..=8u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(FILE, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Wait until it writes, then kill it (SIGKILL) while it goes on.
        let length = || std::fs::metadata(&path).map_or(0, |m| m.len());
        let before = length();
        while length() < before + 4096 * round && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut verifier = Verifier::new(None, None);
        let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
        let torn = lines.pop().unwrap_or_default();
        for line in lines {
            verifier.line(line);
        }
        let report = verifier.finish(torn);
        // Only the end may be wrong: a torn line, a record without its head; and the next start
        // says so.
        let unsigned = usize::from(report.unsigned > 0);
        let wrong = usize::from(!torn.is_empty()) + unsigned;
        assert_eq!(report.problems.len(), wrong, "{:?}", report.problems);
        assert!(report.unsigned <= 1, "at most the record of one write");
        assert!(report.decisions > last, "it went on after round {round}");
        last = report.decisions;
    }
    std::fs::remove_file(path).unwrap();
}
