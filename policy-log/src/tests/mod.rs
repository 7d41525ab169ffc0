//! What the tests of the log's file share: a folder, honest writers, and an attacker who can write
//! the log and, where a test says so, the head file, and has no key.

mod attack;
mod file;
mod trust;

use crate::{DecisionLog, LogError, LogFile, Recovery, generate_key, read_key};
use casemate_policy::log::{
    Chain, Entry, LogReport, ProblemKind, PublicKey, Record, SigningKey, Verifier,
};
use casemate_policy::{Facts, Point, Policy};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A folder of its own for a test, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("casemate-log-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
    fn log(&self) -> PathBuf {
        self.0.join("log")
    }
    fn head(&self) -> PathBuf {
        self.0.join("head")
    }
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).unwrap()
}

fn signed(scratch: &Scratch) -> LogFile {
    LogFile { key: Some(key()), head: Some(scratch.head()), ..LogFile::new(&scratch.log()) }
}

fn plain(scratch: &Scratch) -> LogFile {
    LogFile { head: Some(scratch.head()), ..LogFile::new(&scratch.log()) }
}

fn decide(log: &mut DecisionLog, decisions: u64) {
    let (policy, facts) = (Policy::builtin_strict(), Facts::new());
    let decision = policy.decide(Point::Access, &facts);
    for _ in 0..decisions {
        log.decision(policy.hash(), Point::Access, &facts, &decision).unwrap();
    }
}

fn session(file: LogFile, decisions: u64) -> Recovery {
    let (mut log, recovery) = file.open().unwrap();
    decide(&mut log, decisions);
    log.close().unwrap();
    recovery
}

fn lines(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
}

fn verify_with(path: &Path, key: Option<PublicKey>, head: Option<&Path>) -> LogReport {
    let mut verifier = Verifier::new(key, head.map(|head| crate::read_head(head).unwrap()));
    let mut torn = Vec::new();
    for line in lines(path) {
        match line.strip_suffix(b"\n") {
            Some(whole) => drop(verifier.line(whole)),
            None => torn = line,
        }
    }
    verifier.finish(&torn)
}

fn verify(scratch: &Scratch) -> LogReport {
    verify_with(&scratch.log(), Some(key().public()), Some(&scratch.head()))
}

/// What is before the last record, and the record.
fn record(line: &[u8]) -> (Record, [u8; 32]) {
    Record::parse(line.strip_suffix(b"\n").unwrap()).unwrap()
}

/// A record of an attacker's that follows from the end of the log.
fn forge(path: &Path, entry: Entry) {
    let lines = lines(path);
    let Entry::Begin { log } = record(&lines[0]).0.entry else { panic!("no log") };
    let (last, hash) = record(lines.last().unwrap());
    let (line, _) = Chain::after(log, last.seq, hash).append(last.time, entry);
    let bytes = [lines.concat(), line.into_bytes()].concat();
    std::fs::write(path, bytes).unwrap();
}

/// The log as whoever has no key can make it: no heads, every line's hash made anew.
fn without_heads(path: &Path) {
    let lines = lines(path);
    let Entry::Begin { log } = record(&lines[0]).0.entry else { panic!("no log") };
    let mut chain = Chain::new(log);
    let mut out = String::new();
    for line in lines {
        let (record, _) = record(&line);
        if !matches!(record.entry, Entry::Head { .. }) {
            chain = chain.append_to(&mut out, record.time, record.entry);
        }
    }
    std::fs::write(path, out).unwrap();
}

/// The start is refused, and nothing is changed or left behind.
fn refused(scratch: &Scratch, file: LogFile) -> LogError {
    let before = (std::fs::read(scratch.log()).ok(), std::fs::read(scratch.head()).ok());
    let names = scratch.names();
    let error = file.open().unwrap_err();
    let after = (std::fs::read(scratch.log()).ok(), std::fs::read(scratch.head()).ok());
    assert!(before == after, "a refused log is left as it is: {error}");
    assert_eq!(scratch.names(), names, "{error}");
    assert!(!error.to_string().contains('\n'));
    error
}
