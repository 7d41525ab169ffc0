//! The broker's own processor time for a whole attestation and a secret, beside the same
//! cryptographic calls alone, with a MODEL of the security processor.
//!
//! `cargo bench -p casemate-broker`. Challenge, attestation and secret, without connections and
//! without storage. The median of many runs, subject and baseline taking turns.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../tests/support/mod.rs"]
mod support;

use casemate_attestation::cert::{Certificate, PublicKey};
use casemate_attestation::crypto::{Backend, Ring};
use casemate_attestation::report::{Report, SIGNED_SIZE};
use casemate_kbs::{Draws, Sealed};
use std::time::{Duration, Instant};
use support::{Client, Machine, Memory, broker, grant, policy, root};

const ROUNDS: usize = 400;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let broker = broker(policy(&grant("a/b/c", "")));
    let secrets = Memory::with(&[("a/b/c", "swordfish")]);
    let mut client = Client::new(&broker, &secrets, 3);
    // The guest's part, which a broker has no time for: a report over each challenge.
    let machine = Machine::usual();
    let report = machine.report([1; 64]);
    let alone = crypto_alone(&report);
    let (mut steps, mut base) = (vec![Vec::new(); 3], Vec::new());
    for round in 0..ROUNDS {
        let start = Instant::now();
        let challenge = client.challenge();
        steps[0].push(start.elapsed());
        let attestation = machine.attestation(challenge.nonce, &client.key);
        let body = attestation.to_json().unwrap();
        let start = Instant::now();
        let answer = client.post_body(body.as_bytes());
        steps[1].push(start.elapsed());
        client.keep_cookie(&answer);
        let start = Instant::now();
        let answer = client.get("a/b/c");
        steps[2].push(start.elapsed());
        assert_eq!(answer.status, 200);
        let start = Instant::now();
        alone(u8::try_from(round % 200).unwrap());
        base.push(start.elapsed());
    }
    let base = median(base);
    let steps: Vec<Duration> = steps.into_iter().map(median).collect();
    let all: Duration = steps.iter().sum();
    for (name, time) in ["challenge", "attestation", "secret"].iter().zip(&steps) {
        println!("{name:<46} {time:>12.1?}");
    }
    let ratio = all.as_secs_f64() / base.as_secs_f64();
    println!("{:<46} {base:>12.1?}", "signatures of chain and report, one sealing");
    println!("{:<46} {all:>12.1?}  {ratio:.2} x the same alone (wanted 2)", "whole exchange");
}

/// What cannot be left out: three signatures of the chain, the report's, and sealing.
fn crypto_alone(report: &[u8]) -> impl Fn(u8) {
    let of = |der: &[u8]| Certificate::from_der(der).unwrap();
    let (ark, ask) = (of(root().ark()), of(root().ask()));
    let vcek = of(Machine::usual().processor.vcek());
    let report = report.to_vec();
    let key = casemate_kbs::SessionKey::new(&[3; 32]).unwrap().public();
    move |round| {
        let (PublicKey::Rsa(ark_key), PublicKey::Rsa(ask_key), PublicKey::P384(point)) =
            (&ark.key, &ask.key, &vcek.key)
        else {
            return;
        };
        Ring.rsa_pss(ark_key, ark.tbs(), &ark.signature).unwrap();
        Ring.rsa_pss(ark_key, ask.tbs(), &ask.signature).unwrap();
        Ring.rsa_pss(ask_key, vcek.tbs(), &vcek.signature).unwrap();
        let parsed = Report::parse(&report).unwrap();
        let fields = parsed.unverified_fields();
        let mut signature = [0u8; 96];
        let (r, s) = signature.split_at_mut(48);
        r.iter_mut().zip(fields.signature_r[..48].iter().rev()).for_each(|(to, from)| *to = *from);
        s.iter_mut().zip(fields.signature_s[..48].iter().rev()).for_each(|(to, from)| *to = *from);
        Ring.p384(point, &report[..SIGNED_SIZE], &signature).unwrap();
        Sealed::new(&key, b"swordfish", &Draws::new(&[round + 1; 76]).unwrap()).unwrap();
    }
}
