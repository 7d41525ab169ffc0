//! The software security processor: launches, ID blocks, guest messages, reports that verify as
//! MODEL.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "common/model.rs"]
mod fixture;

use casemate_attestation::digest::{LaunchDigest, PageKind};
use casemate_attestation::evidence::{Evidence, Form};
use casemate_attestation::idblock::{IdBlock, OwnerKey, authenticate};
use casemate_attestation::model::{
    Finish, Guest, Header, KeyRequest, MessageType, ModelRoot, Processor, ReportRequest, Status,
    open, seal,
};
use casemate_attestation::report::Report;
use casemate_attestation::verify::{Code, Verifier};
use fixture::{chip, chip_with, guest, root, verifier};

const KEY_1: &str = include_str!("data/model_id_key.pem");

fn ask(
    guest: &mut Guest,
    processor: &Processor,
    kind: MessageType,
    vmpck: u8,
    body: &[u8],
) -> Vec<u8> {
    let slot = usize::from(vmpck);
    let sequence = guest.state().message_count[slot] + 1;
    let header = Header { sequence, kind, version: 1, size: 0, vmpck };
    let key = guest.state().vmpck[slot];
    let request = seal(header, &key, body).unwrap();
    let answer = guest.request(processor, &request).unwrap();
    let (header, payload) = open(&answer, &key).unwrap();
    assert_eq!(header.sequence, sequence + 1);
    payload
}

fn status(payload: &[u8]) -> u32 {
    u32::from_le_bytes(payload[..4].try_into().unwrap())
}

#[test]
fn a_report_through_guest_messages_verifies_under_the_accepted_model_root_only() {
    let chip = chip();
    let mut guest = guest(&chip);
    let request = ReportRequest { report_data: [9; 64], vmpl: 0, key_select: 0 };
    let payload = ask(&mut guest, &chip, MessageType::ReportRequest, 0, &request.to_bytes());
    assert_eq!(status(&payload), 0);
    assert_eq!(payload.len(), 32 + 1184);
    let report = &payload[32..];

    let verdict = verifier().verify(report, Some(chip.vcek()));
    assert!(verdict.authentic(), "{:#?}", verdict.failures().collect::<Vec<_>>());
    assert!(verdict.is_model());
    assert!(verdict.headline().contains("MODEL"));

    let refused = Verifier::new(common::at("2026-06-01")).verify(report, Some(chip.vcek()));
    assert_eq!(refused.first_failure().unwrap().code, Code::ArkPinned);
    let fields = Report::parse(report).unwrap();
    assert_eq!(fields.unverified_fields().report_data, [9; 64]);
    assert_eq!(fields.unverified_fields().measurement, guest.state().measurement);
}

#[test]
fn an_extended_report_with_the_models_table_is_read() {
    let chip = chip_with(|config| config.csp_id = Some("CN=cc-model.example".to_owned()));
    let guest = guest(&chip);
    for (select, kind) in [(1, "VCEK"), (2, "VLEK")] {
        let report = chip.report(guest.state(), [0; 64], 0, select).unwrap();
        let evidence = Evidence::read(&[&report[..], &chip.cert_table()].concat()).unwrap();
        assert_eq!(evidence.form, Form::Extended);
        let verdict = verifier().verify(&evidence.report, evidence.vek());
        assert!(verdict.authentic(), "{:#?}", verdict.failures().collect::<Vec<_>>());
        assert_eq!(verdict.vek().unwrap().extensions.kind.name(), kind);
    }
    // Each key's report under the other's certificate is refused.
    let by_vcek = chip.report(guest.state(), [0; 64], 0, 1).unwrap();
    let verdict = verifier().verify(&by_vcek, chip.vlek());
    assert_eq!(verdict.first_failure().unwrap().code, Code::SigningKey);
    let by_vlek = chip.report(guest.state(), [0; 64], 0, 2).unwrap();
    let verdict = verifier().verify(&by_vlek, Some(chip.vcek()));
    assert_eq!(verdict.first_failure().unwrap().code, Code::SigningKey);
}

#[test]
fn a_report_the_host_asked_for_is_not_a_guests() {
    let chip = chip();
    let report = chip.report(guest(&chip).state(), [0; 64], u32::MAX, 0).unwrap();
    let verdict = verifier().verify(&report, Some(chip.vcek()));
    assert_eq!(verdict.first_failure().unwrap().code, Code::Vmpl);
}

#[test]
fn the_launch_digest_of_the_model_is_the_measurement() {
    let chip = chip();
    let mut guest = Guest::start(&chip, 0x30000).unwrap();
    let mut digest = LaunchDigest::new();
    for (kind, gpa) in
        [(PageKind::Normal, 0x1000), (PageKind::Cpuid, 0x2000), (PageKind::Secrets, 0x3000)]
    {
        guest.update(kind, gpa, &[5; 4096]).unwrap();
        digest.page(kind, gpa, &[5; 4096]);
    }
    assert_eq!(guest.update(PageKind::Normal, 0x1001, &[0; 4096]), Err(Status::InvalidAddress));
    guest.finish(&Finish { host_data: [3; 32], ..Finish::default() }).unwrap();
    assert_eq!(guest.state().measurement, digest.finish());
    assert_eq!(guest.update(PageKind::Normal, 0x1000, &[0; 4096]), Err(Status::InvalidGuestState));
    assert_eq!(guest.finish(&Finish::default()), Err(Status::InvalidGuestState));
    let report = chip.report(guest.state(), [0; 64], 0, 0).unwrap();
    assert_eq!(Report::parse(&report).unwrap().unverified_fields().host_data, [3; 32]);
}

#[test]
fn an_id_block_is_checked_with_the_firmwares_codes() {
    let chip = chip();
    let fresh = || Guest::start(&chip, 0x30000).unwrap();
    let (id, author) = (
        OwnerKey::from_file(KEY_1.as_bytes()).unwrap(),
        OwnerKey::from_file(KEY_1.as_bytes()).unwrap(),
    );
    let good = IdBlock {
        launch_digest: LaunchDigest::new().finish(),
        family_id: [1; 16],
        image_id: [2; 16],
        guest_svn: 7,
        policy: 0x30000,
    };
    let finish = |block: &IdBlock, change: &dyn Fn(&mut [u8; 96], &mut [u8; 4096])| {
        let mut auth = authenticate(block, &id, Some(&author)).unwrap();
        let mut bytes = block.to_bytes();
        change(&mut bytes, &mut auth);
        let mut guest = fresh();
        let id = Some((&bytes[..], &auth[..]));
        let result = guest.finish(&Finish { id, author_key: true, ..Finish::default() });
        (result, guest)
    };
    let (result, guest) = finish(&good, &|_, _| ());
    assert_eq!(result, Ok(()));
    let report = chip.report(guest.state(), [0; 64], 0, 0).unwrap();
    let parsed = Report::parse(&report).unwrap();
    let fields = parsed.unverified_fields();
    assert_eq!(fields.id_key_digest, id.digest());
    assert_eq!(fields.author_key_digest, author.digest());
    assert!(fields.author_key_enabled());
    assert_eq!((fields.guest_svn, fields.family_id, fields.image_id), (7, [1; 16], [2; 16]));
    assert!(verifier().verify(&report, Some(chip.vcek())).authentic());

    let digest = IdBlock { launch_digest: [1; 48], ..good };
    assert_eq!(finish(&digest, &|_, _| ()).0, Err(Status::BadMeasurement));
    let policy = IdBlock { policy: 0xB0000, ..good };
    assert_eq!(finish(&policy, &|_, _| ()).0, Err(Status::PolicyFailure));
    assert_eq!(finish(&good, &|block, _| block[80] = 2).0, Err(Status::InvalidParam));
    assert_eq!(finish(&good, &|block, _| block[84] ^= 1).0, Err(Status::BadSignature));
    assert_eq!(finish(&good, &|_, auth| auth[0x40] ^= 1).0, Err(Status::BadSignature));
    assert_eq!(finish(&good, &|_, auth| auth[0x680] ^= 1).0, Err(Status::BadSignature));
    assert_eq!(finish(&good, &|_, auth| auth[0] = 2).0, Err(Status::Unsupported));
    assert_eq!(finish(&good, &|_, auth| auth[0x10] = 2).0, Err(Status::InvalidParam));
    // A refused finish leaves the launch open.
    let (_, mut guest) = finish(&digest, &|_, _| ());
    assert_eq!(guest.finish(&Finish::default()), Ok(()));
}

#[test]
fn a_policy_the_platform_cannot_keep_is_refused() {
    let chip = chip();
    for policy in
        [0x10000, 0x20000, 0x30000 | 1 << 40, 0x30000 | 1 << 23, 0x30000 | 1 << 24, 0x3ff00]
    {
        assert_eq!(Guest::start(&chip, policy).unwrap_err(), Status::PolicyFailure, "{policy:#x}");
    }
    assert!(Guest::start(&chip, 0x30000 | 1 << 19).is_ok());
}

#[test]
fn guest_messages_cannot_be_replayed_altered_or_sent_from_below() {
    let chip = chip();
    let mut guest = guest(&chip);
    let key = guest.state().vmpck[0];
    let body = ReportRequest { report_data: [1; 64], vmpl: 0, key_select: 0 }.to_bytes();
    let message = |sequence, vmpck: u8, key: &[u8; 32]| {
        let kind = MessageType::ReportRequest;
        seal(Header { sequence, kind, version: 1, size: 0, vmpck }, key, &body).unwrap()
    };
    let first = message(1, 0, &key);
    assert!(guest.request(&chip, &first).is_ok());
    assert_eq!(guest.request(&chip, &first).unwrap_err(), Status::AeadOverflow);
    assert_eq!(guest.request(&chip, &message(5, 0, &key)).unwrap_err(), Status::AeadOverflow);
    assert_eq!(guest.request(&chip, &message(3, 0, &[0; 32])).unwrap_err(), Status::BadMeasurement);
    let good = message(3, 0, &key);
    for offset in [0, 15, 0x35, 0x60, 0x60 + 95] {
        let mut altered = good;
        altered[offset] ^= 1;
        assert_eq!(
            guest.request(&chip, &altered).unwrap_err(),
            Status::BadMeasurement,
            "{offset:#x}"
        );
    }
    for offset in [0x12, 0x28, 0x30, 0x31, 0x32, 0x38, 0x3d, 0x5f] {
        let mut altered = good;
        altered[offset] ^= 0x80;
        assert_eq!(
            guest.request(&chip, &altered).unwrap_err(),
            Status::InvalidParam,
            "{offset:#x}"
        );
    }
    assert!(guest.request(&chip, &good).is_ok());
    // VMPCK 2 may ask for VMPL 2 and 3, not for VMPL 0.
    let payload = ask(&mut guest, &chip, MessageType::ReportRequest, 2, &body);
    assert_eq!(status(&payload), Status::InvalidParam.code());
    let body = ReportRequest { report_data: [1; 64], vmpl: 3, key_select: 0 }.to_bytes();
    let payload = ask(&mut guest, &chip, MessageType::ReportRequest, 2, &body);
    assert_eq!(status(&payload), 0);
    // An exhausted counter ends the channel.
    let mut state = guest.state().clone();
    state.message_count[0] = u64::MAX - 1;
    let mut last = Guest::running(state);
    assert_eq!(last.request(&chip, &message(u64::MAX, 0, &key)).unwrap_err(), Status::AeadOverflow);
}

#[test]
fn derived_keys_depend_on_what_is_selected_and_are_bounded() {
    let chip = chip();
    let mut guest = guest(&chip);
    let mut derive = |request: KeyRequest| {
        let payload = ask(&mut guest, &chip, MessageType::KeyRequest, 0, &request.to_bytes());
        (status(&payload), payload[32..].to_vec())
    };
    let base = KeyRequest { root_key_select: 0, fields: 0, vmpl: 0, guest_svn: 0, tcb: [0; 8] };
    let (status, key) = derive(base);
    assert_eq!((status, key.len()), (0, 32));
    assert_eq!(derive(base).1, key);
    assert_ne!(derive(KeyRequest { fields: 8, ..base }).1, key);
    assert_ne!(derive(KeyRequest { vmpl: 1, ..base }).1, key);
    assert_ne!(derive(KeyRequest { root_key_select: 1, ..base }).1, key);
    for bad in [
        KeyRequest { guest_svn: 1, ..base },
        KeyRequest { tcb: [2, 0, 0, 0, 0, 0, 0, 0], ..base },
        KeyRequest { fields: 1 << 20, ..base },
        KeyRequest { vmpl: 4, ..base },
    ] {
        assert_eq!(derive(bad).0, Status::InvalidParam.code(), "{bad:?}");
    }
}

#[test]
fn a_disabled_vcek_signs_nothing() {
    let chip = chip();
    let mut guest = Guest::start(&chip, 0x30000).unwrap();
    guest.finish(&Finish { vcek_disabled: true, ..Finish::default() }).unwrap();
    assert_eq!(chip.report(guest.state(), [0; 64], 0, 1), Err(Status::InvalidKey));
    assert_eq!(chip.report(guest.state(), [0; 64], 0, 2), Err(Status::InvalidKey));
    assert_eq!(chip.report(guest.state(), [0; 64], 0, 3), Err(Status::InvalidParam));
}

#[test]
fn root_and_chip_survive_being_stored() {
    let chip = chip();
    let stored_root = ModelRoot::from_bytes(&root().to_bytes().unwrap()).unwrap();
    let stored = Processor::from_bytes(&chip.to_bytes().unwrap()).unwrap();
    assert_eq!(stored.vcek(), chip.vcek());
    let report = stored.report(guest(&stored).state(), [0; 64], 0, 0).unwrap();
    assert!(verifier().verify(&report, Some(stored.vcek())).authentic());
    let again = Processor::new(&stored_root, chip.config().clone()).unwrap();
    let report = again.report(guest(&again).state(), [0; 64], 0, 0).unwrap();
    assert!(verifier().verify(&report, Some(again.vcek())).authentic());
    for damaged in [&b"{}"[..], b"", b"[1]"] {
        assert!(ModelRoot::from_bytes(damaged).is_err());
        assert!(Processor::from_bytes(damaged).is_err());
    }
}

#[test]
fn a_new_root_certifies_chips_of_its_own() {
    let fresh = ModelRoot::generate(casemate_attestation::report::Generation::Genoa).unwrap();
    let config = casemate_attestation::model::Config::new(fresh.generation()).unwrap();
    let chip = Processor::new(&fresh, config).unwrap();
    let report = chip.report(guest(&chip).state(), [0; 64], 0, 0).unwrap();
    let mut verifier = Verifier::new(common::at("2026-06-01"));
    let bundle =
        casemate_attestation::cert::certificates_in(fresh.bundle_pem().as_bytes()).unwrap();
    verifier.roots.accept_model(bundle).unwrap();
    assert!(verifier.verify(&report, Some(chip.vcek())).authentic());
    // The stored root's chip is not this root's.
    let other = fixture::chip();
    let report = other.report(guest(&other).state(), [0; 64], 0, 0).unwrap();
    let refused = verifier.verify(&report, Some(other.vcek()));
    assert_eq!(refused.first_failure().unwrap().code, Code::ArkPinned);
}

#[test]
fn every_certificate_of_the_model_says_so() {
    let chip = chip();
    for der in [root().ark(), root().ask(), root().asvk(), chip.vcek()] {
        let certificate = casemate_attestation::cert::Certificate::from_der(der).unwrap();
        for name in [&certificate.subject, &certificate.issuer] {
            let text = String::from_utf8_lossy(name).into_owned();
            assert!(text.matches("MODEL").count() >= 3, "{text}");
        }
    }
}

#[test]
fn the_secrets_page_carries_the_message_keys() {
    let chip = chip();
    let guest = guest(&chip);
    let page = guest.secrets_page(&chip);
    assert_eq!(page[0x20..0x40], guest.state().vmpck[0]);
    assert_eq!(page[0x80..0xa0], guest.state().vmpck[3]);
    assert!(page[0xa0..].iter().all(|byte| *byte == 0));
}
