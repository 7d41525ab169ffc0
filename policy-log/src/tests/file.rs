//! The log as a file: restarts, crashes in mid-write, other writers, what is no log, keys.

use super::*;
use casemate_files::FileError;

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

/// Protects who writes a log from who may only read it: whatever they lock, it is not what writers
/// lock, and that they cannot open. Cannot tell of who may write it: they can do worse.
#[test]
fn a_reader_of_a_log_cannot_hold_its_writers_up() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("readers");
    session(signed(&scratch), 1);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let lock = crate::lock_path(&scratch.log());
    assert_eq!((mode(&lock), std::fs::metadata(&lock).unwrap().len()), (0o600, 0));
    let readers: Vec<_> =
        [scratch.log(), scratch.head()].map(|path| std::fs::File::open(path).unwrap()).into();
    readers.iter().for_each(|file| file.lock().unwrap());
    session(LogFile { wait: Duration::ZERO, ..signed(&scratch) }, 1);
    // Whom its owner lets write it can have the lock, and nobody else.
    for (log, wanted) in [(0o644, 0o600), (0o660, 0o660), (0o666, 0o666)] {
        std::fs::remove_file(&lock).unwrap();
        let permissions = std::fs::Permissions::from_mode(log);
        std::fs::set_permissions(scratch.log(), permissions).unwrap();
        session(LogFile { wait: Duration::ZERO, ..signed(&scratch) }, 1);
        assert_eq!(mode(&lock), wanted, "{log:o}");
    }
    // What is there under its name is locked only if it is a file.
    std::fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink("elsewhere", &lock).unwrap();
    assert!(matches!(refused(&scratch, signed(&scratch)), LogError::BadFile { .. }));
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
        assert!(
            matches!(read_key(&path), Err(LogError::File(FileError::Shared { .. }))),
            "{mode:o}"
        );
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
