//! What requests leave behind: nothing.
//!
//! Protects a broker against whoever asks without end: challenges, sessions and refusals are kept
//! by nobody. Counted are the allocations of the thread that answers. Cannot tell what whoever
//! carries requests keeps of them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use casemate_broker::Call;
use casemate_kbs::{Request, Tee};
use support::{Client, Memory, broker, grant, policy};

#[test]
fn challenges_sessions_and_refusals_leave_no_byte_behind() {
    let broker = broker(policy(&grant("a/b/c", "")));
    let secrets = Memory::with(&[("a/b/c", "s")]);
    let mut client = Client::new(&broker, &secrets, 3);
    let challenge = client.challenge();
    let attestation = client.machine.attestation(challenge.nonce, &client.key);
    let good = attestation.to_json().unwrap();
    let damaged = good.replace("\"version\":5", "\"version\":4");
    assert_ne!(good, damaged);
    let request = Request { tee: Tee::Snp }.to_json();
    let auth =
        Call { method: "POST", path: "/kbs/v0/auth", body: request.as_bytes(), ..Call::default() };
    let session = client.post_body(good.as_bytes());
    let round = |client: &Client<'_>| {
        assert_eq!(client.call(&auth).status, 200);
        assert_eq!(client.post_body(good.as_bytes()).status, 200);
        assert_eq!(client.post_body(damaged.as_bytes()).status, 403);
        assert_eq!(client.get("a/b/c").status, 401);
    };
    // The first round makes what is made once: tables, the roots that are built in.
    round(&client);
    let left = |rounds: usize| {
        let all = allocation_counter::measure(|| (0..rounds).for_each(|_| round(&client)));
        (all.bytes_current, all.bytes_max)
    };
    let (few, peak) = left(1);
    let (many, highest) = left(200);
    assert_eq!((few, many), (0, 0));
    assert!(highest <= peak + 4096, "{highest} bytes at once, {peak} for one");
    assert!(peak < 2 * 1024 * 1024, "{peak} bytes for one guest's requests");
    // A session that takes its secret costs its use, once, which is the store's.
    client.keep_cookie(&session);
    assert_eq!(client.get("a/b/c").status, 200);
    let taken = allocation_counter::measure(|| {
        (0..100).for_each(|_| assert_eq!(client.get("a/b/c").status, 200));
    });
    assert_eq!(taken.bytes_current, 0);
}
