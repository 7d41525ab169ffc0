//! What decisions cost. The ratios to regorus and Cedar are in `tests/policy-oracles`.
//!
//! `decide-… decide 100000` only decides, so often, and `decide-… record 100000` only makes log
//! records: for an instruction count with `valgrind --tool=callgrind`.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use casemate_policy::log::{Chain, DecisionRecord, Entry, LogId};
use casemate_policy::{Counter, Decision, Facts, Input, Key, Point, Policy};
use std::hint::black_box;
use std::time::Instant;

/// Best of many short runs, in nanoseconds for each call: short, so that on a busy machine one of
/// them has the processor to itself.
fn time(calls: u32, mut body: impl FnMut()) -> f64 {
    (0..400)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(|_| body());
            start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
        })
        .fold(f64::MAX, f64::min)
}

/// The production example with 13 rules at launch: family and image are left open.
fn launch_policy() -> Policy {
    let open = |line: &str| match line.split(' ').next() {
        Some(key @ ("family_id" | "image_id")) => format!("{key} = \"any\"\n"),
        _ => format!("{line}\n"),
    };
    let text: String = include_str!("../examples/production.toml").lines().map(open).collect();
    Policy::load(&text, "production.toml").unwrap()
}

fn launch_facts() -> Facts {
    let input = format!(
        r#"{{"launch": {{"protection": "sev-snp", "tenant": "acme", "measurement": "{}", "kernel": "{}",
        "initrd": "{}", "id_key": "{}", "author_key": "{}", "guest_policy": 131072, "guest_svn": 9,
        "host_data": "{}", "family_id": "unset", "image_id": "unset"}}}}"#,
        "a1".repeat(48),
        "b2".repeat(32),
        "c3".repeat(32),
        "d4".repeat(48),
        "e5".repeat(48),
        "f6".repeat(32),
    );
    Input::load(&input, "input.json").unwrap().facts
}

fn main() {
    let policy = launch_policy();
    let words = [
        "lockdown=confidentiality",
        "console=hvc0",
        "ro",
        "root=/dev/vda",
        "panic=-1",
        "casemate.workload=/usr/bin/reporter",
        "casemate.net=dhcp",
        "casemate.instance=7",
    ];
    let facts =
        |count: usize| launch_facts().texts(Key::LaunchCmdline, words.into_iter().take(count));
    let (one, four, eight) = (facts(1), facts(4), facts(8));
    for facts in [&one, &four, &eight] {
        let decision = policy.decide(Point::Launch, facts);
        assert!(decision.is_allow(), "{decision}");
    }
    let decide = |facts: &Facts| {
        black_box(black_box(&policy).decide(Point::Launch, black_box(facts)));
    };
    let record = |facts: &Facts, decision: &Decision, line: &mut String, chain: Chain| {
        let entry = DecisionRecord::new([7; 32], Point::Launch, facts, decision);
        line.clear();
        chain.append_to(line, 1_795_620_817_000_000, Entry::Decision(entry))
    };
    let decision = policy.decide(Point::Launch, &four);
    let (mut chain, mut line) = (Chain::new(LogId([1; 16])), String::new());
    if let [_, what, count] = &std::env::args().collect::<Vec<_>>()[..]
        && let Ok(count) = count.parse::<u32>()
    {
        for _ in 0..count {
            match what.as_str() {
                "record" => chain = record(&four, &decision, &mut line, chain),
                _ => decide(&four),
            }
        }
        return;
    }
    for (words, facts) in [(1, &one), (4, &four), (8, &eight)] {
        let took = time(2_000, || decide(facts));
        println!("launch, 13 rules, {words}-word command line  {took:>8.1} ns");
    }
    let denied = four.clone().text(Key::LaunchTenant, "mallory");
    println!("launch, denied with its reason         {:>8.1} ns", time(500, || decide(&denied)));
    let logged = time(200, || chain = record(&four, &decision, &mut line, chain));
    println!("its record: input, chain and line       {logged:>8.1} ns");
    let limits = policy.page_state_limits();
    let (mut counter, mut now) = (Counter::new(), 0u64);
    let page_state = time(20_000, || {
        now += 50_000;
        let (verdict, next) = black_box(&limits).step(counter, black_box(now), 1, 100, 10_000);
        assert!(verdict.is_allow());
        counter = next;
    });
    println!("page-state change                      {page_state:>8.1} ns");
}
