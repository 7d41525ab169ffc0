//! What a writer refuses to extend: forged ends, foreign heads, cut and replaced logs.

use super::*;

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
    // Emptied is as good as removed.
    std::fs::write(scratch.head(), "").unwrap();
    assert!(matches!(refused(&scratch, signed(&scratch)), LogError::HeadMissing { .. }));
    for broken in ["12", "1:zz", "\u{1b}[2J", "-1:00"] {
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
