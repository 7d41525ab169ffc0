//! Protects a guest's session from answers in any order: whatever comes, it asks a bounded number
//! of times, proves itself twice at most, ends with secrets or with a word, and never panics.
//! Cannot tell what a real broker decides; `exchange.rs` does.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use casemate_broker_client::{Answer, ClientError, Next, Session};
use casemate_kbs::{
    Challenge, Draws, ErrorInformation, Kind, Nonce, Resource, Sealed, SessionKey, TokenAnswer,
};
use proptest::prelude::*;
use std::time::Duration;

fn key(byte: u8) -> SessionKey {
    SessionKey::new(&[byte; 32]).unwrap()
}

fn session(names: &[&str]) -> Session {
    let wanted = names.iter().map(|name| Resource::read(name).unwrap()).collect();
    Session::new(key(3), wanted, None)
}

fn answer(status: u16, body: String) -> Answer {
    Answer { status, body: body.into_bytes(), ..Answer::default() }
}

fn challenge() -> Answer {
    let challenge = answer(200, Challenge { nonce: Nonce([9; 32]) }.to_json());
    Answer { session: Some("first".into()), ..challenge }
}

fn token() -> Answer {
    let token = answer(200, TokenAnswer { token: "a.b.c".into() }.to_json());
    Answer { session: Some("second".into()), ..token }
}

fn secret(to: &SessionKey, secret: &[u8]) -> Answer {
    let draws = Draws::new(&[5; 76]).unwrap();
    answer(200, Sealed::new(&to.public(), secret, &draws).unwrap().to_json())
}

fn refusal(status: u16) -> Answer {
    answer(status, ErrorInformation::new(Kind::PolicyDeny, "no \u{1b}[2J").to_json())
}

/// What is asked, as `METHOD path cookie`.
fn asked(session: &mut Session) -> String {
    let Next::Ask(request) = session.step() else { panic!("nothing is asked") };
    let method = if request.body.is_some() { "POST" } else { "GET" };
    format!("{method} {} {}", request.path, request.cookie.unwrap_or_default())
}

/// To the first secret's question.
fn attested(names: &[&str]) -> Session {
    let mut session = session(names);
    session.answer(&challenge()).unwrap();
    session.evidence(Some(&[0; 1184])).unwrap();
    session.answer(&token()).unwrap();
    session
}

#[test]
fn a_challenge_a_proof_and_a_secret_after_the_other_are_asked_for() {
    let mut session = session(&["a/b/c", "a/b/d"]);
    assert_eq!(asked(&mut session), "POST /kbs/v0/auth ");
    session.answer(&challenge()).unwrap();
    let Next::Report(data) = session.step() else { panic!() };
    assert!(data[48..] == [0; 16] && data[..48] != [0; 48]);
    session.evidence(Some(&[0; 1184])).unwrap();
    assert_eq!(asked(&mut session), "POST /kbs/v0/attest kbs-session-id=first");
    session.answer(&token()).unwrap();
    assert_eq!(asked(&mut session), "GET /kbs/v0/resource/a/b/c kbs-session-id=second");
    session.answer(&secret(&key(3), b"one")).unwrap();
    assert_eq!(asked(&mut session), "GET /kbs/v0/resource/a/b/d kbs-session-id=second");
    session.answer(&secret(&key(3), b"")).unwrap();
    let Next::Done(secrets) = session.step() else { panic!() };
    assert_eq!((&secrets[0][..], &secrets[1][..]), (&b"one"[..], &b""[..]));
}

/// A session that has ended in the middle is begun once more, with what came before kept.
#[test]
fn an_end_of_the_session_is_a_second_proof_and_no_third() {
    let mut session = attested(&["a/b/c", "a/b/d"]);
    session.answer(&secret(&key(3), b"one")).unwrap();
    session.answer(&refusal(401)).unwrap();
    assert_eq!(asked(&mut session), "POST /kbs/v0/auth ");
    session.answer(&challenge()).unwrap();
    session.evidence(Some(&[0; 1184])).unwrap();
    session.answer(&token()).unwrap();
    assert_eq!(asked(&mut session), "GET /kbs/v0/resource/a/b/d kbs-session-id=second");
    // Trustee's word for every refusal.
    let refused = session.answer(&refusal(401)).unwrap_err();
    assert!(matches!(&refused, ClientError::Denied { resource, .. } if resource == "a/b/d"));
    assert!(!refused.to_string().contains('\u{1b}'), "{refused}");
}

#[test]
fn each_refusal_has_its_word() {
    let fetch = |answer: Answer| attested(&["a/b/c"]).answer(&answer).unwrap_err();
    assert!(matches!(fetch(refusal(403)), ClientError::Denied { .. }));
    assert!(matches!(fetch(refusal(404)), ClientError::NoSecret(name) if name == "a/b/c"));
    assert!(matches!(fetch(refusal(500)), ClientError::Failed { status: 500, .. }));
    assert!(matches!(fetch(answer(403, "<html>".into())), ClientError::Denied { .. }));
    assert!(matches!(fetch(answer(200, "{}".into())), ClientError::Protocol(_)));
    assert!(matches!(fetch(secret(&key(4), b"x")), ClientError::NotSealedToUs(_)));
    let mut early = session(&["a/b/c"]);
    early.answer(&challenge()).unwrap();
    early.evidence(None).unwrap();
    assert!(matches!(early.answer(&refusal(403)), Err(ClientError::NotProven(_))));
}

#[test]
fn a_broker_that_is_busy_is_asked_again_a_few_times_and_never_waited_for_long() {
    let mut session = session(&["a/b/c"]);
    let busy = Answer { retry_after: Some(u64::MAX), ..refusal(429) };
    let mut waits = 0;
    while session.answer(&busy).is_ok() {
        let Next::Wait(wait) = session.step() else { panic!() };
        assert!(wait <= Duration::from_secs(10));
        assert_eq!(asked(&mut session), "POST /kbs/v0/auth ");
        waits += 1;
    }
    assert_eq!(waits, 5);
}

proptest! {
    #[test]
    fn every_order_of_answers_ends(which in prop::collection::vec(0_usize..9, 0..60)) {
        let mut session = session(&["a/b/c", "a/b/d", "a/b/e"]);
        let (mut proofs, mut over) = (0, false);
        for which in which {
            match session.step() {
                Next::Done(secrets) => {
                    prop_assert_eq!(secrets.len(), 3);
                    over = true;
                }
                Next::Report(_) => {
                    proofs += 1;
                    session.evidence(Some(&[0; 1184])).unwrap();
                }
                Next::Wait(_) => {}
                Next::Ask(_) => {
                    let answer = match which {
                        0 => challenge(),
                        1 => token(),
                        2 | 3 => secret(&key(3), b"s"),
                        4 => secret(&key(4), b"s"),
                        5 => refusal(401),
                        6 => refusal(429),
                        7 => answer(200, "{".into()),
                        _ => answer(0, String::new()),
                    };
                    over = session.answer(&answer).is_err();
                }
            }
            if over {
                break;
            }
        }
        prop_assert!(proofs <= 2);
    }

    /// The manifest's grammar and the protocol's are the same one, written down twice.
    #[test]
    fn a_secret_that_an_image_names_is_one_that_can_be_asked_for(
        name in "([a-z._/-]{0,9}|[a-zA-Z0-9._-]{1,4}/[a-zA-Z0-9._-]{1,4}/[ -~]{1,4})",
    ) {
        use casemate_manifest::*;
        let hash = "ab".repeat(32);
        let manifest = Manifest {
            version: VERSION,
            built: Built { casemate: String::new(), image: None },
            boot: Boot {
                kernel: hash.clone(),
                initrd: hash.clone(),
                init: hash.clone(),
                modules: Vec::new(),
            },
            process: Process {
                program: "/a".into(),
                args: vec!["a".into()],
                env: Vec::new(),
                user: User { uid: 0, gid: 0, groups: Vec::new() },
                working_dir: "/".into(),
                stop_signal: 15,
                ports: Vec::new(),
            },
            console: Console::None,
            debug: false,
            results: Results::default(),
            secrets: vec![Secret { resource: name.clone(), file: "f".into() }],
            broker: Some(Broker::Measured(Keys { keys: vec![hash] })),
            time_floor: 0,
        };
        prop_assert_eq!(manifest.to_bytes().is_ok(), Resource::read(&name).is_ok());
    }
}
