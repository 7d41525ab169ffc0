//! `attest verify --ear`: the token's signature is checked by `ring`, its claims against what
//! draft-ietf-rats-ear-04 demands of them. The crate `ear` 0.6.0 of the draft's authors read such
//! tokens, when these tests were written; it is no dependency, since what it depends on asks a
//! server while it is built. What a relying party makes of a token, no test here can tell.
#![allow(clippy::indexing_slicing, reason = "a test that misses a claim fails by panicking")]

use super::{all_demands, casemate, expect, path, scratch, vector};
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Base64url without padding (RFC 4648, section 5).
fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for c in text.bytes() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let value = alphabet.iter().position(|known| *known == c).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    out
}

/// A key in a file of its own, and its public half as an uncompressed point.
fn key(name: &str) -> (PathBuf, Vec<u8>) {
    let file = scratch(name);
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let made = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out";
    run(&made.split(' ').chain([path(&file)]).collect::<Vec<_>>());
    // SubjectPublicKeyInfo of P-384 ends with the point: 04, x, y.
    let der = run(&["pkey", "-in", path(&file), "-pubout", "-outform", "DER"]);
    let point = der.get(der.len() - 97..).unwrap().to_vec();
    (file, point)
}

/// The claims of a token, whose signature and header hold.
fn claims(token: &Path, point: &[u8]) -> Value {
    let token = std::fs::read_to_string(token).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let header: serde_json::Value = serde_json::from_slice(&decode(header)).unwrap();
    assert_eq!(header["alg"], "ES384");
    let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point);
    key.verify(signed.as_bytes(), &decode(signature)).unwrap();
    let mut other = signed.as_bytes().to_vec();
    other.push(b'x');
    assert!(key.verify(&other, &decode(signature)).is_err());
    let claims = serde_json::from_slice(&decode(payload)).unwrap();
    is_of_the_profile(&claims);
    claims
}

/// The claims of the draft's section 3 and appendix A: those that must be there, of their types,
/// and no status better than the worst of its vector.
fn is_of_the_profile(claims: &Value) {
    assert_eq!(claims["eat_profile"], "tag:ietf.org,2026:rats/ear#04");
    assert!(claims["iat"].is_u64(), "a whole number: floating point is not allowed");
    for part in ["developer", "build"] {
        assert!(!claims["ear_verifier_id"][part].as_str().unwrap().is_empty());
    }
    let one = &claims["submods"]["sev-snp"];
    assert_eq!(claims["ear_status"], one["ear_status"], "of one attester the whole is no better");
    let tiers = ["none", "affirming", "warning", "contraindicated"];
    let status = tiers.iter().position(|tier| one["ear_status"] == *tier).unwrap();
    let vector = one["ear_trustworthiness_vector"].as_object().unwrap();
    let names = [
        "configuration",
        "executables",
        "file-system",
        "hardware",
        "instance-identity",
        "runtime-opaque",
        "sourced-data",
        "storage-opaque",
    ];
    assert!(vector.keys().map(String::as_str).eq(names), "{vector:?}");
    let tier = |value: i64| match value {
        -1..=1 => 0,
        2..=31 => 1,
        32..=95 => 2,
        _ => 3,
    };
    let worst = vector.values().map(|value| tier(value.as_i64().unwrap())).max().unwrap();
    assert!(status >= worst, "{one:#}");
    for (name, value) in one.as_object().unwrap() {
        let known = [
            "ear_status",
            "ear_trustworthiness_vector",
            "ear_appraisal_policy_ids",
            "eat_nonce",
            "ear_attester_claims",
            "ear_verifier_claims",
        ];
        assert!(known.contains(&name.as_str()), "{name}");
        assert!(!value.as_object().is_some_and(serde_json::Map::is_empty), "{name} is empty");
    }
}

/// Protects a relying party that knows only the tiers: none of them says more than the verdict,
/// and the vector claims nothing that was not checked.
#[test]
fn a_token_affirms_what_is_accepted_and_nothing_else() {
    let (policy, demands) = all_demands();
    let (key_file, point) = key("ear-key");
    let token = scratch("ear-token");
    let with = |arguments: &[String]| -> Vec<String> {
        let more = ["--ear", path(&token), "--ear-key", path(&key_file)].map(str::to_owned);
        arguments.iter().cloned().chain(more).collect()
    };
    let run = |status: i32, arguments: &[String]| {
        let words = with(arguments);
        expect(status, &words.iter().map(String::as_str).collect::<Vec<_>>());
        claims(&token, &point)
    };
    let raw = run(0, &demands);
    let one = &raw["submods"]["sev-snp"];
    assert_eq!(one["ear_status"], "affirming");
    let values =
        |raw: &serde_json::Value| raw["submods"]["sev-snp"]["ear_trustworthiness_vector"].clone();
    let accepted = serde_json::json!({
        "instance-identity": 0, "configuration": 0, "executables": 3, "file-system": 0,
        "hardware": 2, "runtime-opaque": 2, "storage-opaque": 0, "sourced-data": 0,
    });
    assert_eq!(values(&raw), accepted);
    let report = std::fs::read(vector("reports/oak_genoa_oc.bin")).unwrap();
    let nonce = raw["submods"]["sev-snp"]["eat_nonce"].as_str().unwrap();
    assert_eq!(decode(nonce), report.get(0x50..0x90).unwrap());
    assert!(one["ear_attester_claims"]["snp-report"].is_object());
    let ours = &raw["submods"]["sev-snp"]["ear_verifier_claims"]["casemate"];
    assert_eq!(ours["verdict"], "ACCEPTED");
    assert_eq!(ours["judged-as-of"], "2025-10-01T00:00:00Z");
    // Without a policy and a list: authentic, which is a warning.
    let at = |name: &str| demands.iter().position(|word| word == name).unwrap();
    let few: Vec<String> = demands[..at("--crl")]
        .iter()
        .chain(&demands[at("--at")..at("--at") + 2])
        .cloned()
        .collect();
    let raw = run(3, &few);
    assert_eq!(raw["ear_status"], "warning");
    assert_eq!((&values(&raw)["hardware"], &values(&raw)["executables"]), (&0.into(), &0.into()));
    assert!(raw["submods"]["sev-snp"].get("eat_nonce").is_none());
    // Another report's bytes, and no report at all.
    let bad = scratch("ear-bad");
    let mut altered = report.clone();
    altered[0x90] ^= 1;
    for (bytes, identity) in [(altered, 99), (b"nonsense".to_vec(), 1)] {
        std::fs::write(&bad, bytes).unwrap();
        let mut words = demands.clone();
        path(&bad).clone_into(&mut words[2]);
        let raw = run(1, &words);
        assert_eq!(raw["ear_status"], "contraindicated");
        assert_eq!(values(&raw)["instance-identity"], identity, "{raw:#}");
        assert!(raw["submods"]["sev-snp"].get("ear_attester_claims").is_none(), "{raw:#}");
    }
    // A root that is broken affirms nothing, though its reports are put up with; a generation that
    // is merely not on the list is not called broken.
    let (milan, cert) = (vector("reports/ms_milan.bin"), vector("reports/ms_milan.vcek.der"));
    let broken = ["attest", "verify", path(&milan), "--cert", path(&cert)];
    let broken = [&broken[..], &["--at", "2026-06-01", "--allow-broken-root", "milan"]].concat();
    let raw = run(3, &broken.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    assert_eq!(values(&raw)["hardware"], 96, "{raw:#}");
    assert_eq!(raw["ear_status"], "contraindicated");
    // Over nothing that was read, and not without a key.
    let words: Vec<&str> = demands.iter().map(String::as_str).collect();
    let onto = [&words[..], &["--ear", path(&key_file), "--ear-key", path(&key_file)]].concat();
    expect(2, &onto);
    assert_eq!(casemate(&[&words[..], &["--ear", path(&token)]].concat()).status.code(), Some(2));
    for file in [policy, key_file, token, bad] {
        std::fs::remove_file(file).unwrap();
    }
}
