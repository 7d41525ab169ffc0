//! What these tests protect: a signing key, an ID block, an identifier is read in each form that
//! people hold, and another is named with what converts it. The keys are MODEL keys, published with
//! these tests. What they cannot tell: forms that no tool tried here writes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use base64ct::{Base64, Encoding};
use casemate_attestation::hex::{encode, from_people};
use casemate_attestation::idblock::{ID_BLOCK_SIZE, IdError, OwnerKey, from_file};
use casemate_attestation::verify::Appraisal;

const PKCS8: &str = include_str!("data/model_id_key.pem");
const SEC1: &str = include_str!("data/model_id_key_sec1.pem");
const ENCRYPTED: &str = include_str!("data/model_id_key_encrypted.pem");
/// What `openssl ecparam -genkey` puts before a key.
const CURVE: &str = "-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n";

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    Base64::decode_vec(&body).unwrap()
}

#[test]
fn a_key_is_the_same_in_every_form() {
    let wanted = OwnerKey::from_file(PKCS8.as_bytes()).unwrap().digest();
    for bytes in [
        der(PKCS8),
        der(SEC1),
        SEC1.as_bytes().to_vec(),
        format!("{CURVE}{SEC1}").into_bytes(),
        SEC1.replace('\n', "\r\n").into_bytes(),
        Base64::encode_string(&der(PKCS8)).into_bytes(),
    ] {
        assert_eq!(OwnerKey::from_file(&bytes).unwrap().digest(), wanted);
    }
}

#[test]
fn a_key_that_cannot_be_used_is_named_with_what_converts_it() {
    let fault = |bytes: &[u8]| OwnerKey::from_file(bytes).unwrap_err();
    let says = |text: &str, wanted: &str| {
        let error = fault(text.as_bytes());
        assert!(
            matches!(error, IdError::KeyForm(_)) && error.to_string().contains(wanted),
            "{error}"
        );
    };
    says(ENCRYPTED, "openssl pkey");
    says(&SEC1.replacen('\n', "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES,00\n\n", 1), "openssl pkey");
    says("-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n", "public key");
    says(
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAA==\n-----END OPENSSH PRIVATE KEY-----",
        "ssh-keygen",
    );
    says("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "a certificate");
    // What `openssl genrsa`, `genpkey`, `pkcs8 -topk8` and `pkcs12 -export` begin with.
    for (bytes, wanted) in [
        (&b"\x30\x82\x04\xa4\x02\x01\x00\x02\x82\x01\x01\x00"[..], "RSA"),
        (
            b"\x30\x82\x04\xbe\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01",
            "RSA",
        ),
        (b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20", "Ed25519"),
        (b"\x30\x13\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", "P-256"),
        (b"\x30\x82\x01\x1c\x30\x57\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d", "encrypted"),
        (b"\x30\x82\x02\x01\x03\x30\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01", "PKCS #12"),
    ] {
        let error = fault(bytes);
        assert!(error.to_string().contains(wanted), "{wanted}: {error}");
        says(&Base64::encode_string(bytes), wanted);
    }
    let sec1 = der(SEC1);
    // Another curve, another version, no public key, a damaged one, something behind it.
    let alter = |at: usize, with: u8| {
        let mut altered = sec1.clone();
        altered[at] = with;
        altered
    };
    let curve =
        sec1.windows(5).position(|window| window == [0x2b, 0x81, 0x04, 0x00, 0x22]).unwrap();
    let last = sec1.len() - 1;
    for bytes in [
        alter(curve + 4, 0x24),
        alter(5, 2),
        alter(last, sec1[last] ^ 1),
        [&sec1[..], &[0]].concat(),
        sec1[..last].to_vec(),
        b"no key".to_vec(),
        vec![],
    ] {
        assert_eq!(fault(&bytes), IdError::PrivateKey);
    }
}

#[test]
fn an_id_block_is_read_as_bytes_or_base64() {
    let block: Vec<u8> = (0..96).collect();
    let text = Base64::encode_string(&block);
    assert_eq!(from_file(block.clone(), ID_BLOCK_SIZE), block);
    assert_eq!(from_file(format!("{text}\n").into_bytes(), ID_BLOCK_SIZE), block);
    assert_eq!(from_file(b"AAAA".to_vec(), ID_BLOCK_SIZE), b"AAAA", "left to be refused");
}

#[test]
fn hexadecimal_of_people_may_have_its_prefix_and_an_appraisal_turins_identifiers() {
    assert_eq!(from_people("0x00fF"), Some(vec![0, 255]));
    assert_eq!(from_people(" 00 FF\n"), Some(vec![0, 255]));
    for bad in ["0x0", "0x0x00", "x00", "0xg0", "-00"] {
        assert_eq!(from_people(bad), None, "{bad}");
    }
    let chips = |text: &str| Appraisal::from_toml(&format!("chip-ids = [\"{text}\"]"));
    let short = "59790fb1c39f35c1";
    let long = format!("{short}{}", "00".repeat(56));
    for text in [short.to_owned(), format!("0x{short}"), long.clone()] {
        let ids = chips(&text).unwrap().chip_ids.unwrap();
        assert_eq!(encode(&ids[0].0), long);
    }
    assert!(chips(&long[..120]).unwrap_err().to_string().contains("64 bytes"));
    let measurement = format!("measurements = [\"0x{}\"]", "ab".repeat(48));
    assert_eq!(Appraisal::from_toml(&measurement).unwrap().measurements.unwrap()[0].0, [0xab; 48]);
}
