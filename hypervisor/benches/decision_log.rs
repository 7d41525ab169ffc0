//! Appending to the decision log, with the same lines written without a chain as the baseline of the run.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use casemate::decision_log::{DecisionLog, HeadPolicy};
use policy::log::{DecisionRecord, SigningKey};
use policy::{Facts, Point, Policy};
use std::fs::File;
use std::io::Write;
use std::time::Instant;

const RECORDS: u32 = 200_000;

fn main() {
    let directory = std::env::temp_dir();
    let path = directory.join(format!("casemate-bench-{}.log", std::process::id()));
    let policy = Policy::builtin_strict();
    let facts = Facts::new()
        .text(policy::Key::AccessConsole, "interactive")
        .text(policy::Key::AccessDebug, "none")
        .flag(policy::Key::AccessSnapshot, false)
        .flag(policy::Key::AccessMigration, false);
    let decision = policy.decide(Point::Access, &facts);
    let hash = policy.hash();
    let rate = |start: Instant| f64::from(RECORDS) / start.elapsed().as_secs_f64();

    let key = SigningKey::from_seed(&[5; 32]);
    let (mut log, _) = DecisionLog::open(&path, key, HeadPolicy::default()).unwrap();
    let start = Instant::now();
    for _ in 0..RECORDS {
        log.decision(hash, Point::Access, &facts, &decision).unwrap();
    }
    let facts_and_all = rate(start);
    let record = DecisionRecord::new(hash, Point::Access, &facts, &decision);
    let start = Instant::now();
    for _ in 0..RECORDS {
        log.record(record.clone()).unwrap();
    }
    let chained = rate(start);
    log.close().unwrap();

    let line = std::fs::read_to_string(&path).unwrap().lines().nth(1).unwrap().to_owned() + "\n";
    let mut file = File::create(&path).unwrap();
    let start = Instant::now();
    for _ in 0..RECORDS {
        file.write_all(line.as_bytes()).unwrap();
    }
    let plain = rate(start);
    std::fs::remove_file(&path).unwrap();
    println!("records of {} bytes, a signed head every 1024, one write each", line.len());
    println!(
        "decision to line, chained      {facts_and_all:>10.0} records/s  {:.2} of plain writes",
        facts_and_all / plain
    );
    println!(
        "record to line, chained        {chained:>10.0} records/s  {:.2} of plain writes",
        chained / plain
    );
    println!("the same lines, not chained    {plain:>10.0} records/s");
}
