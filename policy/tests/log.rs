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
    Chain, DecisionRecord, DenialsRecord, Entry, KnownHead, LogId, LogReport, MAX_LINE,
    ProblemKind, PublicKey, Record, Replayed, SigningKey, Verifier,
};
use casemate_policy::{Facts, Key, PageRule, Point, Policy};

const LOG: LogId = LogId([0xa5; 16]);

fn key() -> SigningKey {
    SigningKey::from_seed(&[3; 32]).unwrap()
}

fn decision(tenant: &str) -> Entry {
    let policy = Policy::builtin_permissive();
    let facts = Facts::new().text(Key::LaunchProtection, "sev-snp").text(Key::LaunchTenant, tenant);
    let decision = policy.decide(Point::Launch, &facts);
    Entry::Decision(DecisionRecord::new([9; 32], Point::Launch, &facts, &decision))
}

/// A closed log of ten decisions, each with its head, as a writer with a key writes it.
fn log() -> Vec<String> {
    log_of(LOG)
}

fn log_of(id: LogId) -> Vec<String> {
    let mut time = 1_795_620_817_000_000;
    let (first, mut chain) = Chain::new(id).begin(time);
    let mut lines = vec![first];
    let mut add = |step: (String, Chain)| {
        lines.push(step.0);
        step.1
    };
    chain = add(chain.append_head(time, false, &key()));
    for n in 0..10 {
        time += 1_000_001;
        chain = add(chain.append(time, decision(&format!("tenant \"{n}\"\u{202e}ü"))));
        chain = add(chain.append_head(time, n == 9, &key()));
    }
    lines
}

/// The lines with the entries that `change` makes of theirs, all hashes made anew. Heads keep their
/// old signatures: whoever has no key cannot do better.
fn made_anew(lines: &[String], change: impl Fn(u64, Entry) -> Option<Entry>) -> Vec<String> {
    let mut chain = Chain::new(LOG);
    let mut out = Vec::new();
    for line in lines {
        let (record, _) = Record::parse(line.trim_end().as_bytes()).unwrap();
        let Some(entry) = change(record.seq, record.entry) else { continue };
        let (line, next) = chain.append(record.time, entry);
        out.push(line);
        chain = next;
    }
    out
}

fn verdict_turned(entry: Entry) -> Entry {
    match entry {
        Entry::Decision(mut decision) => {
            decision.verdict = casemate_policy::Verdict::Allow;
            (decision.rules, decision.reasons) = (Vec::new(), Vec::new());
            Entry::Decision(decision)
        }
        other => other,
    }
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
    assert_eq!((report.records, report.decisions, report.heads), (22, 10, 11));
    assert_eq!((report.unsigned, report.closed, report.log), (0, true, Some(LOG)));
    assert_eq!(report.last_head.unwrap().seq, 21);
    assert_eq!((report.clock_back, report.first_back), (0, None));
    let text = log()[2].clone();
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
        let missing = |p: &casemate_policy::log::Problem| p.kind == ProblemKind::KnownHeadMissing;
        assert!(report.problems.iter().any(missing), "{keep} lines");
        let alone = verify_bytes(bytes.as_bytes(), None);
        assert!(!alone.closed, "{keep} lines do not say that they are all");
        // Cut between a record and its head, it shows by itself.
        assert_eq!(alone.is_good(), keep >= 2 && keep % 2 == 0, "{keep}: {:?}", alone.problems);
    }
    let bytes = good.concat();
    for cut in 1..good[21].len() {
        let report = verify_bytes(&bytes.as_bytes()[..bytes.len() - cut], None);
        let torn = |p: &casemate_policy::log::Problem| p.kind == ProblemKind::Torn;
        assert!(report.problems.iter().any(torn), "{cut} bytes less");
    }
}

#[test]
fn a_log_that_is_made_anew_needs_the_key() {
    // Without the key, an attacker can make a chain; heads then have the wrong key or no signature.
    let other = SigningKey::from_seed(&[4; 32]).unwrap();
    let (first, chain) = Chain::new(LOG).begin(1);
    let (head, _) = chain.append_head(2, true, &other);
    let report = verify(&[first.clone(), head]);
    assert_eq!(report.problems[0].kind, ProblemKind::OtherKey);
    assert_eq!((report.heads, report.unsigned, report.closed), (0, 2, false));
    let (key, signature) = (key().public().0, [0; 64]);
    let entry = Entry::Head { log: LOG, closed: true, key, signature };
    let (forged, _) = chain.append(2, entry);
    let report = verify(&[first.clone(), forged]);
    assert_eq!(report.problems[0].kind, ProblemKind::BadSignature);
    // Nothing signed at all is not what somebody with a key expects.
    let report = verify(&[first]);
    assert_eq!(report.problems[0].kind, ProblemKind::NotSigned);
}

#[test]
fn every_decision_rewritten_with_all_hashes_made_anew_breaks_the_heads_behind_it() {
    let good = log();
    for seq in (2..22).step_by(2) {
        let lines = made_anew(&good, |at, e| Some(if at == seq { verdict_turned(e) } else { e }));
        let report = verify(&lines);
        assert_eq!(report.heads, seq / 2, "the heads before record {seq} stand");
        assert!(report.problems.iter().any(|p| p.kind == ProblemKind::BadSignature));
        // So do several at once, from this one to any later.
        for until in (seq + 2..22).step_by(2) {
            let turned =
                |at, e| Some(if (seq..=until).contains(&at) { verdict_turned(e) } else { e });
            assert!(!verify(&made_anew(&good, turned)).is_good(), "records {seq} to {until}");
        }
    }
}

#[test]
fn every_run_of_lines_cut_out_with_all_hashes_made_anew_is_found() {
    let good = log();
    for from in 0..22u64 {
        for until in from..22u64 {
            let out = |at, e| (!(from..=until).contains(&at)).then_some(e);
            let lines = made_anew(&good, out);
            // What is left of a log cut at its end between two decisions is whole in itself; that
            // shows only in that it is not closed. Cut off whole, nothing is signed.
            let tail = until == 21 && from >= 2 && from % 2 == 0;
            let report = verify(&lines);
            assert_eq!(report.is_good(), tail, "without {from} to {until}: {:?}", report.problems);
            assert!(!(report.is_good() && report.closed), "without {from} to {until}");
        }
    }
}

#[test]
fn heads_of_a_log_that_are_dropped_leave_a_log_that_nobody_signed() {
    let lines = made_anew(&log(), |_, entry| match entry {
        Entry::Head { .. } => None,
        other => Some(verdict_turned(other)),
    });
    let report = verify(&lines);
    assert_eq!((report.heads, report.problems.len()), (0, 1), "{:?}", report.problems);
    assert_eq!(report.problems[0].kind, ProblemKind::NotSigned);
    // A head that somebody puts behind it all does not vouch for what it was not there for.
    let (last, hash) = Record::parse(lines[10].trim_end().as_bytes()).unwrap();
    let (head, _) = Chain::after(LOG, last.seq, hash).append_head(last.time, true, &key());
    let report = verify(&[lines, vec![head]].concat());
    assert_eq!(report.problems[0].kind, ProblemKind::LateHead);
}

#[test]
fn lines_of_another_log_of_the_same_key_fit_nowhere() {
    let (mine, other) = (log(), log_of(LogId([0x5a; 16])));
    for from in 0..22 {
        for until in from + 1..=22 {
            let lines = [&mine[..from], &other[from..until], &mine[until..]].concat();
            let whole_other = (from, until) == (0, 22);
            assert_eq!(verify(&lines).is_good(), whole_other, "{from}..{until}");
        }
        assert!(!verify(&[&mine[..], &other[from..]].concat()).is_good(), "{from}.. behind");
    }
    // Chained anew into this log, the other's heads say whose they are.
    let entries: Vec<Entry> = other
        .iter()
        .map(|line| Record::parse(line.trim_end().as_bytes()).unwrap().0.entry)
        .collect();
    let lines = made_anew(&mine, |at, entry| match entry {
        Entry::Head { .. } => Some(entries[at as usize].clone()),
        other => Some(other),
    });
    let report = verify(&lines);
    assert!(report.problems.iter().any(|p| p.kind == ProblemKind::OtherLog));
    assert_eq!(report.heads, 0);
}

#[test]
fn a_head_that_is_repeated_later_does_not_close_or_sign_anything() {
    let good = log();
    let (closing, _) = Record::parse(good[21].trim_end().as_bytes()).unwrap();
    for behind in (1..20).step_by(2) {
        // The closing head's words behind an earlier record, chained anew.
        let (last, hash) = Record::parse(good[behind].trim_end().as_bytes()).unwrap();
        let (line, _) =
            Chain::after(LOG, last.seq, hash).append(closing.time, closing.entry.clone());
        let report = verify(&[&good[..=behind], &[line]].concat());
        assert!(!report.is_good() && !report.closed, "behind record {behind}");
    }
}

#[test]
fn records_behind_the_last_head_are_said_to_be_signed_by_nobody() {
    let mut lines = log();
    let (last, hash) = Record::parse(lines[21].trim_end().as_bytes()).unwrap();
    let mut chain = Chain::after(LOG, last.seq, hash);
    for n in 1..4u64 {
        let (line, next) = chain.append(last.time, verdict_turned(decision("forged")));
        lines.push(line);
        chain = next;
        let report = verify(&lines);
        assert_eq!(report.problems.len(), 1);
        assert_eq!(report.problems[0].kind, ProblemKind::UnsignedEnd(n));
        assert!(!report.closed);
    }
}

#[test]
fn records_that_were_taken_over_stay_visible() {
    let (first, chain) = Chain::new(LOG).begin(1);
    let (second, chain) = chain.append(2, decision("x"));
    let (third, chain) = chain.append(3, Entry::Adopted { records: 2 });
    let (head, _) = chain.append_head(3, true, &key());
    let report = verify(&[first, second, third, head]);
    assert!(report.is_good(), "{:?}", report.problems);
    assert_eq!((report.adopted, report.closed), (2, true));
}

#[test]
fn a_clock_that_goes_back_is_reported_and_a_dead_one_breaks_nothing() {
    let (first, mut chain) = Chain::new(LOG).begin(50);
    let mut lines = vec![first];
    for time in [50, 0, 0, 70, 69, u64::MAX, 0] {
        let (line, next) = chain.append(time, Entry::Open);
        lines.push(line);
        chain = next;
    }
    let report = verify_bytes(lines.concat().as_bytes(), None);
    assert_eq!(report.clock_back, 3);
    let first = report.first_back.unwrap();
    assert_eq!((first.line, first.micros), (3, 50));
    assert_eq!(report.records, 8, "all are read, whatever their times");
}

/// Also writes a seed of the fuzz target, where its folder is named.
#[test]
fn a_line_reads_back_as_it_was_written() {
    let mut denied = DenialsRecord::none_yet(&Policy::builtin_strict(), PageRule::Shared, "vm");
    (denied.start, denied.times, denied.amount, denied.ended) =
        (6, i64::MAX.cast_unsigned(), 9, true);
    let entries = [
        Entry::Recovered { dropped: 7 },
        Entry::Adopted { records: 8 },
        Entry::Open,
        Entry::Denials(denied.clone()),
    ];
    let more = entries.map(|entry| Chain::after(LOG, 5, [6; 32]).append(7, entry).0);
    if let Some(folder) = std::env::var_os("CASEMATE_WRITE_SEEDS") {
        let file = std::path::Path::new(&folder).join("denials");
        std::fs::write(file, more.last().unwrap()).unwrap();
    }
    for line in log().iter().chain(&more) {
        let (record, hash) = Record::parse(line.trim_end().as_bytes()).unwrap();
        let (again, same) = record.line();
        assert_eq!((again.as_str(), same), (line.trim_end(), hash));
    }
    (denied.times, denied.amount) = (u64::MAX, u64::MAX);
    let (line, _) = Chain::new(LOG).append(7, Entry::Denials(denied.clone()));
    assert!(Record::parse(line.trim_end().as_bytes()).is_ok(), "a count beyond all");
    denied.verdict = casemate_policy::Verdict::Allow;
    let (line, _) = Chain::new(LOG).append(7, Entry::Denials(denied));
    assert!(Record::parse(line.trim_end().as_bytes()).is_err(), "denials that allow");
    assert!(Record::parse(b"").is_err());
    assert!(Record::parse(&[b'x'; 1 << 20]).is_err());
    assert!(Record::parse(&[0xff, 0xfe]).is_err());
    let _ = PublicKey([0; 32]).verify(b"x", &[0; 64]);
}

#[test]
fn denials_stay_with_the_same_limits_are_allowed_without_any_and_undecidable_otherwise() {
    let policy = |runtime: &str| {
        let text = format!("schema_version = 1\nmin_engine = \"0.1.0\"\n[runtime]\n{runtime}\n");
        Policy::load(&text, "test").unwrap()
    };
    let changes = |rule: &str| format!("page_state_changes = {rule}\nshared_percent = 25");
    let limits = changes("{ per_second = 4, total = 9 }");
    let denied = DenialsRecord::none_yet(&policy(&limits), PageRule::Changes, "vm");
    assert_eq!((denied.rule.as_str(), denied.limits.len()), ("runtime.page_state_changes", 2));
    assert_eq!(denied.replay(&policy(&limits)), Replayed::Same);
    // Another section is not asked.
    let same = format!("{limits}\nconsole = \"none\"");
    assert_eq!(denied.replay(&policy(&same)), Replayed::Same);
    let free = policy("page_state_changes = \"any\"\nshared_percent = \"any\"");
    assert!(matches!(denied.replay(&free), Replayed::Changed(now) if now.is_allow()));
    let others = [
        changes("{ per_second = 4, total = 10 }"),
        // Denied requests use nothing, so that the other rule says less changes this one's denials.
        limits.replace("25", "24"),
        format!("{limits}\non_page_state = \"kill\""),
    ];
    for other in others {
        let now = denied.replay(&policy(&other));
        let open = vec!["runtime.page_state_changes".to_owned()];
        assert_eq!(now, Replayed::Undecidable(open), "{other}");
    }
}

#[test]
fn a_file_without_a_line_is_no_log() {
    for known in [None, Some(KnownHead { seq: 3, hash: [7; 32] })] {
        let report = Verifier::new(None, known).finish(&[]);
        assert_eq!(report.problems[0].kind, ProblemKind::Empty);
        assert!(!report.is_good() && report.problems[0].to_string().contains("no record"));
    }
}

#[test]
fn every_record_that_is_written_is_read_whatever_its_input() {
    // What escapes longest, in every text that a fact or a rule can hold.
    for nasty in ["x", "\"", "\\", "\n", "\u{1}", "\u{202e}", "\u{10ffff}", "="] {
        let long = nasty.repeat(1 << 16);
        let quoted = if nasty.is_ascii() && nasty > " " { nasty } else { "y" };
        let word = quoted.repeat(4000);
        let text = format!(
            "schema_version = 1\nmin_engine = \"0.1.0\"\n[launch]\ntenants = [{word:?}]\n\
             cmdline_allow = [{word:?}]\ncmdline_require = [{word:?}]\n"
        );
        let name: String = long.chars().take(4000).collect();
        let policy = Policy::load(&text, &name).unwrap();
        let facts = Facts::new()
            .text(Key::LaunchProtection, &long)
            .text(Key::LaunchTenant, &long)
            .command_line(&long);
        let decision = policy.decide(Point::Launch, &facts);
        assert!(!decision.is_allow());
        let record = DecisionRecord::new([9; 32], Point::Launch, &facts, &decision);
        let (line, _) = Chain::new(LOG).append(u64::MAX, Entry::Decision(record.clone()));
        assert!(line.len() <= MAX_LINE, "{nasty:?}: {}", line.len());
        let (again, _) = Record::parse(line.trim_end().as_bytes()).unwrap();
        assert_eq!(again.entry, Entry::Decision(record));
    }
}
