//! The log as a file: restarts, crashes in mid-write, what a writer refuses to extend, head files, keys.
//!
//! An attacker here can write the log and, where a test says so, the head file, and has no key.

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

#[test]
fn a_log_with_a_key_begins_with_a_head_over_its_identity_and_closes_with_one() {
    let scratch = Scratch::new("restart");
    assert_eq!(session(signed(&scratch), 5), Recovery::default());
    let begin = lines(&scratch.log());
    assert!(matches!(record(&begin[0]).0.entry, Entry::Begin { .. }));
    assert!(matches!(record(&begin[1]).0.entry, Entry::Head { closed: false, .. }));
    assert!(session(signed(&scratch), 3).next > 0);
    let report = verify(&scratch);
    assert!(report.is_good(), "{:?}", report.problems);
    assert_eq!((report.decisions, report.unsigned, report.closed), (8, 0, true));
}

#[test]
fn two_logs_have_two_identities() {
    let (one, other) = (Scratch::new("one"), Scratch::new("other"));
    session(signed(&one), 0);
    session(signed(&other), 0);
    assert_ne!(lines(&one.log())[0], lines(&other.log())[0]);
}

#[test]
fn a_crash_at_any_byte_of_a_write_is_recovered_from_or_said() {
    let scratch = Scratch::new("torn");
    session(signed(&scratch), 2);
    let (whole, head) = (std::fs::read(scratch.log()).unwrap(), scratch.head());
    let all = lines(&scratch.log());
    // The last decision and its head are one write, and so is the closing head.
    let before: usize = all[..all.len() - 3].iter().map(Vec::len).sum();
    let record = before + all[all.len() - 3].len();
    std::fs::remove_file(&head).unwrap();
    for cut in before..whole.len() {
        std::fs::write(scratch.log(), &whole[..cut]).unwrap();
        let file = LogFile { head: None, ..signed(&scratch) };
        let unsigned = (record..record + all[all.len() - 2].len()).contains(&cut);
        if unsigned {
            // A whole decision without its head: nobody can tell who wrote it.
            let error = refused(&scratch, file);
            assert!(matches!(error, LogError::Unvouched { .. }), "cut at {cut}: {error}");
            continue;
        }
        let recovery = session(file, 0);
        let torn = whole[..cut].iter().rev().take_while(|b| **b != b'\n').count();
        assert_eq!(recovery.dropped, torn as u64);
        let report = verify_with(&scratch.log(), Some(key().public()), None);
        assert!(report.is_good(), "cut at {cut}: {:?}", report.problems);
        assert_eq!(report.recovered, u64::from(torn > 0), "the log says that it was torn");
    }
}

#[test]
fn a_forged_log_is_not_signed_by_the_next_honest_start() {
    let scratch = Scratch::new("forged");
    session(signed(&scratch), 3);
    without_heads(&scratch.log());
    let error = refused(&scratch, LogFile { head: None, ..signed(&scratch) });
    assert!(matches!(error, LogError::Unvouched { .. }), "{error}");
    assert!(matches!(refused(&scratch, signed(&scratch)), LogError::Cut { .. }));
}

#[test]
fn a_forged_record_behind_the_last_head_is_not_signed_by_the_next_honest_start() {
    let decided = {
        let (policy, facts) = (Policy::builtin_permissive(), Facts::new());
        let decision = policy.decide(Point::Egress, &facts);
        assert!(decision.is_allow());
        casemate_policy::log::DecisionRecord::new([0; 32], Point::Egress, &facts, &decision)
    };
    let forgeries = [
        Entry::Decision(decided),
        Entry::Open,
        Entry::Recovered { dropped: 1 },
        Entry::Adopted { records: 9 },
    ];
    for entry in forgeries {
        let scratch = Scratch::new("behind");
        session(signed(&scratch), 2);
        forge(&scratch.log(), entry);
        let error = refused(&scratch, signed(&scratch));
        assert!(matches!(error, LogError::Unvouched { .. }), "{error}");
        // Without the key it is refused, too: nothing unsigned gets into a signed log.
        assert!(matches!(refused(&scratch, plain(&scratch)), LogError::KeyNeeded { .. }));
    }
}

#[test]
fn a_head_of_another_key_of_another_log_or_of_no_key_vouches_for_nothing() {
    let scratch = Scratch::new("heads");
    session(signed(&scratch), 1);
    let other = SigningKey::from_seed(&[8; 32]);
    let file = LogFile { key: other, ..signed(&scratch) };
    assert!(matches!(refused(&scratch, file), LogError::OtherKey { .. }));
    let Entry::Begin { log } = record(&lines(&scratch.log())[0]).0.entry else { panic!("no log") };
    let public = key().public().0;
    let bare = Entry::Head { log, closed: true, key: public, signature: [0; 64] };
    let good = std::fs::read(scratch.log()).unwrap();
    forge(&scratch.log(), bare);
    assert!(matches!(refused(&scratch, signed(&scratch)), LogError::Damaged { .. }));
    // The closing head of another log of the same key, word for word.
    let elsewhere = Scratch::new("elsewhere");
    session(signed(&elsewhere), 1);
    let (closing, _) = record(lines(&elsewhere.log()).last().unwrap());
    std::fs::write(scratch.log(), good).unwrap();
    forge(&scratch.log(), closing.entry);
    let error = refused(&scratch, signed(&scratch));
    assert!(error.to_string().contains("another log"), "{error}");
    // Taking over is for what nobody signed, not for what somebody else signed or broke.
    let file = LogFile { adopt: true, ..signed(&scratch) };
    assert!(matches!(refused(&scratch, file), LogError::Damaged { .. }));
}

#[test]
fn every_cut_of_a_log_that_its_head_file_knows_stops_the_start() {
    for keyed in [true, false] {
        let scratch = Scratch::new(&format!("cut-{keyed}"));
        let file = || if keyed { signed(&scratch) } else { plain(&scratch) };
        session(file(), 2);
        session(file(), 2);
        let all = lines(&scratch.log());
        for keep in 0..all.len() {
            std::fs::write(scratch.log(), all[..keep].concat()).unwrap();
            let error = refused(&scratch, file());
            assert!(matches!(error, LogError::Cut { .. }), "{keep} lines: {error}");
            let adopting = LogFile { adopt: true, ..file() };
            assert!(matches!(refused(&scratch, adopting), LogError::Cut { .. }));
        }
        std::fs::remove_file(scratch.log()).unwrap();
        assert!(matches!(refused(&scratch, file()), LogError::Cut { .. }));
        assert!(!scratch.log().exists());
        std::fs::write(scratch.log(), all.concat()).unwrap();
        session(file(), 1);
    }
}

#[test]
fn another_log_under_the_name_of_one_that_the_head_file_knows_stops_the_start() {
    let (scratch, other) = (Scratch::new("mine"), Scratch::new("theirs"));
    session(signed(&scratch), 1);
    session(signed(&other), 9);
    std::fs::copy(other.log(), scratch.log()).unwrap();
    assert!(matches!(refused(&scratch, signed(&scratch)), LogError::Cut { .. }));
    // An unsigned log made anew, of as many records.
    let scratch = Scratch::new("unsigned");
    session(plain(&scratch), 3);
    std::fs::remove_file(scratch.log()).unwrap();
    let kept = std::fs::read(scratch.head()).unwrap();
    std::fs::remove_file(scratch.head()).unwrap();
    session(plain(&scratch), 3);
    std::fs::write(scratch.head(), kept).unwrap();
    assert!(matches!(refused(&scratch, plain(&scratch)), LogError::Cut { .. }));
}

#[test]
fn a_head_file_that_is_gone_or_broken_stops_the_start() {
    let scratch = Scratch::new("head-gone");
    session(signed(&scratch), 1);
    std::fs::remove_file(scratch.head()).unwrap();
    assert!(matches!(refused(&scratch, signed(&scratch)), LogError::HeadMissing { .. }));
    for broken in ["", "12", "1:zz", "\u{1b}[2J", "-1:00"] {
        std::fs::write(scratch.head(), broken).unwrap();
        assert!(matches!(refused(&scratch, signed(&scratch)), LogError::BadFile { .. }));
    }
    std::fs::remove_file(scratch.head()).unwrap();
    session(LogFile { adopt: true, ..signed(&scratch) }, 1);
    assert!(verify(&scratch).is_good());
}

/// What the note in SECURITY.md is about. Only a head that the attacker cannot write finds it.
#[test]
fn log_and_head_file_put_back_together_are_found_by_a_head_kept_elsewhere_only() {
    let scratch = Scratch::new("back");
    session(signed(&scratch), 1);
    let old = (std::fs::read(scratch.log()).unwrap(), std::fs::read(scratch.head()).unwrap());
    session(signed(&scratch), 1);
    let elsewhere = scratch.0.join("elsewhere");
    std::fs::copy(scratch.head(), &elsewhere).unwrap();
    std::fs::write(scratch.log(), old.0).unwrap();
    std::fs::write(scratch.head(), old.1).unwrap();
    session(signed(&scratch), 1);
    assert!(verify(&scratch).is_good());
    let report = verify_with(&scratch.log(), Some(key().public()), Some(&elsewhere));
    assert_eq!(report.problems[0].kind, ProblemKind::KnownHeadMissing);
}

#[test]
fn a_log_without_a_head_is_taken_over_by_name_and_says_so() {
    let scratch = Scratch::new("adopt");
    session(LogFile::new(&scratch.log()), 4);
    let error = refused(&scratch, signed(&scratch));
    assert!(error.to_string().contains("--adopt"), "{error}");
    let recovery = session(LogFile { adopt: true, ..signed(&scratch) }, 1);
    assert_eq!(recovery.adopted, recovery.next);
    let report = verify(&scratch);
    assert!(report.is_good(), "{:?}", report.problems);
    assert_eq!(report.adopted, recovery.adopted);
    // From then on it is a signed log like any other.
    assert_eq!(session(signed(&scratch), 1).adopted, 0);
    assert!(verify(&scratch).is_good());
}

#[test]
fn a_file_that_is_no_log_is_not_touched() {
    let scratch = Scratch::new("other");
    let seed = "a3".repeat(32);
    let no_logs: [&[u8]; 8] = [
        b"hello\n",
        seed.as_bytes(),
        b"{\"seq\":0,\"time\":\"",
        b"\n",
        b"\0",
        b"{}\n",
        &[b'x'; 300_000],
        &[b'\n'; 300_000],
    ];
    for bytes in no_logs {
        std::fs::write(scratch.log(), bytes).unwrap();
        for file in [signed(&scratch), plain(&scratch), LogFile { adopt: true, ..signed(&scratch) }]
        {
            assert!(matches!(refused(&scratch, file), LogError::NotALog { .. }));
        }
    }
    // A log with something else behind it.
    std::fs::remove_file(scratch.log()).unwrap();
    session(LogFile { head: None, ..signed(&scratch) }, 1);
    let good = std::fs::read(scratch.log()).unwrap();
    for behind in ["x", "{\"seq\":99,", "\n", "\0\0\0", "{\"seq\":0,\"time\":\""] {
        std::fs::write(scratch.log(), [&good, behind.as_bytes()].concat()).unwrap();
        let error = refused(&scratch, LogFile { head: None, ..signed(&scratch) });
        assert!(matches!(error, LogError::NotALog { .. } | LogError::Damaged { .. }), "{error}");
    }
}

#[test]
fn links_pipes_folders_and_devices_are_not_followed_or_waited_for() {
    let scratch = Scratch::new("links");
    let victim = scratch.0.join("victim");
    std::fs::write(&victim, "").unwrap();
    symlink(&victim, scratch.log()).unwrap();
    assert!(matches!(refused(&scratch, signed(&scratch)), LogError::NotALog { .. }));
    std::fs::remove_file(scratch.log()).unwrap();
    symlink(scratch.0.join("nothing"), scratch.log()).unwrap();
    assert!(matches!(refused(&scratch, signed(&scratch)), LogError::NotALog { .. }));
    std::fs::remove_file(scratch.log()).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let make =
        || rustix::fs::mknodat(rustix::fs::CWD, scratch.0.join("fifo"), fifo, mode, 0).unwrap();
    make();
    for no_file in [scratch.0.join("fifo"), scratch.0.clone(), PathBuf::from("/dev/null")] {
        let file = LogFile { key: Some(key()), ..LogFile::new(&no_file) };
        assert!(file.open().is_err(), "{no_file:?}");
        assert!(read_key(&no_file).is_err(), "{no_file:?}");
        let file = LogFile { head: Some(no_file.clone()), ..LogFile::new(&scratch.log()) };
        assert!(file.open().is_err(), "{no_file:?}");
        let _ = std::fs::remove_file(scratch.log());
    }
    // Temporary names that were planted for the head file lead nowhere either.
    symlink(&victim, scratch.head()).unwrap();
    for number in 0..64 {
        let name = format!("head.new-{}", std::process::id() + number);
        symlink(&victim, scratch.0.join(name)).unwrap();
    }
    std::fs::write(&victim, "1:00").unwrap();
    let file = signed(&scratch);
    assert!(file.open().is_err());
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "1:00");
    std::fs::remove_file(scratch.head()).unwrap();
    let _ = std::fs::remove_file(scratch.log());
    session(signed(&scratch), 1);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "1:00");
    assert!(scratch.head().symlink_metadata().unwrap().is_file());
}

#[test]
fn a_second_writer_waits_for_the_first_and_not_for_ever() {
    let scratch = Scratch::new("wait");
    let (mut first, _) = signed(&scratch).open().unwrap();
    let file = LogFile { wait: Duration::from_millis(30), ..signed(&scratch) };
    assert!(matches!(refused(&scratch, file), LogError::Busy { .. }));
    let second = signed(&scratch);
    let waiting = std::thread::spawn(move || session(second, 1));
    decide(&mut first, 2);
    first.close().unwrap();
    waiting.join().unwrap();
    let report = verify(&scratch);
    assert!(report.is_good(), "{:?}", report.problems);
    assert_eq!(report.decisions, 3);
}

#[test]
fn writers_that_start_at_once_on_a_new_log_each_have_their_turn() {
    for keyed in [true, false] {
        let scratch = Scratch::new(&format!("many-{keyed}"));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let file = if keyed { signed(&scratch) } else { plain(&scratch) };
                    session(LogFile { wait: Duration::from_secs(120), ..file }, 2);
                });
            }
        });
        let key = keyed.then(|| key().public());
        let report = verify_with(&scratch.log(), key, Some(&scratch.head()));
        assert!(report.is_good(), "{:?}", report.problems);
        assert_eq!(report.decisions, 16);
    }
}

#[test]
fn a_line_that_somebody_adds_without_the_lock_is_noticed_before_anything_is_signed() {
    let scratch = Scratch::new("foreign");
    let (mut log, _) = signed(&scratch).open().unwrap();
    decide(&mut log, 1);
    forge(&scratch.log(), Entry::Open);
    let record = |log: &mut DecisionLog| {
        let (policy, facts) = (Policy::builtin_strict(), Facts::new());
        let decision = policy.decide(Point::Access, &facts);
        log.decision(policy.hash(), Point::Access, &facts, &decision)
    };
    assert!(matches!(record(&mut log), Err(LogError::Changed { .. })));
    assert!(matches!(log.close(), Err(LogError::Changed { .. })));
    let report = verify(&scratch);
    assert_eq!(report.problems[0].kind, ProblemKind::UnsignedEnd(1));
}

#[test]
fn clocks_that_stand_still_or_go_back_break_nothing_and_are_reported() {
    let scratch = Scratch::new("clock");
    session(LogFile { clock: || 1_795_620_817_000_000, ..signed(&scratch) }, 2);
    assert_eq!(verify(&scratch).clock_back, 0);
    session(LogFile { clock: || 0, ..signed(&scratch) }, 2);
    session(LogFile { clock: || u64::MAX, ..signed(&scratch) }, 2);
    session(LogFile { clock: || 1, ..signed(&scratch) }, 2);
    let report = verify(&scratch);
    assert!(report.is_good(), "{:?}", report.problems);
    assert_eq!((report.clock_back, report.decisions), (2, 8));
}

#[test]
fn a_key_is_its_owners_alone_or_refused() {
    let scratch = Scratch::new("key");
    let path = scratch.0.join("key");
    let (public, public_path) = generate_key(&path).unwrap();
    assert_eq!(read_key(&path).unwrap().public(), public);
    assert_eq!(crate::read_public_key(&public_path).unwrap(), public);
    for mode in [0o640, 0o604, 0o660, 0o601, 0o777, 0o444] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(read_key(&path), Err(LogError::OpenKey { .. })), "{mode:o}");
    }
    for mode in [0o600, 0o400] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(read_key(&path).is_ok(), "{mode:o}");
    }
    // Neither half is written over, nor through a link, and one without the other is not left.
    let names = scratch.names();
    assert!(generate_key(&path).is_err());
    let second = scratch.0.join("second");
    symlink(&path, &second).unwrap();
    assert!(generate_key(&second).is_err());
    std::fs::remove_file(&second).unwrap();
    assert_eq!(scratch.names(), names);
    assert_eq!(read_key(&path).unwrap().public(), public);
}
