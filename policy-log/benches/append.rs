//! Appending to the decision log, with the same lines written without a chain as the baseline of
//! the run.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use casemate_policy::log::SigningKey;
use casemate_policy::{Facts, Point, Policy};
use casemate_policy_log::LogFile;
use std::fs::File;
use std::io::Write;
use std::time::Instant;

/// Records of one run.
const RECORDS: u32 = 2048;
/// Runs of which the best counts: on a busy machine one of them has the processor to itself.
const RUNS: u32 = 100;

/// Records a second of the best run, and of all runs together.
fn rates(mut record: impl FnMut()) -> (f64, f64) {
    let begin = Instant::now();
    let mut best = f64::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        (0..RECORDS).for_each(|_| record());
        best = best.min(start.elapsed().as_secs_f64());
    }
    (f64::from(RECORDS) / best, f64::from(RECORDS * RUNS) / begin.elapsed().as_secs_f64())
}

fn main() {
    let directory = std::env::temp_dir();
    let path = directory.join(format!("casemate-bench-{}.log", std::process::id()));
    let policy = Policy::builtin_strict();
    let facts = Facts::new()
        .text(casemate_policy::Key::AccessConsole, "interactive")
        .text(casemate_policy::Key::AccessDebug, "none")
        .flag(casemate_policy::Key::AccessSnapshot, false)
        .flag(casemate_policy::Key::AccessMigration, false);
    let decision = policy.decide(Point::Access, &facts);
    let hash = policy.hash();

    let run = |key: Option<SigningKey>| {
        let (mut log, _) = LogFile { key, ..LogFile::new(&path) }.open().unwrap();
        let rates = rates(|| log.decision(hash, Point::Access, &facts, &decision).unwrap());
        log.close().unwrap();
        rates
    };
    let signed = run(SigningKey::from_seed(&[5; 32]));
    std::fs::remove_file(&path).unwrap();
    let chained = run(None);

    let line = std::fs::read_to_string(&path).unwrap().lines().nth(1).unwrap().to_owned() + "\n";
    let mut file = File::create(&path).unwrap();
    let plain = rates(|| file.write_all(line.as_bytes()).unwrap());
    std::fs::remove_file(&path).unwrap();
    println!("records of {} bytes, one write each", line.len());
    println!("                               best of {RUNS} runs       all runs");
    for (what, (best, all)) in [
        ("decision to line, chained", chained),
        ("and a signed head with each", signed),
        ("the same lines, not chained", plain),
    ] {
        println!("{what:<30} {best:>10.0} records/s {all:>10.0} records/s");
    }
    for (what, rate) in [("chained, of plain writes", chained), ("signed, of plain writes", signed)]
    {
        println!("{what:<30} {:>10.2} {:>20.2}", rate.0 / plain.0, rate.1 / plain.1);
    }
}
