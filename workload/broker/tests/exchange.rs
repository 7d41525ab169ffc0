//! Whole exchanges of guests with a broker, with a MODEL of the security processor.
//!
//! Protects what each request is answered with, and that the answer follows from what was proven
//! and from the policy. The store of secrets is one in memory: what lasts is the store's to show.
//! Cannot tell what a real guest does with an answer beyond what the vectors of `formats/kbs` hold.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use base64ct::Encoding;
use casemate_attestation::evidence::Evidence;
use casemate_attestation::report::Generation;
use casemate_broker::stores::{SessionId, Stores, Unavailable};
use casemate_broker::{Call, Event};
use casemate_kbs::{InitData, TokenAnswer, bearer_header, cookie_header, snp_evidence};
use casemate_policy::{Policy, Verdict};
use ring::rand::SystemRandom;
use support::{
    Client, INITDATA, Machine, Memory, NOW, Nothing, broker, detail, grant, policy, policy_text,
};

#[test]
fn a_guest_that_proves_what_it_is_gets_its_secret() {
    let broker = broker(policy(&grant("acme/db/*", "")));
    let secrets = Memory::with(&[("acme/db/password", "swordfish")]);
    let mut client = Client::new(&broker, &secrets, 3);
    client.attest();
    let answer = client.get("acme/db/password");
    assert_eq!(client.open(&answer), b"swordfish");
    let Event::Released { grant, version, uses, .. } = answer.told.event else { panic!() };
    assert_eq!((grant.as_str(), version, uses), ("acme/db/*", 1, 1));
    assert_eq!(answer.told.decisions.len(), 1);
    assert_eq!(answer.told.decisions[0].verdict, Verdict::Allow);
    // With the token as well, as a client that was attested elsewhere would ask.
    let token = bearer_header(&client.cookie);
    let call = Call {
        method: "GET",
        path: "/kbs/v0/resource/acme/db/password",
        authorization: Some(token.as_bytes()),
        ..Call::default()
    };
    assert_eq!(client.open(&client.call(&call)), b"swordfish");
}

/// The statuses are part of the protocol: the real client attests again after 401, and ends with
/// the reason after 403 and 404.
#[test]
fn each_refusal_has_its_status_and_its_reason() {
    let grants = [grant("acme/db/*", ""), grant("acme/none/*", "")].concat();
    let broker = broker(policy(&grants));
    let secrets = Memory::with(&[("acme/db/password", "swordfish"), ("other/db/key", "x")]);
    let mut client = Client::new(&broker, &secrets, 3);
    let without = client.get("acme/db/password");
    assert_eq!(without.status, 400, "an empty cookie is no cookie: {without:?}");
    client.challenge();
    let before = client.get("acme/db/password");
    assert_eq!(before.status, 401);
    assert!(before.headers.contains(&("WWW-Authenticate", "Bearer".into())));
    assert!(detail(&before).starts_with("attest first"), "{}", detail(&before));
    client.attest();
    for (resource, status, reason) in [
        ("other/db/key", 403, "no grant covers"),
        ("acme/none/x", 404, "there is no secret acme/none/x"),
        ("acme/db/nothing", 404, "there is no secret"),
        ("acme/db", 404, "repository/type/tag"),
        ("acme/../db", 404, "segment"),
        ("acme/db/password?version=1", 404, "segment"),
    ] {
        let answer = client.get(resource);
        assert_eq!(answer.status, status, "{resource}");
        assert!(detail(&answer).contains(reason), "{resource}: {}", detail(&answer));
    }
    for (method, path) in [
        ("POST", "/kbs/v0/resource/acme/db/password"),
        ("DELETE", "/kbs/v0/resource/acme/db/password"),
        ("GET", "/kbs/v0/auth"),
        ("GET", "/kbs/v0/attest"),
        ("POST", "/kbs/v0/resource-policy"),
        ("GET", "/metrics"),
    ] {
        let answer = client.call(&Call { method, path, ..Call::default() });
        assert_eq!(answer.status, 404, "{method} {path}");
    }
    let body = br#"{"version":"0.1.0","tee":"snp","extra-params":""}"#;
    let call = Call { method: "POST", path: "/kbs/v0/auth", body, ..Call::default() };
    assert_eq!(client.call(&call).status, 400);
    assert_eq!(secrets.count("acme/none/*"), 0, "what is not there costs no use");
}

/// A host that drops answers must not be able to use up what its guest may have.
#[test]
fn a_use_counts_once_for_each_session_key() {
    let broker = broker(policy(&grant("acme/db/*", "")));
    let secrets = Memory::with(&[("acme/db/password", "a"), ("acme/db/other", "b")]);
    let mut first = Client::new(&broker, &secrets, 3);
    first.attest();
    for _ in 0..5 {
        assert_eq!(first.open(&first.get("acme/db/password")), b"a");
        assert_eq!(first.open(&first.get("acme/db/other")), b"b");
    }
    // Attested again with the same key, as the real client does when an answer was lost.
    first.attest();
    assert_eq!(first.open(&first.get("acme/db/password")), b"a");
    assert_eq!(secrets.count("acme/db/*"), 1);
    let mut second = Client::new(&broker, &secrets, 4);
    second.attest();
    assert_eq!(second.open(&second.get("acme/db/password")), b"a");
    let mut third = Client::new(&broker, &secrets, 5);
    third.attest();
    let refused = third.get("acme/db/password");
    assert_eq!(refused.status, 403);
    assert!(detail(&refused).contains("uses"), "{}", detail(&refused));
    assert_eq!(secrets.count("acme/db/*"), 2);
    assert_eq!(first.open(&first.get("acme/db/password")), b"a");
}

#[test]
fn a_use_that_another_session_takes_first_is_decided_anew() {
    let broker = broker(policy(&grant("acme/db/*", "")));
    let secrets = Memory::with(&[("acme/db/password", "a")]);
    let mut client = Client::new(&broker, &secrets, 3);
    client.attest();
    secrets.between.borrow_mut().push(SessionId([1; 32]));
    let answer = client.get("acme/db/password");
    let Event::Released { uses, .. } = answer.told.event else { panic!("{answer:?}") };
    assert_eq!(uses, 2);
    let mut late = Client::new(&broker, &secrets, 4);
    late.attest();
    assert_eq!(late.get("acme/db/password").status, 403);
    // The last use goes to another between question and count.
    secrets.uses.borrow_mut().clear();
    secrets.between.borrow_mut().extend([SessionId([1; 32]), SessionId([2; 32])]);
    assert_eq!(late.get("acme/db/password").status, 403);
}

#[test]
fn the_age_of_a_session_and_the_window_of_a_grant_are_by_the_given_clock() {
    let grants = [
        grant("a/b/young", "session_age = 60"),
        grant("a/b/old", "session_age = 299"),
        grant(
            "a/b/past",
            "window = { from = \"2026-01-01T00:00:00Z\", until = \"2026-02-01T00:00:00Z\" }",
        ),
    ];
    let broker = broker(policy(&grants.concat()));
    let secrets = Memory::with(&[("a/b/young", "y"), ("a/b/old", "o"), ("a/b/past", "p")]);
    let mut client = Client::new(&broker, &secrets, 3);
    client.attest();
    assert!(detail(&client.get("a/b/past")).contains("window"));
    for (later, young, old) in [(60, 200, 200), (61, 403, 200), (299, 403, 200), (300, 401, 401)] {
        client.now = NOW + later;
        assert_eq!(client.get("a/b/young").status, young, "{later}");
        assert_eq!(client.get("a/b/old").status, old, "{later}");
    }
    client.now = NOW - 1;
    assert_eq!(client.get("a/b/old").status, 401, "before it began");
}

/// Evidence that is sent again later opens a session for the same key, and no younger one.
#[test]
fn a_session_is_as_old_as_its_challenge() {
    let broker = broker(policy(&grant("a/b/c", "session_age = 60")));
    let secrets = Memory::with(&[("a/b/c", "s")]);
    let mut client = Client::new(&broker, &secrets, 3);
    let challenge = client.challenge();
    let attestation = client.machine.attestation(challenge.nonce, &client.key);
    client.now += 100;
    let answer = client.post(&attestation);
    assert_eq!(answer.status, 200);
    let max_age = answer.headers.iter().any(|(_, value)| value.contains("Max-Age=200;"));
    assert!(max_age, "{:?}", answer.headers);
    client.keep_cookie(&answer);
    let refused = client.get("a/b/c");
    assert_eq!(refused.status, 403);
    assert!(detail(&refused).contains("session_age"), "{}", detail(&refused));
}

#[test]
fn a_challenge_ends_and_is_not_of_the_future() {
    let broker = broker(policy(""));
    let secrets = Memory::default();
    let mut client = Client::new(&broker, &secrets, 3);
    let challenge = client.challenge();
    let attestation = client.machine.attestation(challenge.nonce, &client.key);
    for (now, status) in [(NOW - 1, 401), (NOW, 200), (NOW + 299, 200), (NOW + 300, 401)] {
        client.now = now;
        assert_eq!(client.post(&attestation).status, status, "{now}");
    }
}

#[test]
fn evidence_that_does_not_hold_opens_no_session_and_says_what() {
    let broker = broker(policy(&grant("a/b/c", "")));
    let secrets = Memory::default();
    let mut client = Client::new(&broker, &secrets, 3);
    let challenge = client.challenge();
    let good = client.machine.attestation(challenge.nonce, &client.key);
    let refused = |attestation: &_, reason: &str| {
        let answer = client.post(attestation);
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(detail(&answer).contains(reason), "{reason}: {}", detail(&answer));
        assert!(answer.told.decisions.iter().all(|one| one.verdict == Verdict::Allow));
    };
    // A report for other data, by another chip, altered, and without its certificate.
    let mut other = good.clone();
    other.evidence = snp_evidence(&client.machine.report([1; 64])).unwrap();
    refused(&other, "REPORT_DATA: 0101");
    let stranger = Machine::new(Generation::Turin);
    refused(&stranger.attestation(challenge.nonce, &client.key), "CHIP_ID");
    let mut altered = client.machine.report(good.runtime.report_data());
    altered[0x90] ^= 1;
    other.evidence = snp_evidence(&altered).unwrap();
    refused(&other, "REPORT_SIGNATURE");
    other = good.clone();
    let body = INITDATA.replace('b', "c");
    other.init_data = Some(InitData { format: "toml".into(), body });
    refused(&other, "HOST_DATA");
    let body = good.to_json().unwrap();
    let cookie = cookie_header(&client.cookie);
    let call = Call {
        method: "POST",
        path: "/kbs/v0/attest",
        cookie: Some(cookie.as_bytes()),
        body: body.as_bytes(),
        ..Call::default()
    };
    let (entropy, secrets) = (&SystemRandom::new(), &secrets);
    let stores = Stores { certificates: &Nothing, secrets, entropy };
    let answer = client.broker.answer(&call, NOW, &stores);
    assert_eq!(answer.status, 403);
    assert!(detail(&answer).contains("certificate"), "{}", detail(&answer));
    // No initdata is no fault: a policy asks for HOST_DATA itself.
    other = good.clone();
    other.init_data = None;
    assert_eq!(client.post(&other).status, 200);
}

/// What the section `attestation` says is a rule of its own, which a grant may do without; genuine
/// the report has to be in any case.
#[test]
fn the_attestation_section_is_asked_and_a_grant_may_do_without() {
    let section = format!("measurement = [\"{}\"]", "ab".repeat(48));
    let load = |grants: &str| Policy::load(&policy_text(&section, grants), "t").unwrap();
    let secrets = Memory::with(&[("a/b/c", "s"), ("a/b/open", "o")]);
    let strict = broker(load(&grant("a/b/c", "")));
    let mut client = Client::new(&strict, &secrets, 3);
    let challenge = client.challenge();
    let answer = client.post(&client.machine.attestation(challenge.nonce, &client.key));
    assert_eq!(answer.status, 403);
    assert!(detail(&answer).contains("attestation.measurement"), "{}", detail(&answer));
    assert_eq!(answer.told.decisions[0].verdict, Verdict::Deny);
    let grants = [grant("a/b/c", ""), grant("a/b/open", "attested = \"any\"")].concat();
    let lax = broker(load(&grants));
    let mut client = Client::new(&lax, &secrets, 3);
    client.attest();
    assert_eq!(client.open(&client.get("a/b/open")), b"o");
    let refused = client.get("a/b/c");
    assert_eq!(refused.status, 403);
    assert!(detail(&refused).contains("attested"), "{}", detail(&refused));
    let challenge = client.challenge();
    let mut altered = client.machine.attestation(challenge.nonce, &client.key);
    altered.evidence = snp_evidence(&client.machine.report([0; 64])).unwrap();
    assert_eq!(client.post(&altered).status, 403);
}

/// A policy that is made stricter is in force at once, and not when the last session has ended.
#[test]
fn a_session_ends_with_the_policy_that_admitted_it() {
    let secrets = Memory::with(&[("a/b/c", "s")]);
    let lax = broker(policy(&grant("a/b/c", "")));
    let other = broker(policy(&[grant("a/b/c", ""), grant("other/*", "")].concat()));
    let mut client = Client::new(&lax, &secrets, 3);
    client.attest();
    assert_eq!(client.get("a/b/c").status, 200);
    client.broker = &other;
    let refused = client.get("a/b/c");
    assert_eq!(refused.status, 401);
    assert!(detail(&refused).contains("policy"), "{}", detail(&refused));
    client.attest();
    assert_eq!(client.get("a/b/c").status, 200);
    assert_eq!(secrets.count("a/b/c"), 1);
}

#[test]
fn a_store_that_fails_is_told_by_a_status_and_not_by_its_words() {
    let broker = broker(policy(&grant("a/b/c", "")));
    let secrets = Memory::with(&[("a/b/c", "s")]);
    let mut client = Client::new(&broker, &secrets, 3);
    client.attest();
    *secrets.fault.borrow_mut() = Some(Unavailable::Busy(7));
    let busy = client.get("a/b/c");
    assert_eq!(busy.status, 429);
    assert!(busy.headers.contains(&("Retry-After", "7".into())));
    *secrets.fault.borrow_mut() = Some(Unavailable::Failed("/secret/path\u{1b}[2J".into()));
    let failed = client.get("a/b/c");
    assert_eq!(failed.status, 500);
    assert!(!detail(&failed).contains("/secret/path"));
    let Event::Refused { failure: Some(why), .. } = failed.told.event else { panic!() };
    assert!(why.contains("/secret/path") && !why.contains('\u{1b}'), "{why:?}");
}

/// Evidence as our guests write it is what the verifier reads out of the real client's.
#[test]
fn evidence_is_written_as_the_real_client_writes_it() {
    let path = "/../../tests/vectors/evidence/trustee_snp_evidence.json";
    let theirs = std::fs::read(format!("{}{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let report = Evidence::read(&theirs).unwrap().report;
    let ours: serde_json::Value =
        serde_json::from_str(snp_evidence(&report).unwrap().get()).unwrap();
    let mut theirs: serde_json::Value = serde_json::from_slice(&theirs).unwrap();
    theirs["cert_chain"] = serde_json::Value::Null;
    assert_eq!(ours, theirs);
    // Of every report at hand, of versions 2 to 5 and three generations: the same report comes
    // back.
    let folder = format!("{}/../../tests/vectors/reports", env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        if bytes.len() != 1184 {
            continue;
        }
        let written = snp_evidence(&bytes).unwrap();
        assert_eq!(Evidence::read(written.get().as_bytes()).unwrap().report, bytes);
        seen += 1;
    }
    let ours = Machine::usual().report([3; 64]);
    let written = snp_evidence(&ours).unwrap();
    assert_eq!(Evidence::read(written.get().as_bytes()).unwrap().report, ours);
    assert!(seen >= 8, "{seen}");
    assert!(snp_evidence(&ours[1..]).is_err());
}

/// What a token says is all that is kept of a session, so it has to fit where sessions travel.
#[test]
fn a_token_fits_a_cookie_and_says_when_it_ends() {
    let broker = broker(policy(&grant("a/b/c", "")));
    let secrets = Memory::default();
    let mut client = Client::new(&broker, &secrets, 3);
    let token = client.attest();
    assert_eq!(token, client.cookie);
    assert!(token.len() < 2000, "{}", token.len());
    // As the real client does: the claims between the points, and of them when it ends.
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64ct::Base64UrlUnpadded::decode_vec(claims).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["exp"].as_u64(), Some(NOW + 300));
    assert!(claims.get("nbf").is_none(), "a guest's clock may be behind");
    let answer = TokenAnswer { token }.to_json();
    assert_eq!(TokenAnswer::read(answer.as_bytes()).unwrap().token, client.cookie);
}
