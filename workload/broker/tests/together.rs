//! Many guests at once, of one broker and of several with one key.
//!
//! Protects the count of uses against guests that ask at the same moment, and answers against an
//! order of members that a guest's JSON library happens to choose. The store is one in memory
//! behind a lock; that real ones keep the same promise is theirs to show. Cannot tell how many
//! guests a machine serves.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use casemate_broker::stores::{Decided, Secrets, SessionId, Stores, Taken, Unavailable};
use casemate_broker::{Broker, Call};
use casemate_kbs::cookie_header;
use ring::rand::SystemRandom;
use serde_json::Value;
use std::sync::Mutex;
use support::{Client, Machine, Memory, NOW, broker, grant, policy};

struct Shared(Mutex<Memory>);

impl Secrets for Shared {
    fn uses(&self, grant: &str, session: SessionId, now: u64) -> Result<u64, Unavailable> {
        self.0.lock().unwrap().uses(grant, session, now)
    }

    fn take(&self, decided: &Decided<'_>) -> Result<Taken, Unavailable> {
        self.0.lock().unwrap().take(decided)
    }
}

/// A session's cookie, and what its guest is told when it asks.
fn ask(broker: &Broker, secrets: &Shared, cookie: &str) -> u16 {
    let cookie = cookie_header(cookie);
    let call = Call {
        method: "GET",
        path: "/kbs/v0/resource/a/b/c",
        cookie: Some(cookie.as_bytes()),
        ..Call::default()
    };
    let (certificates, entropy) = (Machine::usual(), &SystemRandom::new());
    broker.answer(&call, NOW, &Stores { certificates, secrets, entropy }).status
}

#[test]
fn as_many_get_a_secret_as_may_however_many_ask_at_once() {
    let grants = grant("a/b/c", "uses = 5");
    // Two brokers that know nothing of each other but the key.
    let brokers = [broker(policy(&grants)), broker(policy(&grants))];
    let nobody = Memory::default();
    let cookies: Vec<String> = (1..=24)
        .map(|key| {
            let mut client = Client::new(&brokers[0], &nobody, key);
            client.attest();
            client.cookie
        })
        .collect();
    let secrets = Shared(Mutex::new(Memory::with(&[("a/b/c", "s")])));
    let (secrets, brokers) = (&secrets, &brokers);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = cookies
            .iter()
            .enumerate()
            .map(|(at, cookie)| scope.spawn(move || ask(&brokers[at % 2], secrets, cookie)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let given = statuses.iter().filter(|status| **status == 200).count();
    // Who was overtaken again and again is told to come back, and comes back to a refusal.
    assert!(statuses.iter().all(|status| [200, 403, 429].contains(status)), "{statuses:?}");
    assert_eq!(given, 5, "{statuses:?}");
    assert_eq!(secrets.0.lock().unwrap().count("a/b/c"), 5);
    for (cookie, status) in cookies.iter().zip(&statuses) {
        let again = ask(&brokers[0], secrets, cookie);
        assert_eq!(again == 200, *status == 200, "{status} then {again}");
    }
    assert_eq!(secrets.0.lock().unwrap().count("a/b/c"), 5);
}

/// The same JSON, the members of every object in the opposite order.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let all = members.iter().rev();
            let all: Vec<_> = all.map(|(n, v)| format!("{n:?}: {}", reversed(v))).collect();
            format!("{{ {} }}", all.join(" , "))
        }
        Value::Array(all) => {
            let all: Vec<_> = all.iter().map(reversed).collect();
            format!("[{}]", all.join(" ,\t"))
        }
        other => other.to_string(),
    }
}

/// Evidence included, which is read by the verifier: all of a body means the same in any order.
#[test]
fn an_attestation_in_another_order_of_members_opens_the_same_session() {
    let broker = broker(policy(&grant("a/b/c", "")));
    let secrets = Memory::with(&[("a/b/c", "s")]);
    let mut client = Client::new(&broker, &secrets, 3);
    let challenge = client.challenge();
    let body = client.machine.attestation(challenge.nonce, &client.key).to_json().unwrap();
    let value: Value = serde_json::from_str(&body).unwrap();
    let (sorted, reversed) = (value.to_string(), reversed(&value));
    assert!(sorted != reversed && sorted != body);
    let answers = [&body, &sorted, &reversed].map(|body| client.post_body(body.as_bytes()));
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert!(answers.windows(2).all(|two| two[0].body == two[1].body));
    client.keep_cookie(&answers[2]);
    assert_eq!(client.open(&client.get("a/b/c")), b"s");
}
