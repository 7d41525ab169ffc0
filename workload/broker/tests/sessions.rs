//! A session is worth nothing with another nonce, key, cookie or time.
//!
//! Protects against everyone between guest and broker, who sees and can change every byte, and
//! against guests that would be another. Each case is a whole exchange with a report signed for it
//! by a MODEL processor. Cannot tell that the MACs are strong: that is ring's.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use casemate_broker::{Broker, BrokerKey, Config, Lifetimes};
use casemate_kbs::{Nonce, Sealed, SessionKey, TokenAnswer};
use proptest::prelude::*;
use support::{Client, Machine, Memory, NOW, broker, grant, policy};

/// The text with one character changed into another of base64url.
fn changed(text: &str, at: usize, to: u8) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let at = at % bytes.len();
    let all = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    let mut to = usize::from(to);
    while all[to % all.len()] == bytes[at] {
        to += 1;
    }
    bytes[at] = all[to % all.len()];
    String::from_utf8(bytes).unwrap()
}

fn key() -> impl Strategy<Value = SessionKey> {
    any::<[u8; 31]>().prop_map(|bytes| {
        let mut all = [1; 32];
        all[1..].copy_from_slice(&bytes);
        SessionKey::new(&all).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The report is of the challenge whose cookie comes along, and of no other: neither another
    /// nonce in the body nor another cookie beside it opens a session.
    #[test]
    fn no_session_is_opened_with_another_nonce(bit in 0usize..256) {
        let broker = broker(policy(""));
        let secrets = Memory::default();
        let mut client = Client::new(&broker, &secrets, 3);
        let Nonce(mut nonce) = client.challenge().nonce;
        let machine = Machine::usual();
        let good = machine.attestation(Nonce(nonce), &client.key);
        nonce[bit / 8] ^= 1 << (bit % 8);
        // A report for the changed nonce, said to be for the changed one, and for the right one.
        let mut other = machine.attestation(Nonce(nonce), &client.key);
        prop_assert_eq!(client.post(&other).status, 401);
        other.runtime = good.runtime.clone();
        prop_assert_eq!(client.post(&other).status, 403);
        prop_assert_eq!(client.post(&good).status, 200);
        // The same under the cookie of another challenge.
        client.challenge();
        prop_assert_eq!(client.post(&good).status, 401);
    }

    /// A report for one key opens no session for another, and a session of one key gives nothing
    /// that another opens.
    #[test]
    fn no_session_is_opened_for_another_key_and_none_serves_it(ours in key(), thief in key()) {
        prop_assume!(ours.public() != thief.public());
        let broker = broker(policy(&grant("a/b/c", "")));
        let secrets = Memory::with(&[("a/b/c", "swordfish")]);
        let mut client = Client::new(&broker, &secrets, 3);
        client.key = ours;
        let challenge = client.challenge();
        let mut attestation = client.machine.attestation(challenge.nonce, &client.key);
        attestation.runtime.tee_pubkey = thief.public();
        prop_assert_eq!(client.post(&attestation).status, 403);
        // With a stolen cookie, whoever asks gets what only the guest opens, and takes no use that
        // the guest's own request would not take.
        client.attest();
        let answer = client.get("a/b/c");
        let sealed = Sealed::read(&answer.body).unwrap();
        prop_assert!(sealed.open(&thief).is_err());
        prop_assert_eq!(client.open(&answer), b"swordfish");
        prop_assert_eq!(secrets.count("a/b/c"), 1);
    }

    #[test]
    fn a_cookie_or_token_that_differs_in_a_character_is_none(
        at in any::<usize>(), to in any::<u8>(),
    ) {
        let broker = broker(policy(&grant("a/b/c", "")));
        let secrets = Memory::with(&[("a/b/c", "s")]);
        let mut client = Client::new(&broker, &secrets, 3);
        let challenge = client.challenge();
        let attestation = client.machine.attestation(challenge.nonce, &client.key);
        let cookie = client.cookie.clone();
        client.cookie = changed(&cookie, at, to);
        prop_assert_eq!(client.post(&attestation).status, 401);
        client.cookie = cookie.clone();
        let answer = client.post(&attestation);
        prop_assert_eq!(answer.status, 200);
        let token = TokenAnswer::read(&answer.body).unwrap().token;
        client.cookie = changed(&token, at, to);
        prop_assert_eq!(client.get("a/b/c").status, 401);
        // One in the place of the other.
        client.cookie = cookie;
        prop_assert_eq!(client.get("a/b/c").status, 401);
        client.cookie = token;
        prop_assert_eq!(client.post(&attestation).status, 401);
        prop_assert_eq!(client.get("a/b/c").status, 200);
    }

    #[test]
    fn nothing_is_worth_anything_at_another_time(
        challenge_lasts in 1u64..1000, session_lasts in 1u64..1000,
        attested in 0u64..2000, asked in 0u64..2000,
    ) {
        let lifetimes = Lifetimes { challenge: challenge_lasts, session: session_lasts };
        let policy = policy(&grant("a/b/c", "session_age = 2000"));
        let broker = Broker::new(Config { lifetimes, ..support::config(policy) });
        let secrets = Memory::with(&[("a/b/c", "s")]);
        let mut client = Client::new(&broker, &secrets, 3);
        let challenge = client.challenge();
        let attestation = client.machine.attestation(challenge.nonce, &client.key);
        client.now = NOW + attested;
        let answer = client.post(&attestation);
        prop_assert_eq!(answer.status == 200, attested < challenge_lasts.min(session_lasts));
        if answer.status == 200 {
            client.keep_cookie(&answer);
            client.now = NOW + asked;
            prop_assert_eq!(client.get("a/b/c").status == 200, asked < session_lasts);
        }
    }

    /// Brokers with one key are one broker, and with two keys they are two.
    #[test]
    fn a_session_is_of_the_brokers_with_its_key(other in any::<[u8; 32]>()) {
        prop_assume!(other != support::BROKER_KEY);
        let grants = grant("a/b/c", "");
        let (first, same) = (broker(policy(&grants)), broker(policy(&grants)));
        let config = Config { key: BrokerKey::new(&other), ..support::config(policy(&grants)) };
        let another = Broker::new(config);
        let secrets = Memory::with(&[("a/b/c", "s")]);
        let mut client = Client::new(&first, &secrets, 3);
        let challenge = client.challenge();
        let attestation = client.machine.attestation(challenge.nonce, &client.key);
        client.broker = &another;
        prop_assert_eq!(client.post(&attestation).status, 401);
        client.broker = &same;
        let answer = client.post(&attestation);
        prop_assert_eq!(answer.status, 200);
        client.keep_cookie(&answer);
        client.broker = &another;
        prop_assert_eq!(client.get("a/b/c").status, 401);
        client.broker = &first;
        prop_assert_eq!(client.get("a/b/c").status, 200);
    }

    /// What the policy takes for a name of a secret and what the protocol takes for one are the
    /// same: a name that one of them read otherwise could be granted under one name and fetched
    /// under another.
    #[test]
    fn the_protocol_and_the_policy_have_the_same_names(
        name in "([a-zA-Z0-9_.-]{0,3}|[/.%*ü \n]{1,2}){1,6}",
        plain in "[a-z_-]{1,3}/[.a-z]{0,3}/[A-Z0-9.]{0,3}",
    ) {
        use casemate_policy::{Cause, Facts, Key, Point};
        let policy = policy("");
        for name in [name, plain] {
            let facts = Facts::new().text(Key::SecretResource, &name);
            let decision = policy.decide(Point::Secrets, &facts);
            let is_name = decision.reasons[0].cause == Cause::NoGrant;
            prop_assert_eq!(casemate_kbs::Resource::read(&name).is_ok(), is_name, "{:?}", name);
        }
    }
}
