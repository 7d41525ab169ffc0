//! Every vector of `tests/vectors` gives the result that its INDEX.md states.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use casemate_attestation::cert::Certificate;
use casemate_attestation::hex::encode;
use casemate_attestation::report::{Generation, Report};
use casemate_attestation::verify::{Appraisal, BitRule, Code, Verifier};

/// Admits what the odd vectors have: debug, VMPL 1, Milan.
fn lenient(at: u64) -> Verifier {
    let mut verifier = Verifier::new(at);
    verifier.appraisal.guest_policy.debug = BitRule::Any;
    verifier.appraisal.vmpl = Some(vec![0, 1]);
    verifier.appraisal.allow_broken_roots = vec![Generation::Milan];
    verifier
}

/// The built-in rules, but for Milan's broken root.
fn milan_allowed(at: u64) -> Verifier {
    let mut verifier = Verifier::new(at);
    verifier.appraisal.allow_broken_roots = vec![Generation::Milan];
    verifier
}

#[test]
fn every_genuine_pair_is_authentic() {
    for pair in common::pairs() {
        let verdict = lenient(pair.at).verify(&pair.report, Some(&pair.vek));
        let failures: Vec<_> = verdict.failures().collect();
        assert!(verdict.authentic(), "{}: {failures:#?}", pair.name);
        assert!(!verdict.is_model());
        let codes: Vec<_> = verdict.checks().iter().map(|check| check.code).collect();
        for code in Code::ALL {
            assert!(codes.contains(code), "{}: {code} has no outcome", pair.name);
        }
    }
}

#[test]
fn the_built_in_appraisal_refuses_debug_and_vmpl_1() {
    for (name, code) in [("gsg_milan", Code::PolicyDebug), ("trustee_vlek", Code::Vmpl)] {
        let pair = common::find(name);
        let verdict = milan_allowed(pair.at).verify(&pair.report, Some(&pair.vek));
        let failed: Vec<_> = verdict.failures().map(|check| check.code).collect();
        assert_eq!(failed, [code], "{name}");
    }
}

#[test]
fn an_expired_vlek_is_refused_at_the_present_and_accepted_in_its_year() {
    let pair = common::find("trustee_vlek");
    let verdict = lenient(common::at("2026-01-01")).verify(&pair.report, Some(&pair.vek));
    assert_eq!(verdict.first_failure().unwrap().code, Code::VekValidity);
}

#[test]
fn the_redacted_certificate_verifies_nothing() {
    let report = common::read("reports/trustee_test-report.bin");
    let vek = common::read("reports/trustee_test-vcek-invalid-legacy.der");
    let parsed = Certificate::from_der(&vek).unwrap();
    assert!(casemate_attestation::cert::VekExtensions::parse(&parsed.extensions).is_ok());
    let verdict = lenient(common::at(common::AT)).verify(&report, Some(&vek));
    assert_eq!(verdict.first_failure().unwrap().code, Code::VekSignature);
    assert!(verdict.vek().is_none());
}

#[test]
fn a_lone_turin_certificate_has_a_good_chain() {
    let vek = common::read("reports/virtee_turin.vcek.der");
    let chain = Verifier::new(common::at(common::AT)).verify_chain(&vek).unwrap();
    assert_eq!(chain.generation, Generation::Turin);
    assert_eq!(chain.extensions.struct_version, 1);
}

#[test]
fn the_crls_verify_in_their_window_and_only_then() {
    for (name, crl, good, stale) in [
        ("ms_milan", "crls/milan_crl_6.der", "2026-03-01", "2026-06-01"),
        ("oak_genoa_oc", "crls/genoa_crl_4.der", "2025-10-01", "2025-11-04"),
    ] {
        let pair = common::find(name);
        for (at, fresh) in [(good, true), (stale, false)] {
            let mut verifier = milan_allowed(common::at(at));
            verifier.add_crl(&common::read(crl));
            verifier.appraisal.require_crl = true;
            let verdict = verifier.verify(&pair.report, Some(&pair.vek));
            assert_eq!(verdict.authentic(), fresh, "{name} at {at}");
            if !fresh {
                assert_eq!(verdict.first_failure().unwrap().code, Code::CrlFreshness);
            }
        }
    }
}

#[test]
fn the_genoa_crl_revokes_the_earlier_ask_and_not_todays() {
    let crl =
        casemate_attestation::cert::Crl::from_der(&common::read("crls/genoa_crl_4.der")).unwrap();
    assert!(crl.revokes(&[2, 0, 1]));
    assert!(!crl.revokes(&[2, 0, 2]));
}

#[test]
fn the_crl_of_another_generation_is_refused_not_ignored() {
    let pair = common::find("ms_genoa");
    let mut verifier = Verifier::new(common::at("2026-03-01"));
    verifier.add_crl(&common::read("crls/milan_crl_6.der"));
    let verdict = verifier.verify(&pair.report, Some(&pair.vek));
    assert_eq!(verdict.first_failure().unwrap().code, Code::CrlIssuer);
}

#[test]
fn parsed_fields_equal_the_golden_values() {
    let golden = common::golden();
    let mut compared = 0;
    for entry in golden["vectors"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let Some(pair) = common::pairs().into_iter().find(|pair| pair.name == name) else {
            continue;
        };
        let report = Report::parse(&pair.report).unwrap();
        let got = report.unverified_fields();
        let want = &entry["fields"];
        let text = |key: &str| want[key].as_str().unwrap().to_owned();
        assert_eq!(u64::from(got.version), want["ver"].as_u64().unwrap(), "{name}");
        assert_eq!(u64::from(got.guest_svn), want["svn"].as_u64().unwrap(), "{name}");
        assert_eq!(format!("{:#x}", got.policy), text("policy"), "{name}");
        assert_eq!(u64::from(got.vmpl), want["vmpl"].as_u64().unwrap(), "{name}");
        assert_eq!(format!("{:#x}", got.platform_info), text("plat"), "{name}");
        assert_eq!(u64::from(got.flags), want["flags"].as_u64().unwrap(), "{name}");
        assert_eq!(encode(&got.cpuid), text("fms"), "{name}");
        assert_eq!(encode(&got.current_tcb.0), text("cur"), "{name}");
        assert_eq!(encode(&got.reported_tcb.0), text("rep"), "{name}");
        assert_eq!(encode(&got.committed_tcb.0), text("com"), "{name}");
        assert_eq!(encode(&got.launch_tcb.0), text("launch"), "{name}");
        assert_eq!(format!("{:#x}", got.launch_mitigations.unwrap_or(0)), text("lmit"), "{name}");
        assert_eq!(format!("{:#x}", got.current_mitigations.unwrap_or(0)), text("cmit"), "{name}");
        assert_eq!(encode(&got.family_id), text("family_id"), "{name}");
        assert_eq!(encode(&got.image_id), text("image_id"), "{name}");
        assert_eq!(encode(&got.report_data), text("report_data"), "{name}");
        assert_eq!(encode(&got.measurement), text("measurement"), "{name}");
        assert_eq!(encode(&got.host_data), text("host_data"), "{name}");
        assert_eq!(encode(&got.id_key_digest), text("id_key_digest"), "{name}");
        assert_eq!(encode(&got.author_key_digest), text("author_key_digest"), "{name}");
        assert_eq!(encode(&got.report_id), text("report_id"), "{name}");
        assert_eq!(encode(&got.report_id_ma), text("report_id_ma"), "{name}");
        assert_eq!(encode(&got.chip_id), text("chip_id"), "{name}");
        assert_eq!(got.current_version.to_string(), text("current_version"), "{name}");
        compared += 1;
    }
    assert_eq!(compared, 13);
}

#[test]
fn a_kept_chain_gives_the_same_verdict() {
    for pair in common::pairs() {
        let verifier = lenient(pair.at);
        let chain = verifier.verify_chain(&pair.vek).unwrap();
        let cold = verifier.verify(&pair.report, Some(&pair.vek));
        let warm = verifier.verify_under(&pair.report, &chain);
        assert_eq!(cold.checks(), warm.checks(), "{}", pair.name);
        assert_eq!(cold.authentic(), warm.authentic());
        let mut later = lenient(pair.at);
        later.at = common::at("2040-01-01");
        assert_eq!(
            later.verify_under(&pair.report, &chain).first_failure().unwrap().code,
            Code::VekValidity
        );
    }
}

#[test]
fn no_certificate_means_no_proof() {
    let pair = common::find("ms_genoa");
    let verdict = Verifier::new(pair.at).verify(&pair.report, None);
    assert!(!verdict.authentic());
    assert_eq!(verdict.first_failure().unwrap().code, Code::VekPresent);
}

#[test]
fn an_appraisal_in_toml_narrows_what_is_accepted() {
    let pair = common::find("ms_turin");
    let first_failure = |toml: &str| {
        let mut verifier = Verifier::new(pair.at);
        verifier.appraisal = Appraisal::from_toml(toml).unwrap();
        verifier.verify(&pair.report, Some(&pair.vek)).first_failure().cloned()
    };
    let accept = |toml: &str| first_failure(toml).map(|check| check.code);
    assert_eq!(accept("generations = ['turin']"), None);
    assert_eq!(accept("generations = ['genoa']"), Some(Code::GenerationAllowed));
    assert_eq!(accept("vmpl = [2]"), Some(Code::Vmpl));
    for (empty, code) in [
        ("generations = []", Code::GenerationAllowed),
        ("chip-ids = []", Code::ChipAllowed),
        ("key-kinds = []", Code::KeyKindAllowed),
        ("csp-ids = []", Code::CspAllowed),
        ("vmpl = []", Code::Vmpl),
        ("measurements = []", Code::Measurement),
    ] {
        let failure = first_failure(empty).unwrap();
        assert_eq!((failure.code, &*failure.wanted), (code, "nothing is allowed"), "{empty}");
    }
    assert_eq!(accept("current-mitigations = 0x3f"), None);
    assert_eq!(accept("current-mitigations = 0x40"), Some(Code::MitigationCurrent));
    assert_eq!(accept("launch-mitigations = 0x40"), Some(Code::MitigationLaunch));
    assert_eq!(accept("platform = { required = 0x20 }"), None);
    assert_eq!(accept("platform = { required = 0x02 }"), Some(Code::PlatformRequired));
    assert_eq!(accept("platform = { forbidden = 0x01 }"), Some(Code::PlatformForbidden));
    assert_eq!(accept("guest-policy = { smt = 'set' }"), None);
    assert_eq!(accept("guest-policy = { smt = 'clear' }"), None.or(Some(Code::PolicySmt)));
    assert_eq!(accept("guest-policy = { min-abi = [2, 0] }"), Some(Code::PolicyAbi));
    assert_eq!(accept("tcb.turin.reported = { fmc = 1, microcode = 0x51 }"), None);
    assert_eq!(accept("tcb.turin.reported = { snp = 5 }"), Some(Code::TcbFloorReported));
    assert_eq!(accept("tcb.turin.committed = { snp = 5 }"), Some(Code::TcbFloorCommitted));
    assert_eq!(accept("tcb.turin.launch = { snp = 5 }"), Some(Code::TcbFloorLaunch));
    assert_eq!(accept("tcb.turin.current = { snp = 5 }"), Some(Code::TcbFloorCurrent));
    assert_eq!(accept("tcb.genoa.reported = { snp = 99 }"), None);
    assert_eq!(accept("tcb = { committed-only = true }"), None);
    assert_eq!(accept("min-firmware = [1, 55, 65]"), None);
    assert_eq!(accept("min-firmware = [1, 55, 66]"), Some(Code::FirmwareVersion));
    assert_eq!(accept("min-guest-svn = 3"), Some(Code::GuestSvn));
    assert_eq!(accept("key-kinds = ['vlek']"), Some(Code::KeyKindAllowed));
    assert_eq!(accept("csp-ids = ['CN=x']"), Some(Code::CspAllowed));
    assert_eq!(accept("require-crl = true"), Some(Code::CrlRequired));
    let zero = "00".repeat(64);
    assert_eq!(accept(&format!("report-data = '{zero}'")), None);
    assert_eq!(accept(&format!("report-data = '{}01'", &zero[2..])), Some(Code::ReportData));
    for (key, length, code) in [
        ("measurements", 48, Code::Measurement),
        ("id-key-digests", 48, Code::IdKey),
        ("author-key-digests", 48, Code::AuthorKey),
        ("host-data", 32, Code::HostData),
        ("family-ids", 16, Code::FamilyId),
        ("image-ids", 16, Code::ImageId),
        ("report-ids", 32, Code::ReportId),
        ("chip-ids", 64, Code::ChipAllowed),
    ] {
        let value = "5a".repeat(length);
        assert_eq!(accept(&format!("{key} = ['{value}']")), Some(code), "{key}");
        assert_eq!(accept(&format!("{key} = []")), Some(code), "{key}");
    }
    for bad in
        ["unknown = 1", "report-data = '00'", "vmpl = 'zero'", "tcb.milan.reported = { ucode = 1 }"]
    {
        assert!(Appraisal::from_toml(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_published_tcb_floor_applies_by_processor_and_is_refused_where_none_is_known() {
    use casemate_attestation::verify::{TcbFloor, TcbPreset};
    let failure = |name: &str, preset: TcbPreset, own: Option<TcbFloor>| {
        let pair = common::find(name);
        let mut verifier = lenient(pair.at);
        verifier.appraisal.tcb.presets = vec![preset];
        for floors in [&mut verifier.appraisal.tcb.turin, &mut verifier.appraisal.tcb.milan] {
            floors.reported = own;
            floors.committed = own;
            floors.launch = own;
        }
        let verdict = verifier.verify(&pair.report, Some(&pair.vek));
        verdict.first_failure().map(|check| check.code)
    };
    let refused = Some(Code::TcbFloorReported);
    // Reported SNP and microcode levels: ms_milan 24, 219; virtee_milan 8; ms_genoa 23, 84
    // (stepping 1); ms_turin 4, 81.
    for (name, preset, expected) in [
        ("ms_milan", TcbPreset::AmdSb3019, None),
        ("virtee_milan", TcbPreset::AmdSb3019, refused),
        ("ms_genoa", TcbPreset::AmdSb3019, None),
        ("ms_genoa", TcbPreset::AmdSb3020, refused),
        ("ms_turin", TcbPreset::AmdSb3020, None),
        ("ms_genoa", TcbPreset::AmdSb3027, refused),
        ("ms_turin", TcbPreset::AmdSb3027, None),
        ("ms_turin", TcbPreset::AmdSb3019, refused),
        ("ms_milan", TcbPreset::AmdSb3020, refused),
    ] {
        assert_eq!(failure(name, preset, None), expected, "{name} {preset:?}");
    }
    let own = TcbFloor { snp: Some(4), ..TcbFloor::default() };
    assert_eq!(
        failure("ms_turin", TcbPreset::AmdSb3019, Some(own)),
        None,
        "an own floor stands in"
    );
    let own = TcbFloor { snp: Some(5), ..TcbFloor::default() };
    assert_eq!(failure("ms_turin", TcbPreset::AmdSb3019, Some(own)), refused);
}
