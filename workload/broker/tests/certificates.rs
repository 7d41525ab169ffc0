//! Guests send no certificates, so the broker's stores are where certificates and lists come from.
//!
//! Protects guests on Linux 6.12, whose KVM gives them none, and the revocation of what is found.
//! The store on disk holds AMD's certificates only, so a genuine report goes through it, which is
//! of another session; sessions are opened by a MODEL processor. Cannot tell what AMD's server
//! gives.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use casemate_attestation::cert::Certificate;
use casemate_attestation::evidence::Evidence;
use casemate_attestation::model::Signer;
use casemate_attestation::record::Inputs;
use casemate_attestation::store::Store;
use casemate_broker::stores::{Certificates, Stores};
use casemate_broker::{Answer, Broker, Call, Config};
use casemate_kbs::{Attestation, cookie_header, snp_evidence};
use casemate_policy::Policy;
use ring::rand::SystemRandom;
use support::{Client, Memory, NOW, detail, policy_text, root};

fn post(client: &Client<'_>, attestation: &Attestation, certificates: &dyn Certificates) -> Answer {
    let (body, cookie) = (attestation.to_json().unwrap(), cookie_header(&client.cookie));
    let call = Call {
        method: "POST",
        path: "/kbs/v0/attest",
        cookie: Some(cookie.as_bytes()),
        body: body.as_bytes(),
        ..Call::default()
    };
    let entropy = &SystemRandom::new();
    client.broker.answer(&call, NOW, &Stores { certificates, secrets: client.secrets, entropy })
}

/// A folder that is gone when its test is.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_certificate_that_a_guest_does_not_send_is_found_in_the_store() {
    let name = format!("casemate-broker-certificates-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    let store = Store::new(&folder.0);
    let path = "/../../tests/vectors/evidence/trustee_snp_evidence.json";
    let genuine = std::fs::read(format!("{}{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let genuine = Evidence::read(&genuine).unwrap();
    let broker = support::broker(support::policy(""));
    let secrets = Memory::default();
    let mut client = Client::new(&broker, &secrets, 3);
    let challenge = client.challenge();
    let mut attestation = client.machine.attestation(challenge.nonce, &client.key);
    attestation.evidence = snp_evidence(&genuine.report).unwrap();
    attestation.init_data = None;
    assert!(attestation.evidence.get().contains("\"cert_chain\":null"));
    let without = post(&client, &attestation, &store);
    assert_eq!(without.status, 403);
    assert!(detail(&without).contains("VEK_PRESENT"), "{}", detail(&without));
    store.import_evidence(&genuine).unwrap();
    // Now its signature and chain hold, and what is left is that it is of another session.
    let with = post(&client, &attestation, &store);
    assert_eq!(with.status, 403);
    let faults = detail(&with);
    assert!(faults.starts_with("evidence refused: REPORT_DATA: "), "{faults}");
    assert!(!faults.contains(';'), "{faults}");
}

/// A broker that wants a revocation list, and has these.
fn broker(lists: Vec<Vec<u8>>) -> Broker {
    let text = policy_text("", "").replace("crl_checked = \"any\"", "crl_checked = \"required\"");
    let config = support::config(Policy::load(&text, "test.toml").unwrap());
    let terms = Inputs { crls: lists, ..config.terms };
    Broker::new(Config { terms, ..config })
}

/// A list of the MODEL root, with these serial numbers on it.
fn list(revoked: &[Vec<u8>]) -> Vec<u8> {
    root().crl(Signer::Ark, "260530000000Z", Some("270101000000Z"), revoked).unwrap()
}

#[test]
fn a_guest_whose_processors_issuer_is_revoked_gets_no_session() {
    let secrets = Memory::default();
    let ask = Certificate::from_der(root().ask()).unwrap();
    for (lists, status, reason) in [
        (Vec::new(), 403, "crl_checked"),
        (vec![list(&[])], 200, "token"),
        (vec![list(std::slice::from_ref(&ask.serial))], 403, "revoked"),
    ] {
        let broker = broker(lists);
        let mut client = Client::new(&broker, &secrets, 3);
        let challenge = client.challenge();
        let attestation = client.machine.attestation(challenge.nonce, &client.key);
        let answer = client.post(&attestation);
        let body = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, status, "{body}");
        assert!(body.contains(reason), "{body}");
    }
}
