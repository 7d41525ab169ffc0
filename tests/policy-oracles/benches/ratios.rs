//! How long decisions take here and in the two other engines, on the same rules and input in one
//! run.
//!
//! Absolute numbers depend on the machine; the ratios are what is promised.

use casemate_policy::{Counter, Facts, Input, Point, Policy};
use policy_oracles::{Cedar, Rego};
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

/// Best of many short runs, in nanoseconds for each call: short, so that on a busy machine one of
/// them has the processor to itself.
fn time(calls: u32, mut body: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..200 {
        let start = Instant::now();
        for _ in 0..calls {
            body();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }
    best
}

/// The production example with 13 rules at launch: family and image are left open.
fn launch_policy() -> Policy {
    let text = include_str!("../../../policy/examples/production.toml");
    let text: String = text
        .lines()
        .map(|line| match line.split(' ').next() {
            Some(key @ ("family_id" | "image_id")) => format!("{key} = \"any\"\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    Policy::load(&text, "production.toml").unwrap()
}

fn launch_facts() -> Facts {
    let input = format!(
        r#"{{"launch": {{"protection": "sev-snp", "tenant": "acme", "measurement": "{}", "kernel": "{}",
        "initrd": "{}", "cmdline": ["console=hvc0", "ro", "root=/dev/vda", "lockdown=confidentiality"],
        "id_key": "{}", "author_key": "{}", "guest_policy": 196608, "guest_svn": 9, "host_data": "{}",
        "family_id": "unset", "image_id": "unset"}}}}"#,
        "a1".repeat(48),
        "b2".repeat(32),
        "c3".repeat(32),
        "d4".repeat(48),
        "e5".repeat(48),
        "f6".repeat(32),
    );
    let facts = Input::load(&input, "input.json").unwrap().facts;
    // SMT is not admitted by the example; the rest of the policy bits is.
    facts.number(casemate_policy::Key::LaunchGuestPolicy, 0x2_0000)
}

fn main() {
    let policy = launch_policy();
    let facts = launch_facts();
    let decision = policy.decide(Point::Launch, &facts);
    assert!(decision.is_allow(), "{decision}");
    let own = time(2_000, || {
        black_box(black_box(&policy).decide(Point::Launch, black_box(&facts)));
    });
    let few =
        facts.clone().texts(casemate_policy::Key::LaunchCmdline, ["lockdown=confidentiality"]);
    let one_word = time(2_000, || {
        black_box(black_box(&policy).decide(Point::Launch, black_box(&few)));
    });
    let mut rego = Rego::new(&policy);
    let input = Rego::input(Point::Launch, &facts);
    assert!(rego.allows(input.clone()));
    let by_rego = time(20, || {
        black_box(rego.allows(black_box(input.clone())));
    });
    let cedar = Cedar::new(&policy);
    let request = cedar.request(Point::Launch, &facts);
    assert!(cedar.allows(&request));
    let by_cedar = time(50, || {
        black_box(cedar.allows(black_box(&request)));
    });
    let denied_facts = facts.clone().text(casemate_policy::Key::LaunchTenant, "mallory");
    let denied = time(500, || {
        black_box(black_box(&policy).decide(Point::Launch, black_box(&denied_facts)));
    });
    let limits = policy.page_state_limits();
    let mut counter = Counter::new();
    let mut now = 0u64;
    let page_state = time(20_000, || {
        now += 50_000;
        let (verdict, next) = black_box(&limits).step(counter, black_box(now), 1, 100, 10_000);
        assert!(verdict.is_allow());
        counter = next;
    });
    let mut big =
        String::from("schema_version = 1\nmin_engine = \"0.1.0\"\n[launch]\nmeasurement = [\n");
    for n in 0u32.. {
        if big.len() > (1 << 20) - 200 {
            break;
        }
        let _ = writeln!(big, "  \"{n:096x}\",");
    }
    big.push_str("]\n");
    let load = time(1, || {
        black_box(Policy::load(black_box(&big), "big.toml").unwrap());
    });
    println!("launch, 13 rules, 4-word cmdline {own:>12.1} ns");
    println!("launch, 13 rules, 1-word cmdline {one_word:>12.1} ns");
    println!("  regorus, same rules and input  {by_rego:>12.1} ns   {:>8.0} times", by_rego / own);
    println!(
        "  Cedar, same rules and input    {by_cedar:>12.1} ns   {:>8.0} times",
        by_cedar / own
    );
    println!("launch, denied with its reason   {denied:>12.1} ns");
    println!("page-state change                {page_state:>12.1} ns");
    println!(
        "load {} bytes, {} digests {:>12.2} ms",
        big.len(),
        big.lines().count() - 5,
        load / 1e6
    );
}
