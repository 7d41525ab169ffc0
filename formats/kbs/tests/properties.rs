//! What holds for every message, whatever is in it.
//!
//! Protects against messages that mean one thing to their sender and another to us. Cannot tell
//! whether the meaning is the protocol's: `vectors.rs` does.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use casemate_kbs::{
    Attestation, Challenge, Draws, ErrorInformation, InitData, Kind, Nonce, Request, Resource,
    Route, RuntimeData, Sealed, SessionKey, Tee, TeePubKey, TokenAnswer,
};
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

/// The same JSON with the members of every object in another order, and blanks between.
fn shuffled(value: &Value, seed: u64) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| {
                name.bytes().fold(seed, |sum, b| {
                    (sum ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3).rotate_left(17)
                })
            });
            let members: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("{}\t: {}", spelt(name, seed), shuffled(value, seed)))
                .collect();
            format!("{{ {} }}", members.join(" ,\n"))
        }
        Value::Array(all) => {
            let all: Vec<_> = all.iter().map(|one| shuffled(one, seed)).collect();
            format!("[{}]", all.join(", "))
        }
        Value::String(text) => spelt(text, seed),
        other => other.to_string(),
    }
}

/// A text in JSON, some of its characters as escapes.
fn spelt(text: &str, seed: u64) -> String {
    let mut out = String::from("\"");
    for (i, c) in text.chars().enumerate() {
        let escape = (seed >> (i % 61)) & 7 == 0 && u32::from(c) < 0x1_0000;
        match c {
            _ if escape => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

fn reordered(json: &str, seed: u64) -> String {
    shuffled(&serde_json::from_str(json).unwrap(), seed)
}

prop_compose! {
    fn session()(bytes in any::<[u8; 32]>()) -> SessionKey {
        let mut bytes = bytes;
        bytes[0] &= 0x7f;
        bytes[31] |= 1;
        SessionKey::new(&bytes).unwrap()
    }
}

prop_compose! {
    fn draws()(bytes in proptest::collection::vec(any::<u8>(), 76)) -> Draws {
        let mut bytes: [u8; 76] = bytes.try_into().unwrap();
        bytes[0] &= 0x7f;
        bytes[31] |= 1;
        Draws::new(&bytes).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn members_of_any_body_are_read_alike_in_any_order(
        seed in any::<u64>(),
        key in session(),
        nonce in any::<[u8; 32]>(),
        init in proptest::option::of("\\PC{0,40}"),
        draws in draws(),
    ) {
        let nonce = Nonce(nonce);
        let request = Request { tee: Tee::Snp };
        prop_assert_eq!(Request::read(reordered(&request.to_json(), seed).as_bytes()), Ok(request));
        let challenge = Challenge { nonce };
        let body = reordered(&challenge.to_json(), seed);
        prop_assert_eq!(Challenge::read(body.as_bytes()), Ok(challenge));
        let runtime = RuntimeData { nonce, tee_pubkey: key.public() };
        let init_data = init.map(|body| InitData { format: "toml".into(), body });
        let evidence = RawValue::from_string("{\"a\":[1,{\"b\":null}]}".into()).unwrap();
        let attestation = Attestation { init_data, runtime: runtime.clone(), evidence };
        let body = reordered(&attestation.to_json().unwrap(), seed);
        let read = Attestation::read(body.as_bytes()).unwrap();
        prop_assert_eq!(read.runtime.report_data(), runtime.report_data());
        prop_assert_eq!(read.init_data, attestation.init_data);
        let token = TokenAnswer { token: "a.b-c_d".into() };
        let body = reordered(&token.to_json(), seed);
        prop_assert_eq!(TokenAnswer::read(body.as_bytes()), Ok(token));
        let refusal = ErrorInformation::new(Kind::PolicyDeny, "because \"so\"\u{7f}");
        let body = reordered(&refusal.to_json(), seed);
        prop_assert_eq!(ErrorInformation::read(body.as_bytes()), Ok(refusal));
        let sealed = Sealed::new(&key.public(), b"secret", &draws).unwrap();
        let body = reordered(&sealed.to_json(), seed);
        prop_assert_eq!(Sealed::read(body.as_bytes()), Ok(sealed));
    }

    /// The digest, and with it the report, is of one nonce and one key.
    #[test]
    fn report_data_is_of_one_nonce_and_one_key(
        key in session(), other in session(), nonce in any::<[u8; 32]>(), bit in 0usize..256,
    ) {
        let runtime = RuntimeData { nonce: Nonce(nonce), tee_pubkey: key.public() };
        let mut changed = nonce;
        changed[bit / 8] ^= 1 << (bit % 8);
        let another = RuntimeData { nonce: Nonce(changed), tee_pubkey: key.public() };
        prop_assert_ne!(runtime.report_data(), another.report_data());
        prop_assert_eq!(&runtime.report_data()[48..], &[0; 16]);
        if other.public() != key.public() {
            let another = RuntimeData { nonce: Nonce(nonce), tee_pubkey: other.public() };
            prop_assert_ne!(runtime.report_data(), another.report_data());
            prop_assert_ne!(key.public().thumbprint(), other.public().thumbprint());
        }
    }

    #[test]
    fn a_sealed_secret_opens_with_its_key_only_and_unaltered_only(
        key in session(), other in session(), draws in draws(),
        secret in proptest::collection::vec(any::<u8>(), 0..200),
        member in 0usize..5, at in any::<prop::sample::Index>(),
    ) {
        let sealed = Sealed::new(&key.public(), &secret, &draws).unwrap();
        let opened = sealed.open(&key);
        prop_assert_eq!(opened.as_ref().map(|s| s.as_slice()), Ok(secret.as_slice()));
        if other.public() != key.public() {
            prop_assert!(sealed.open(&other).is_err());
        }
        // One character of one member changed: not to be read, or not to be opened.
        let mut json: Value = serde_json::from_str(&sealed.to_json()).unwrap();
        let name = ["protected", "encrypted_key", "iv", "ciphertext", "tag"][member];
        let mut text: Vec<char> = json[name].as_str().unwrap().chars().collect();
        if !text.is_empty() {
            let at = at.index(text.len());
            text[at] = if text[at] == 'A' { 'B' } else { 'A' };
            json[name] = Value::String(text.into_iter().collect());
            let read = Sealed::read(json.to_string().as_bytes());
            prop_assert!(!read.is_ok_and(|sealed| sealed.open(&key).is_ok()));
        }
    }

    /// Every reader, on anything.
    #[test]
    fn no_bytes_make_a_reader_do_more_than_refuse(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = Request::read(&bytes);
        let _ = Challenge::read(&bytes);
        let _ = Attestation::read(&bytes);
        let _ = TeePubKey::read(&bytes);
        let _ = Sealed::read(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(Route::Resource(resource)) = Route::read(&text) {
            prop_assert_eq!(resource.path(), text.into_owned());
            prop_assert_eq!(Resource::read(resource.name()), Ok(resource));
        }
    }
}
