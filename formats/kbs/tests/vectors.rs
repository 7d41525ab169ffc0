//! The protocol against bytes that others made.
//!
//! Protects the wire: an answer that differs in one blank is a secret that a real guest cannot
//! open. `kbs.json` was made by an independent program, `jose.json` by the JOSE library jwcrypto,
//! which also opened `sealed.json` (`tests/vectors/kbs/jose.py`). Cannot tell what a real client
//! does with what is not among these.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use casemate_kbs::{
    Attestation, Challenge, Draws, Nonce, Request, RuntimeData, Sealed, SessionKey, TeePubKey,
};
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = format!("{}/../../tests/vectors/kbs/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn key() -> SessionKey {
    SessionKey::new(&[0x11; 32]).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// The draws of the vectors: ephemeral key 0x22…, then 0, 1, 2, … for both others.
fn draws() -> Draws {
    let counting = |i: usize| u8::try_from(i).unwrap();
    let random = [0; 76].map(|_: u8| 0x22);
    let mut random: [u8; 76] = random;
    (0..32).for_each(|i| random[32 + i] = counting(i));
    (0..12).for_each(|i| random[64 + i] = counting(i));
    Draws::new(&random).unwrap()
}

#[test]
fn a_challenge_is_asked_for_and_answered_as_the_real_ones_are() {
    let all = vectors("kbs.json");
    let request = Request::read(all["auth_request"].to_string().as_bytes()).unwrap();
    let ours: Value = serde_json::from_str(&request.to_json()).unwrap();
    assert_eq!(ours, all["auth_request"]);
    let challenge = Challenge::read(all["auth_response"].to_string().as_bytes()).unwrap();
    let ours: Value = serde_json::from_str(&challenge.to_json()).unwrap();
    assert_eq!(ours, all["auth_response"]);
}

#[test]
fn the_report_data_of_a_session_is_that_of_the_protocol() {
    let all = vectors("kbs.json");
    let tee_pubkey = TeePubKey::read(all["tee_pubkey"].to_string().as_bytes()).unwrap();
    assert_eq!(tee_pubkey, key().public());
    let nonce = Nonce::read(all["auth_response"]["nonce"].as_str().unwrap()).unwrap();
    let runtime = RuntimeData { nonce, tee_pubkey };
    assert_eq!(runtime.canonical(), all["runtime_data_canonical"].as_str().unwrap());
    let report_data = runtime.report_data();
    assert_eq!(report_data.as_slice(), unhex(all["report_data"].as_str().unwrap()));
}

#[test]
fn a_secret_is_sealed_byte_for_byte_as_the_independent_program_does() {
    let all = vectors("kbs.json");
    let secret = all["secret"].as_str().unwrap();
    let ours = Sealed::new(&key().public(), secret.as_bytes(), &draws()).unwrap();
    let ours: Value = serde_json::from_str(&ours.to_json()).unwrap();
    assert_eq!(ours, all["resource_response"]);
    let theirs = Sealed::read(all["resource_response"].to_string().as_bytes()).unwrap();
    assert_eq!(theirs.open(&key()).unwrap().as_slice(), secret.as_bytes());
}

#[test]
fn what_a_foreign_library_sealed_is_opened() {
    let all = vectors("jose.json");
    for one in all.as_array().unwrap() {
        let sealed = Sealed::read(one["resource"].to_string().as_bytes()).unwrap();
        let secret = sealed.open(&key()).unwrap();
        assert_eq!(secret.as_slice(), unhex(one["secret"].as_str().unwrap()));
    }
    assert_eq!(all.as_array().unwrap().len(), 9);
}

/// One of each length, with draws of its own. None of nothing: jwcrypto opens it and then takes an
/// empty secret for a failure.
fn sealed() -> Vec<(Vec<u8>, Sealed)> {
    let lengths = [1usize, 15, 16, 17, 31, 32, 33, 1000, 5000];
    let all = lengths.iter().enumerate().map(|(i, length)| {
        let random = [u8::try_from(i + 1).unwrap(); 76];
        let secret: Vec<u8> =
            (0..*length).map(|at| u8::try_from((at * 7 + i) % 256).unwrap()).collect();
        let draws = Draws::new(&random).unwrap();
        (secret.clone(), Sealed::new(&key().public(), &secret, &draws).unwrap())
    });
    all.collect()
}

#[test]
fn what_is_sealed_is_what_a_foreign_library_opened() {
    let opened = vectors("sealed.json");
    let opened = opened.as_array().unwrap();
    assert_eq!(opened.len(), sealed().len());
    for ((secret, ours), theirs) in sealed().iter().zip(opened) {
        assert_eq!(*secret, unhex(theirs["secret"].as_str().unwrap()));
        assert_eq!(ours.to_json(), theirs["resource"].as_str().unwrap());
        assert_eq!(ours.open(&key()).unwrap().as_slice(), secret.as_slice());
    }
}

/// Writes `sealed.json`, which `jose.py open` then has to open.
#[test]
#[ignore = "writes into tests/vectors: after a change of what is sealed, and with jose.py open"]
fn write_what_is_sealed() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let all: Vec<Value> = sealed()
        .iter()
        .map(|(secret, sealed)| {
            serde_json::json!({ "secret": hex(secret), "resource": sealed.to_json() })
        })
        .collect();
    let text = serde_json::to_string_pretty(&all).unwrap() + "\n";
    let path = format!("{}/../../tests/vectors/kbs/sealed.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::write(path, text).unwrap();
}

/// The fixture of the real client's evidence goes through an attestation unchanged.
#[test]
fn evidence_is_handed_on_as_it_was_sent() {
    let path = "/../../tests/vectors/evidence/trustee_snp_evidence.json";
    let evidence = format!("{}{path}", env!("CARGO_MANIFEST_DIR"));
    let evidence = std::fs::read_to_string(evidence).unwrap();
    let evidence = evidence.trim();
    let key = key().public().to_json();
    let body = format!(
        "{{\"tee-evidence\":{{\"additional_evidence\":\"\",\"primary_evidence\":{evidence}}},\
         \"init-data\":null,\"runtime-data\":{{\"tee-pubkey\":{key},\"nonce\":\"{}\"}}}}",
        Nonce([9; 32])
    );
    let attestation = Attestation::read(body.as_bytes()).unwrap();
    assert_eq!(attestation.evidence.get(), evidence);
    assert!(body.len() < casemate_kbs::MAX_BODY / 4, "room for initdata: {}", body.len());
}

/// What a store may hold has to go through; more is refused before it is sealed.
#[test]
fn the_longest_secret_is_sealed_and_read_and_a_longer_one_is_not() {
    let mut secret = vec![0x5a; casemate_kbs::MAX_SECRET];
    let sealed = Sealed::new(&key().public(), &secret, &draws()).unwrap();
    let read = Sealed::read(sealed.to_json().as_bytes()).unwrap();
    assert_eq!(read.open(&key()).unwrap().as_slice(), secret.as_slice());
    secret.push(0);
    assert!(Sealed::new(&key().public(), &secret, &draws()).is_none());
}
