//! Against independent implementations: crate `sev`, and with feature `aws-lc` the other crypto
//! back end.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "common/model.rs"]
mod fixture;

use casemate_attestation::report::{Generation, Report, Tcb};
use sev::certs::snp::{Certificate, Chain, Verifiable, ca};
use sev::firmware::guest::AttestationReport;
use sev::firmware::host::TcbVersion;
use sev::parser::ByteParser;

fn tcb(theirs: &TcbVersion, ours: Tcb, generation: Generation, name: &str) {
    for (component, value) in ours.components(generation) {
        let other = match component {
            "fmc" => theirs.fmc.unwrap_or(0),
            "bootloader" => theirs.bootloader,
            "tee" => theirs.tee,
            "snp" => theirs.snp,
            _ => theirs.microcode,
        };
        assert_eq!(value, other, "{name} {component}");
    }
}

fn compare(name: &str, bytes: &[u8], generation: Generation) {
    let theirs = AttestationReport::from_bytes(bytes).unwrap();
    let parsed = Report::parse(bytes).unwrap();
    let ours = parsed.unverified_fields();
    assert_eq!(theirs.version, ours.version, "{name}");
    assert_eq!(theirs.guest_svn, ours.guest_svn, "{name}");
    assert_eq!(u64::from(theirs.policy), ours.policy, "{name}");
    assert_eq!(theirs.family_id, ours.family_id, "{name}");
    assert_eq!(theirs.image_id, ours.image_id, "{name}");
    assert_eq!(theirs.vmpl, ours.vmpl, "{name}");
    assert_eq!(theirs.sig_algo, ours.signature_algorithm, "{name}");
    assert_eq!(u64::from(theirs.plat_info), ours.platform_info, "{name}");
    assert_eq!(u32::from(theirs.key_info), ours.flags, "{name}");
    assert_eq!(theirs.report_data, ours.report_data, "{name}");
    assert_eq!(theirs.measurement, ours.measurement, "{name}");
    assert_eq!(theirs.host_data, ours.host_data, "{name}");
    assert_eq!(theirs.id_key_digest, ours.id_key_digest, "{name}");
    assert_eq!(theirs.author_key_digest, ours.author_key_digest, "{name}");
    assert_eq!(theirs.report_id, ours.report_id, "{name}");
    assert_eq!(theirs.report_id_ma, ours.report_id_ma, "{name}");
    assert_eq!(theirs.chip_id, ours.chip_id, "{name}");
    let cpuid = [theirs.cpuid_fam_id, theirs.cpuid_mod_id, theirs.cpuid_step];
    assert_eq!(cpuid.map(Option::unwrap_or_default), ours.cpuid, "{name}");
    assert_eq!(theirs.launch_mit_vector.unwrap_or(0), ours.launch_mitigations.unwrap_or(0));
    assert_eq!(theirs.current_mit_vector.unwrap_or(0), ours.current_mitigations.unwrap_or(0));
    let (c, v) = (&theirs.current, ours.current_version);
    assert_eq!((c.major, c.minor, c.build), (v.major, v.minor, v.build), "{name}");
    tcb(&theirs.current_tcb, ours.current_tcb, generation, name);
    tcb(&theirs.reported_tcb, ours.reported_tcb, generation, name);
    tcb(&theirs.committed_tcb, ours.committed_tcb, generation, name);
    tcb(&theirs.launch_tcb, ours.launch_tcb, generation, name);
}

#[test]
fn every_report_is_parsed_as_crate_sev_parses_it() {
    for pair in common::pairs() {
        let verifier = casemate_attestation::verify::Verifier::new(pair.at);
        let generation = verifier.verify_chain(&pair.vek).unwrap().generation;
        compare(pair.name, &pair.report, generation);
    }
}

#[test]
fn reports_and_certificates_of_the_model_satisfy_crate_sev() {
    for version in [3, 5] {
        let chip = fixture::chip_with(|config| config.report_version = version);
        let report = chip.report(fixture::guest(&chip).state(), [7; 64], 0, 0).unwrap();
        compare("model", &report, Generation::Turin);
        let certificate = |der: &[u8]| Certificate::from_der(der).unwrap();
        let root = fixture::root();
        let chain = Chain {
            ca: ca::Chain { ark: certificate(root.ark()), ask: certificate(root.ask()) },
            vek: certificate(chip.vcek()),
        };
        let theirs = AttestationReport::from_bytes(&report).unwrap();
        (&chain, &theirs).verify().unwrap();
        // What crate sev writes back are the bytes that the model signed.
        assert_eq!(theirs.to_bytes().unwrap().as_ref(), &report[..]);
    }
}

#[test]
fn the_id_authentication_of_crate_sevs_tests_checks() {
    // Digest and expected key digests: virtee/sev tests/id-block.rs.
    let digest = "a14d638341e5674628fe1e02fbedebe5e5ab4faf1dd72d8966068e615bb99efd13d214b35c231715b38e263dc6059745";
    let block = casemate_attestation::idblock::IdBlock {
        launch_digest: casemate_attestation::hex::decode(digest).unwrap().try_into().unwrap(),
        family_id: [0; 16],
        image_id: [0; 16],
        guest_svn: 0,
        policy: 0x30000,
    };
    let auth = common::read("measure/sev_test_auth_block.bin");
    let digests = casemate_attestation::idblock::check(&block.to_bytes(), &auth, true).unwrap();
    let expected = |text: &str| {
        use base64ct::{Base64, Encoding};
        Base64::decode_vec(text).unwrap()
    };
    let id = "WfssaG36T+9J84M5qndckAUcKNVzg93DuvO160sUlt87DbvcuuX+J2d6ZEggdz/i";
    let author = "7tgRafsMteDsNHlPEo/U4MSkb2fGWhrfqB/LJLzAiMJyNpt//D6ytq9qQoShs2xf";
    assert_eq!(digests.id_key.to_vec(), expected(id));
    assert_eq!(digests.author_key.unwrap().to_vec(), expected(author));
}

/// Both back ends agree on every vector and on a flip of every byte of report and certificate.
#[cfg(feature = "aws-lc")]
#[test]
fn both_crypto_back_ends_give_the_same_verdicts() {
    use casemate_attestation::crypto::{AwsLc, Ring};
    use casemate_attestation::verify::Verifier;
    let mut compared = 0;
    for pair in common::pairs() {
        let with = |backend| {
            let mut verifier = Verifier::new(pair.at);
            verifier.backend = backend;
            verifier
        };
        let (ring, aws) = (with(&Ring), with(&AwsLc));
        let mut judge = |report: &[u8], vek: &[u8]| {
            let (a, b) = (ring.verify(report, Some(vek)), aws.verify(report, Some(vek)));
            assert_eq!(a.checks(), b.checks(), "{}", pair.name);
            compared += 1;
        };
        judge(&pair.report, &pair.vek);
        for at in (0..1184).step_by(7) {
            let mut report = pair.report.clone();
            report[at] ^= 0x10;
            judge(&report, &pair.vek);
        }
        for at in (0..pair.vek.len()).step_by(11) {
            let mut vek = pair.vek.clone();
            vek[at] ^= 0x04;
            judge(&pair.report, &vek);
        }
    }
    println!("{compared} verdicts compared");
}
