//! The protocol against crate kbs-types, whose types the real client and the real broker are made
//! of.
//!
//! Protects what goes between us and them: each side's messages are read by the other, and mean the
//! same. Cannot tell what their programs do around these types.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use casemate_kbs::{
    Attestation, Challenge, Draws, ErrorInformation, InitData, Kind, Nonce, Request, RuntimeData,
    Sealed, SessionKey, Tee, VERSION,
};
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

fn text<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

fn theirs<T: serde::de::DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn their_key(key: &SessionKey) -> kbs_types::TeePubKey {
    theirs(&key.public().to_json())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The real client parses `protected` and authenticates what it writes again: any text of ours
    /// that is not exactly that is a secret that it cannot open.
    #[test]
    fn the_real_client_authenticates_the_header_that_we_wrote(
        mut random in proptest::collection::vec(any::<u8>(), 76),
        secret in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        random[0] &= 0x7f;
        random[31] |= 1;
        let random: [u8; 76] = random.try_into().unwrap();
        let key = SessionKey::new(&[3; 32]).unwrap();
        let draws = Draws::new(&random).unwrap();
        let ours = Sealed::new(&key.public(), &secret, &draws).unwrap().to_json();
        let read: kbs_types::Response = theirs(&ours);
        let sent: Value = serde_json::from_str(&ours).unwrap();
        let protected = sent["protected"].as_str().unwrap();
        prop_assert_eq!(read.protected.generate_aad().unwrap(), protected.as_bytes());
        prop_assert_eq!(&read.protected.alg, "ECDH-ES+A256KW");
        prop_assert_eq!(&read.protected.enc, "A256GCM");
        prop_assert_eq!((read.iv.len(), read.tag.len(), read.encrypted_key.len()), (12, 16, 40));
        prop_assert!(read.aad.is_none());
        // And what their broker would write of it opens here.
        let again = Sealed::read(&text(&read)).unwrap();
        let opened = again.open(&key).unwrap();
        prop_assert_eq!(opened.as_slice(), secret.as_slice());
    }

    #[test]
    fn each_side_reads_the_others_attestation(
        nonce in any::<[u8; 32]>(), body in proptest::option::of("\\PC{0,40}"),
    ) {
        let key = SessionKey::new(&[3; 32]).unwrap();
        let nonce = Nonce(nonce);
        let evidence = json!({ "attestation_report": { "version": 3 }, "cert_chain": null });
        let sent = kbs_types::Attestation {
            init_data: body.clone().map(|body| {
                kbs_types::InitData { format: "toml".into(), body }
            }),
            runtime_data: kbs_types::RuntimeData {
                nonce: nonce.to_string(),
                tee_pubkey: their_key(&key),
            },
            tee_evidence: kbs_types::CompositeEvidence {
                primary_evidence: evidence.clone(),
                additional_evidence: String::new(),
            },
        };
        let read = Attestation::read(&text(&sent)).unwrap();
        prop_assert_eq!(read.runtime.nonce, nonce);
        prop_assert_eq!(&read.runtime.tee_pubkey, &key.public());
        prop_assert_eq!(read.init_data.as_ref().map(|init| &init.body), body.as_ref());
        let kept: Value = serde_json::from_str(read.evidence.get()).unwrap();
        prop_assert_eq!(&kept, &evidence);
        // REPORT_DATA is over runtime data that their client builds as a value of these members.
        let runtime = json!({
            "tee-pubkey": sent.runtime_data.tee_pubkey,
            "nonce": sent.runtime_data.nonce,
            "additional-evidence": "",
        });
        prop_assert_eq!(read.runtime.canonical(), runtime.to_string());
        let init_data = body.map(|body| InitData { format: "toml".into(), body });
        let ours = Attestation {
            init_data,
            runtime: RuntimeData { nonce, tee_pubkey: key.public() },
            evidence: RawValue::from_string(evidence.to_string()).unwrap(),
        };
        let back: kbs_types::Attestation = theirs(&ours.to_json().unwrap());
        prop_assert_eq!(text(&back), text(&sent));
    }
}

#[test]
fn each_side_reads_the_others_requests_challenges_and_refusals() {
    let sent = kbs_types::Request {
        version: VERSION.into(),
        tee: kbs_types::Tee::Snp,
        extra_params: json!({ "supported-hash-algorithms": ["sha256"] }),
    };
    assert_eq!(Request::read(&text(&sent)), Ok(Request { tee: Tee::Snp }));
    let back: kbs_types::Request = theirs(&Request { tee: Tee::Snp }.to_json());
    assert_eq!((back.version.as_str(), back.tee), (VERSION, kbs_types::Tee::Snp));
    let nonce = Nonce([5; 32]);
    let sent = kbs_types::Challenge { nonce: nonce.to_string(), extra_params: json!("") };
    assert_eq!(Challenge::read(&text(&sent)), Ok(Challenge { nonce }));
    let back: kbs_types::Challenge = theirs(&Challenge { nonce }.to_json());
    assert_eq!((back.nonce, back.extra_params), (nonce.to_string(), json!("")));
    let ours = ErrorInformation::new(Kind::PolicyDeny, "because");
    let back: kbs_types::ErrorInformation = theirs(&ours.to_json());
    assert_eq!(ErrorInformation::read(&text(&back)), Ok(ours));
}

/// Every technology that they have a name for is told by it, and none but one taken.
#[test]
fn every_other_technology_is_refused_by_its_name() {
    use kbs_types::Tee::{
        AzSnpVtpm, AzTdxVtpm, Cca, Csv, HygonDcu, Nvidia, NvidiaDpu, Sample, SampleDevice, Se, Sgx,
        Tdx, Tpm,
    };
    for tee in [
        AzSnpVtpm,
        AzTdxVtpm,
        Cca,
        Csv,
        HygonDcu,
        Nvidia,
        NvidiaDpu,
        Sample,
        SampleDevice,
        Se,
        Sgx,
        Tdx,
        Tpm,
    ] {
        let sent = kbs_types::Request { version: VERSION.into(), tee, extra_params: json!("") };
        let refused = Request::read(&text(&sent)).unwrap_err().to_string();
        assert!(refused.contains(&format!("`{tee}`")), "{refused}");
        assert!(!refused.contains("no known name"), "{refused}");
    }
}

/// Keys of theirs that we do not serve.
#[test]
fn every_other_kind_of_key_is_refused() {
    let key = |json: Value| -> kbs_types::TeePubKey { serde_json::from_value(json).unwrap() };
    for other in [
        key(json!({ "kty": "RSA", "alg": "RSA-OAEP-256", "n": "AQAB", "e": "AQAB" })),
        key(json!({ "kty": "RSA", "alg": "RSA1_5", "n": "AQAB", "e": "AQAB" })),
        key(json!({ "kty": "EC", "crv": "P-521", "alg": "ECDH-ES+A256KW", "x": "", "y": "" })),
        key(json!({ "kty": "AKP", "alg": "ML-KEM-768+A192KW", "pub": "AQAB" })),
    ] {
        let refused = casemate_kbs::TeePubKey::read(&text(&other)).unwrap_err().to_string();
        assert!(refused.contains("only P-256"), "{refused}");
    }
}
