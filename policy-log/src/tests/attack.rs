//! The log under attack between two honest writers: edits, cuts, splices, old heads, and what a
//! writer does while others have the log meanwhile.
//!
//! The attacker can write log and head file and has no key. What must hold whatever is done: a
//! start refuses and changes nothing, or what it goes on with, and signs, is byte for byte what
//! honest writers had left. Cannot tell what a log does that was put back whole, together with its
//! head file: see `log_and_head_file_put_back_together_…`.

use super::*;
use casemate_policy::log::{DenialsRecord, KnownHead};
use casemate_policy::{PageRule, Verdict};
use proptest::prelude::*;
use std::sync::OnceLock;

type Lines = Vec<Vec<u8>>;

/// What an honest past has left.
struct Past {
    /// The log and its head file after each session, the newest last.
    states: Vec<(Lines, Vec<u8>)>,
    /// Another log of the same key.
    other: Lines,
}

impl Past {
    fn newest(&self) -> &(Lines, Vec<u8>) {
        self.states.last().unwrap()
    }
}

fn past() -> &'static Past {
    static PAST: OnceLock<Past> = OnceLock::new();
    PAST.get_or_init(|| {
        let (mine, theirs) = (Scratch::new("past"), Scratch::new("past-of-another"));
        session(signed(&theirs), 4);
        let mut states = Vec::new();
        for decisions in [1, 2, 1] {
            session(signed(&mine), decisions);
            states.push((lines(&mine.log()), std::fs::read(mine.head()).unwrap()));
        }
        Past { states, other: lines(&theirs.log()) }
    })
}

/// What is done to the lines of a log.
#[derive(Debug, Clone)]
enum Attack {
    /// Lines go.
    Cut(usize, usize),
    /// Lines come again elsewhere.
    Copy(usize, usize, usize),
    /// Two lines change places.
    Swap(usize, usize),
    /// Lines of another log of the same key take the place of others.
    Splice(usize, usize, usize),
    /// A bit turns.
    Flip(usize, usize, u8),
    /// Denials become approvals, from one line to another.
    Turn(usize, usize),
    /// No heads any more.
    DropHeads,
    /// Another record at the end that follows from it.
    Forge,
    /// All numbers and hashes made anew, so that the chain holds.
    Rechain,
}

fn clamp(range: (usize, usize), lines: &Lines) -> (usize, usize) {
    let (a, b) = (range.0.min(lines.len()), range.1.min(lines.len()));
    (a.min(b), a.max(b))
}

fn change(lines: &Lines, change: impl Fn(usize, Entry) -> Option<Entry>) -> Lines {
    let parsed = |line: &Vec<u8>| Record::parse(line.strip_suffix(b"\n")?).ok();
    let mut out = Lines::new();
    for (at, line) in lines.iter().enumerate() {
        match parsed(line) {
            None => out.push(line.clone()),
            Some((record, _)) => {
                if let Some(entry) = change(at, record.entry.clone()) {
                    let (line, _) = Record { entry, ..record }.line();
                    out.push([line.as_bytes(), b"\n"].concat());
                }
            }
        }
    }
    out
}

fn rechain(lines: &Lines) -> Lines {
    let first = lines.first().and_then(|line| Record::parse(line.strip_suffix(b"\n")?).ok());
    let Some(Entry::Begin { log }) = first.map(|(record, _)| record.entry) else {
        return lines.clone();
    };
    let mut chain = Chain::new(log);
    let mut out = Lines::new();
    for line in lines {
        let Some((record, _)) = line.strip_suffix(b"\n").and_then(|l| Record::parse(l).ok()) else {
            out.push(line.clone());
            continue;
        };
        let (line, next) = chain.append(record.time, record.entry);
        out.push(line.into_bytes());
        chain = next;
    }
    out
}

impl Attack {
    fn on(&self, lines: &mut Lines) {
        match *self {
            Self::Cut(from, to) => {
                let (from, to) = clamp((from, to), lines);
                lines.drain(from..to);
            }
            Self::Copy(from, to, at) => {
                let (from, to) = clamp((from, to), lines);
                let copied = lines[from..to].to_vec();
                let at = at.min(lines.len());
                lines.splice(at..at, copied);
            }
            Self::Swap(a, b) if a < lines.len() && b < lines.len() => lines.swap(a, b),
            Self::Splice(from, to, at) => {
                let other = &past().other;
                let (from, to) = clamp((from, to), other);
                let (at, until) = clamp((at, at + to - from), lines);
                lines.splice(at..until, other[from..to].iter().cloned());
            }
            Self::Flip(line, byte, bit) => {
                let len = lines.len().max(1);
                if let Some(line) = lines.get_mut(line % len) {
                    let len = line.len().max(1);
                    if let Some(byte) = line.get_mut(byte % len) {
                        *byte ^= 1 << (bit % 8);
                    }
                }
            }
            Self::Turn(from, to) => {
                let (from, to) = clamp((from, to), lines);
                *lines = change(lines, |at, entry| {
                    Some(match entry {
                        Entry::Decision(mut decision) if (from..to).contains(&at) => {
                            decision.verdict = Verdict::Allow;
                            (decision.rules, decision.reasons) = (Vec::new(), Vec::new());
                            Entry::Decision(decision)
                        }
                        other => other,
                    })
                });
            }
            Self::DropHeads => {
                let is_head = |entry: &Entry| matches!(entry, Entry::Head { .. });
                *lines = change(lines, |_, entry| (!is_head(&entry)).then_some(entry));
            }
            Self::Forge => {
                let last = lines.last().and_then(|l| Record::parse(l.strip_suffix(b"\n")?).ok());
                let first = lines.first().and_then(|l| Record::parse(l.strip_suffix(b"\n")?).ok());
                if let (Some((last, hash)), Some((first, _))) = (last, first)
                    && let Entry::Begin { log } = first.entry
                {
                    let chain = Chain::after(log, last.seq, hash);
                    lines.push(chain.append(last.time, Entry::Open).0.into_bytes());
                }
            }
            Self::Rechain => *lines = rechain(lines),
            Self::Swap(..) => {}
        }
    }
}

/// What is done to the head file.
#[derive(Debug, Clone, Copy)]
enum HeadFile {
    Kept,
    /// That of an earlier session.
    Old(usize),
    Emptied,
    Removed,
}

/// An honest start on what the attacker has left, and verification by who knows the newest head.
fn try_it(scratch: &Scratch, attacked: &Lines, head: HeadFile) {
    let (honest, newest) = past().newest();
    let bytes = attacked.concat();
    std::fs::write(scratch.log(), &bytes).unwrap();
    let old = |n: usize| &past().states[n % past().states.len()].1;
    match head {
        HeadFile::Kept => std::fs::write(scratch.head(), newest).unwrap(),
        HeadFile::Old(n) => std::fs::write(scratch.head(), old(n)).unwrap(),
        HeadFile::Emptied => std::fs::write(scratch.head(), "").unwrap(),
        HeadFile::Removed => drop(std::fs::remove_file(scratch.head())),
    }
    // By who has the newest head: nothing but the log as it was is good.
    let elsewhere = scratch.0.join("elsewhere");
    std::fs::write(&elsewhere, newest).unwrap();
    let report = verify_with(&scratch.log(), Some(key().public()), Some(&elsewhere));
    assert_eq!(report.is_good(), bytes == honest.concat(), "{:?}", report.problems);
    std::fs::remove_file(&elsewhere).unwrap();
    let opened = signed(scratch).open();
    let Ok((log, _)) = opened else {
        assert_eq!(std::fs::read(scratch.log()).unwrap(), bytes, "a refused log is left as it is");
        return;
    };
    log.close().unwrap();
    // By who has the head file as it is now. What is wrong in the middle a writer does not see, and
    // nobody calls the log good for what the writer added.
    let report = verify(scratch);
    if !report.is_good() {
        return;
    }
    let is_beginning = attacked.len() <= 2 && honest.starts_with(attacked);
    let is_prefix = honest.starts_with(attacked);
    match head {
        HeadFile::Kept => assert!(attacked == honest, "{:?}", report.problems),
        // An older pair is what nobody can tell, and the log that goes on from there.
        HeadFile::Old(n) => {
            let known: KnownHead =
                String::from_utf8(old(n).clone()).unwrap().trim().parse().unwrap();
            assert!(is_prefix && attacked.len() as u64 > known.seq, "{known}");
        }
        // Without a head file only a log that has just begun is gone on with.
        HeadFile::Emptied | HeadFile::Removed => {
            let other = &past().other;
            assert!(is_beginning || attacked.len() <= 2 && other.starts_with(attacked));
        }
    }
}

const HEADS: [HeadFile; 4] =
    [HeadFile::Kept, HeadFile::Old(0), HeadFile::Emptied, HeadFile::Removed];

#[test]
fn every_attack_on_one_line_or_a_run_of_lines_is_refused_or_found() {
    let scratch = Scratch::new("enumerated");
    let honest = &past().newest().0;
    let count = honest.len();
    let pairs = || (0..count).flat_map(move |a| (a + 1..=count).map(move |b| (a, b)));
    let mut attacks: Vec<Attack> = pairs().map(|(a, b)| Attack::Cut(a, b)).collect();
    attacks.extend((0..count).flat_map(|a| (0..=count).map(move |at| Attack::Copy(a, a + 1, at))));
    attacks.extend(pairs().filter(|(_, b)| *b < count).map(|(a, b)| Attack::Swap(a, b)));
    attacks.extend(pairs().map(|(a, b)| Attack::Turn(a, b)));
    attacks.extend(
        (0..count).flat_map(|at| (0..6).map(move |from| Attack::Splice(from, from + 2, at))),
    );
    attacks
        .extend((0..count).flat_map(|line| (0..9).map(move |at| Attack::Flip(line, at * 61, 1))));
    attacks.extend([Attack::DropHeads, Attack::Forge]);
    for (number, attack) in attacks.iter().enumerate() {
        let mut lines = honest.clone();
        attack.on(&mut lines);
        let chained = rechain(&lines);
        // With the head file as it is, and made anew with one of the others in turn.
        try_it(&scratch, &lines, HeadFile::Kept);
        try_it(&scratch, &chained, HeadFile::Kept);
        try_it(&scratch, &chained, HEADS[number % HEADS.len()]);
    }
    assert!(attacks.len() > 800, "{}", attacks.len());
}

#[test]
fn every_old_log_with_every_old_head_file_goes_on_only_where_the_log_is_not_older() {
    let scratch = Scratch::new("old-pairs");
    for (lines, _) in &past().states {
        for n in 0..past().states.len() {
            try_it(&scratch, lines, HeadFile::Old(n));
        }
        try_it(&scratch, lines, HeadFile::Emptied);
    }
}

fn attack() -> impl Strategy<Value = Attack> {
    let line = || 0..24_usize;
    prop_oneof![
        (line(), line()).prop_map(|(a, b)| Attack::Cut(a, b)),
        (line(), line(), line()).prop_map(|(a, b, c)| Attack::Copy(a, b, c)),
        (line(), line()).prop_map(|(a, b)| Attack::Swap(a, b)),
        (line(), line(), line()).prop_map(|(a, b, c)| Attack::Splice(a, b, c)),
        (line(), any::<usize>(), any::<u8>()).prop_map(|(a, b, c)| Attack::Flip(a, b, c)),
        (line(), line()).prop_map(|(a, b)| Attack::Turn(a, b)),
        Just(Attack::DropHeads),
        Just(Attack::Forge),
        Just(Attack::Rechain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn attacks_of_several_kinds_at_once_are_refused_or_found(
        state in 0..3_usize,
        attacks in proptest::collection::vec(attack(), 1..5),
        last in any::<bool>(),
        head in 0..6_usize,
    ) {
        let scratch = Scratch::new("random");
        let mut lines = past().states[state].0.clone();
        attacks.iter().for_each(|attack| attack.on(&mut lines));
        if last {
            lines = rechain(&lines);
        }
        let old = HeadFile::Old(head % 3);
        let head = [HeadFile::Kept, HeadFile::Emptied, HeadFile::Removed, old, old, old][head];
        try_it(&scratch, &lines, head);
    }
}

fn denied(times: u64) -> Vec<DenialsRecord> {
    let none = DenialsRecord::none_yet(&Policy::builtin_strict(), PageRule::Shared, "vm");
    vec![DenialsRecord { times, ..none }]
}

#[test]
fn a_writer_that_goes_on_after_others_looks_at_the_log_again() {
    let scratch = Scratch::new("again");
    let (mut log, _) = signed(&scratch).open().unwrap();
    decide(&mut log, 1);
    log.release().unwrap();
    // An honest writer in between.
    session(signed(&scratch), 2);
    log.denials(denied(1)).unwrap();
    assert!(verify(&scratch).is_good());
    let good = (std::fs::read(scratch.log()).unwrap(), std::fs::read(scratch.head()).unwrap());
    // Others between its sessions: each is refused, and nothing is signed.
    let put_back = past().newest();
    type Change<'a> = (&'a str, &'a dyn Fn());
    let changes: [Change<'_>; 5] = [
        ("forged", &|| forge(&scratch.log(), Entry::Open)),
        ("cut", &|| {
            let whole = lines(&scratch.log());
            std::fs::write(scratch.log(), whole[..whole.len() - 3].concat()).unwrap();
        }),
        ("emptied", &|| std::fs::write(scratch.log(), "").unwrap()),
        ("another pair", &|| {
            std::fs::write(scratch.log(), put_back.0.concat()).unwrap();
            std::fs::write(scratch.head(), &put_back.1).unwrap();
        }),
        ("head file emptied", &|| std::fs::write(scratch.head(), "").unwrap()),
    ];
    for (name, change) in changes {
        std::fs::write(scratch.log(), &good.0).unwrap();
        std::fs::write(scratch.head(), &good.1).unwrap();
        let (mut log, _) = signed(&scratch).open().unwrap();
        log.release().unwrap();
        change();
        let before = std::fs::read(scratch.log()).unwrap();
        let error = log.denials(denied(2)).unwrap_err();
        assert_eq!(std::fs::read(scratch.log()).unwrap(), before, "{name}: {error}");
    }
}

#[test]
fn a_torn_line_of_another_writer_is_removed_and_said_between_two_sessions() {
    let scratch = Scratch::new("torn-between");
    let (mut log, _) = signed(&scratch).open().unwrap();
    log.release().unwrap();
    let mut bytes = std::fs::read(scratch.log()).unwrap();
    let seq = lines(&scratch.log()).len();
    bytes.extend(format!("{{\"seq\":{seq},\"time\":\"20").into_bytes());
    std::fs::write(scratch.log(), bytes).unwrap();
    log.denials(denied(1)).unwrap();
    let report = verify(&scratch);
    assert!(report.is_good(), "{:?}", report.problems);
    assert_eq!((report.recovered, report.denials, report.closed), (1, 1, true));
}

#[test]
fn a_dead_clock_and_one_that_goes_back_break_no_session() {
    let scratch = Scratch::new("dead-clock");
    for clock in [|| 0, || u64::MAX, || 5] {
        let (mut log, _) = LogFile { clock, ..signed(&scratch) }.open().unwrap();
        decide(&mut log, 1);
        log.release().unwrap();
        log.denials(denied(1)).unwrap();
        log.denials(denied(2)).unwrap();
    }
    let report = verify(&scratch);
    assert!(report.is_good(), "{:?}", report.problems);
    assert_eq!((report.denials, report.decisions, report.clock_back), (6, 3, 1));
}
