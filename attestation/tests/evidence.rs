//! Every form of evidence leads to the same report and certificate, and damage of any form is an error.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use attestation::evidence::{Evidence, EvidenceError, Form};
use attestation::record::{Inputs, Record};
use attestation::store::{Store, vcek_url};
use attestation::verify::Verifier;
use base64ct::{Base64, Base64UrlUnpadded, Encoding};

fn table(guid: [u8; 16], contents: &[u8]) -> Vec<u8> {
    let mut out = guid.to_vec();
    out.extend(48u32.to_le_bytes());
    out.extend(u32::try_from(contents.len()).unwrap().to_le_bytes());
    out.resize(48, 0);
    out.extend(contents);
    out
}

fn pem(der: &[u8]) -> String {
    let body = Base64::encode_string(der);
    let lines: Vec<_> =
        body.as_bytes().chunks(64).map(|l| String::from_utf8_lossy(l).into_owned()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[test]
fn every_form_is_recognised_and_verifies() {
    let pair = common::find("ms_genoa");
    let vcek = attestation::evidence::VCEK_GUID;
    let der = [&pair.report[..], &table(vcek, &pair.vek)].concat();
    let with_pem = [&pair.report[..], &table(vcek, pem(&pair.vek).as_bytes())].concat();
    let bundle = [
        pem(&common::read("chains/genoa/ark.der")),
        pem(&common::read("chains/genoa/ask.der")),
        pem(&pair.vek),
    ]
    .concat();
    let tsm = |aux: &[u8]| {
        let (out, aux) =
            (Base64UrlUnpadded::encode_string(&pair.report), Base64::encode_string(aux));
        format!("{{\"auxblob\":\"{aux}\",\"outblob\":\"{out}\",\"provider\":\"sev_guest\\n\"}}")
            .into_bytes()
    };
    for (bytes, form) in [
        (der, Form::Extended),
        (with_pem, Form::Extended),
        (tsm(&table(vcek, &pair.vek)), Form::TsmJson),
        (tsm(&table(vcek, bundle.as_bytes())), Form::TsmJson),
    ] {
        let evidence = Evidence::read(&bytes).unwrap();
        assert_eq!(evidence.form, form);
        assert!(
            Verifier::new(pair.at).verify(&evidence.report, evidence.vek.as_deref()).accepted()
        );
    }
    for (name, form, has_vek) in [
        ("ext/eternis_gcp_ext.bin", Form::Extended, true),
        ("evidence/trustee_snp_evidence.json", Form::CocoJson, true),
        ("ext/openpcc_azure.bin", Form::Hcl, false),
        ("evidence/trustee_az_hcl_report.bin", Form::Hcl, false),
        ("reports/ms_turin.bin", Form::Raw, false),
    ] {
        let evidence = Evidence::read(&common::read(name)).unwrap();
        assert_eq!((evidence.form, evidence.vek.is_some()), (form, has_vek), "{name}");
        if has_vek {
            let verdict = Verifier::new(pair.at).verify(&evidence.report, evidence.vek.as_deref());
            assert!(verdict.accepted(), "{name}");
        }
    }
}

#[test]
fn damaged_evidence_is_an_error_that_says_where() {
    let coco = String::from_utf8(common::read("evidence/trustee_snp_evidence.json")).unwrap();
    let fault = |bytes: &[u8]| Evidence::read(bytes).unwrap_err();
    assert!(matches!(fault(&vec![0; 1024 * 1024 + 1]), EvidenceError::TooLong(_)));
    assert!(matches!(fault(&[0; 1183]), EvidenceError::UnknownForm(1183)));
    assert!(matches!(fault(&[0; 0]), EvidenceError::UnknownForm(0)));
    assert!(matches!(fault(&[1; 1185]), EvidenceError::Table { .. }));
    assert!(matches!(fault(b"HCLA"), EvidenceError::Hcl(_)));
    assert!(matches!(fault(&[b"HCLA".as_slice(), &[0; 2000]].concat()), EvidenceError::Hcl(_)));
    assert!(matches!(fault(b"{}"), EvidenceError::Json(_)));
    assert!(matches!(fault(b"{\"outblob\": \"*\"}"), EvidenceError::Json(_)));
    assert!(matches!(
        fault(coco.replace("\"vmpl\"", "\"vmpI\"").as_bytes()),
        EvidenceError::Json(_)
    ));
    assert!(matches!(
        fault(coco.replacen("[0,0,", "[0,", 1).replacen("[0, 0, ", "[0, ", 1).as_bytes()),
        EvidenceError::Json(_)
    ));
    assert!(matches!(fault(&vec![b'['; 100_000]), EvidenceError::Table { .. }));
    assert!(matches!(
        fault(&[b"{\"attestation_report\":".as_slice(), &vec![b'['; 100_000]].concat()),
        EvidenceError::Json(_)
    ));
}

#[test]
fn a_record_replays_to_the_same_verdict_and_not_when_it_was_altered() {
    let pair = common::find("ms_turin");
    let inputs = Inputs {
        report: pair.report.clone(),
        vek: Some(pair.vek),
        at: pair.at,
        ..Inputs::default()
    };
    for (change, accepted) in [(0u8, true), (1, false)] {
        let mut inputs = inputs.clone();
        inputs.report[0x90] ^= change;
        let verdict = inputs.verify().unwrap();
        assert_eq!(verdict.accepted(), accepted);
        let json = serde_json::to_string(&Record::new(&inputs, &verdict).unwrap()).unwrap();
        let replay = Record::from_json(json.as_bytes()).unwrap().replay().unwrap();
        assert!(replay.same);
        assert_eq!(replay.verdict.accepted(), accepted);
        let turned = if accepted {
            json.replace("\"accepted\":true", "\"accepted\":false")
        } else {
            json.replace("\"accepted\":false", "\"accepted\":true")
        };
        assert!(!Record::from_json(turned.as_bytes()).unwrap().replay().unwrap().same);
        let later = json.replace(&format!("\"at\":{}", pair.at), "\"at\":1");
        assert!(!Record::from_json(later.as_bytes()).unwrap().replay().unwrap().same);
        let swapped = json.replacen("\"base64\":\"BQ", "\"base64\":\"BA", 1);
        assert_ne!(swapped, json);
        assert!(Record::from_json(swapped.as_bytes()).unwrap().replay().is_err());
        assert!(
            Record::from_json(json.replace("\"format\":1", "\"format\":2").as_bytes()).is_err()
        );
    }
}

#[test]
fn the_store_finds_what_was_imported_and_nothing_else() {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("store-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let store = Store::new(&folder);
    assert!(store.list().is_empty());
    store.import_path(&common::vectors().join("reports")).unwrap();
    store.import_path(&common::vectors().join("crls")).unwrap();
    store.import_path(&common::vectors().join("chains/milan")).unwrap();
    let before = store.list();
    store.import_path(&common::vectors().join("reports")).unwrap();
    assert_eq!(store.list(), before, "importing again changes nothing");
    for name in ["ms_milan", "ms_genoa", "ms_turin", "virtee_milan", "trustee_vlek"] {
        let pair = common::find(name);
        let report = attestation::report::Report::parse(&pair.report).unwrap();
        assert_eq!(store.find_vek(report.unverified_fields()), Some(pair.vek), "{name}");
        let mut other = pair.report.clone();
        other[0x187] ^= 1;
        let other = attestation::report::Report::parse(&other).unwrap();
        assert_eq!(store.find_vek(other.unverified_fields()), None, "{name} of another TCB");
    }
    assert_eq!(store.intermediates().len(), 2);
    assert_eq!(store.crls().len(), 2);
    assert!(store.import_path(&common::vectors().join("INDEX.md")).is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn loose_certificates_in_a_directory_are_found() {
    let store = Store::new(common::vectors().join("reports"));
    let pair = common::find("ms_turin");
    let report = attestation::report::Report::parse(&pair.report).unwrap();
    assert_eq!(store.find_vek(report.unverified_fields()), Some(pair.vek));
}

#[test]
fn the_address_of_a_missing_certificate_names_chip_and_tcb() {
    let url = |name: &str| {
        let pair = common::find(name);
        vcek_url(attestation::report::Report::parse(&pair.report).unwrap().unverified_fields())
    };
    assert_eq!(
        url("ms_turin").unwrap(),
        "https://kdsintf.amd.com/vcek/v1/Turin/59790fb1c39f35c1?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81"
    );
    assert!(url("ms_milan").unwrap().ends_with("?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219"));
    assert_eq!(url("virtee_milan"), None, "version 2 does not tell the generation");
}
