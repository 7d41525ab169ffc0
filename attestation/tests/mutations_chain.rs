//! Altered certificates, chains and revocation lists: each is refused, with the code of the rule it
//! breaks.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "common/model.rs"]
mod fixture;

use casemate_attestation::cert::{Authority, Certificate, KeyKind, Role, encode_name};
use casemate_attestation::model::{Processor, Signer, Template, vek_extensions};
use casemate_attestation::report::Generation;
use casemate_attestation::verify::{Code, Verifier};
use fixture::{chip, guest, root, verifier};

const TURIN: Generation = Generation::Turin;

fn report(chip: &Processor) -> Vec<u8> {
    chip.report(guest(chip).state(), [0; 64], 0, 0).unwrap().to_vec()
}

fn code(verifier: &Verifier, report: &[u8], vek: &[u8]) -> Option<Code> {
    let verdict = verifier.verify(report, Some(vek));
    assert_eq!(verdict.authentic(), verdict.first_failure().is_none());
    verdict.first_failure().map(|check| check.code)
}

/// OID contents of AMD's arc with a tail.
fn oid(tail: &[u8]) -> Vec<u8> {
    [b"\x2b\x06\x01\x04\x01\x9c\x78\x01", tail].concat()
}

fn spl(template: &mut Template, arc: u8) -> &mut (Vec<u8>, bool, Vec<u8>) {
    template.extensions.iter_mut().find(|e| e.0 == oid(&[3, arc])).unwrap()
}

fn drop_oid(template: &mut Template, tail: &[u8]) {
    let before = template.extensions.len();
    template.extensions.retain(|e| e.0 != oid(tail));
    assert_eq!(template.extensions.len(), before - 1);
}

fn value(template: &mut Template, tail: &[u8], value: &[u8]) {
    template.extensions.iter_mut().find(|e| e.0 == oid(tail)).unwrap().2 = value.to_vec();
}

type Alter = fn(&mut Template);

const VEK_CASES: &[(&str, Alter, Code)] = &[
    ("serial 1", |t| t.serial = vec![1], Code::VekName),
    ("subject of a VLEK", |t| t.subject = encode_name(Authority::Model, Role::Vlek), Code::VekName),
    ("issuer ASVK", |t| t.issuer = encode_name(Authority::Model, Role::Asvk(TURIN)), Code::VekName),
    ("issuer ARK", |t| t.issuer = encode_name(Authority::Model, Role::Ark(TURIN)), Code::VekName),
    (
        "subject of an ASK",
        |t| t.subject = encode_name(Authority::Model, Role::Ask(TURIN)),
        Code::VekName,
    ),
    ("AMD's subject", |t| t.subject = encode_name(Authority::Amd, Role::Vcek), Code::VekName),
    ("AMD's issuer", |t| t.issuer = encode_name(Authority::Amd, Role::Ask(TURIN)), Code::VekName),
    ("another letter in the subject", |t| *t.subject.last_mut().unwrap() ^= 1, Code::VekName),
    (
        "both names AMD's, signed by the model",
        |t| {
            t.subject = encode_name(Authority::Amd, Role::Vcek);
            t.issuer = encode_name(Authority::Amd, Role::Ask(TURIN));
        },
        Code::VekSignature,
    ),
    (
        "issuer of another generation",
        |t| t.issuer = encode_name(Authority::Model, Role::Ask(Generation::Milan)),
        Code::ArkPinned,
    ),
    (
        "issuer of a generation without a published root",
        |t| t.issuer = encode_name(Authority::Model, Role::Ask(Generation::Venice)),
        Code::ArkPinned,
    ),
    (
        "repeated SPL",
        |t| {
            let e = spl(t, 8).clone();
            t.extensions.push(e);
        },
        Code::VekExtensions,
    ),
    (
        "repeated product",
        |t| {
            let e = t.extensions[1].clone();
            t.extensions.push(e);
        },
        Code::VekExtensions,
    ),
    ("SPL with a leading zero", |t| spl(t, 8).2 = vec![2, 2, 0, 0x51], Code::VekExtensions),
    ("negative SPL", |t| spl(t, 8).2 = vec![2, 1, 0xd1], Code::VekExtensions),
    ("SPL of 256", |t| spl(t, 8).2 = vec![2, 2, 1, 0], Code::VekExtensions),
    ("empty SPL", |t| spl(t, 8).2 = vec![], Code::VekExtensions),
    ("SPL of no bytes", |t| spl(t, 8).2 = vec![2, 0], Code::VekExtensions),
    ("SPL in an OCTET STRING", |t| spl(t, 8).2 = vec![4, 3, 2, 1, 0x51], Code::VekExtensions),
    ("SPL with a byte behind it", |t| spl(t, 8).2 = vec![2, 1, 0x51, 0], Code::VekExtensions),
    ("SPL as ENUMERATED", |t| spl(t, 8).2 = vec![10, 1, 0x51], Code::VekExtensions),
    ("FMC missing on Turin", |t| drop_oid(t, &[3, 9]), Code::VekExtensions),
    ("boot loader missing", |t| drop_oid(t, &[3, 1]), Code::VekExtensions),
    ("microcode missing", |t| drop_oid(t, &[3, 8]), Code::VekExtensions),
    (
        "SPL_4 on Turin",
        |t| t.extensions.push((oid(&[3, 4]), false, vec![2, 1, 0])),
        Code::VekExtensions,
    ),
    ("hardware identifier missing", |t| drop_oid(t, &[4]), Code::VekExtensions),
    ("empty hardware identifier", |t| value(t, &[4], &[]), Code::VekExtensions),
    ("hardware identifier of 64 bytes on Turin", |t| value(t, &[4], &[1; 64]), Code::VekExtensions),
    ("hardware identifier of 7 bytes", |t| value(t, &[4], &[1; 7]), Code::VekExtensions),
    (
        "provider beside the hardware identifier",
        |t| t.extensions.push((oid(&[5]), false, vec![0x16, 1, b'x'])),
        Code::VekExtensions,
    ),
    (
        "provider instead of the hardware identifier under an ASK",
        |t| {
            drop_oid(t, &[4]);
            t.extensions.push((oid(&[5]), false, vec![0x16, 1, b'x']));
        },
        Code::VekExtensions,
    ),
    ("structVersion 2", |t| value(t, &[1], &[2, 1, 2]), Code::VekExtensions),
    ("structVersion 0 with Turin's set", |t| value(t, &[1], &[2, 1, 0]), Code::VekExtensions),
    ("structVersion missing", |t| drop_oid(t, &[1]), Code::VekExtensions),
    ("product missing", |t| drop_oid(t, &[2]), Code::VekExtensions),
    ("product as UTF8String", |t| value(t, &[2], b"\x0c\x05Turin"), Code::VekExtensions),
    (
        "product with a control character",
        |t| value(t, &[2], b"\x16\x06Turin\n"),
        Code::VekExtensions,
    ),
    ("unknown extension", |t| t.extensions.push((oid(&[77]), false, vec![])), Code::VekExtensions),
    (
        "longer OID of an SPL",
        |t| t.extensions.push((oid(&[3, 8, 1]), false, vec![])),
        Code::VekExtensions,
    ),
    ("critical SPL", |t| spl(t, 8).1 = true, Code::VekExtensions),
    ("no extensions", |t| t.extensions.clear(), Code::VekExtensions),
    ("product of another generation", |t| value(t, &[2], b"\x16\x05Genoa"), Code::Generation),
    ("product with the name as a prefix", |t| value(t, &[2], b"\x16\x06Turing"), Code::Generation),
    ("lower microcode", |t| spl(t, 8).2 = vec![2, 1, 0x50], Code::TcbMatch),
    ("reserved SPL not 0", |t| spl(t, 5).2 = vec![2, 1, 1], Code::TcbMatch),
    ("another chip", |t| value(t, &[4], &[9; 8]), Code::ChipId),
    ("expired", |t| t.not_after = "250101000000Z".to_owned(), Code::VekValidity),
    ("not yet valid", |t| t.not_before = "270101000000Z".to_owned(), Code::VekValidity),
    ("month 13", |t| t.not_before = "201301000000Z".to_owned(), Code::VekParse),
    ("salt 32 inside", |t| *t.algorithm.last_mut().unwrap() = 32, Code::VekParse),
    ("SHA-256 inside", |t| t.algorithm[30] = 1, Code::VekParse),
    ("RSA key", |t| t.spki = root().ark_template().spki, Code::VekKey),
    (
        "P-256 curve",
        |t| {
            let at = t.spki.len() - 99;
            t.spki[at] = 0x21;
        },
        Code::VekParse,
    ),
    (
        "point compressed",
        |t| {
            let at = t.spki.len() - 97;
            t.spki[at] = 2;
        },
        Code::VekParse,
    ),
    ("point not on the curve", |t| *t.spki.last_mut().unwrap() ^= 1, Code::ReportSignature),
];

#[test]
fn altered_endorsement_certificates_with_valid_signatures_are_refused() {
    let chip = chip();
    let report = report(&chip);
    let verifier = verifier();
    let good = root().certificate(Signer::Ask, &chip.vcek_template()).unwrap();
    assert_eq!(code(&verifier, &report, &good), None);
    for (name, alter, expected) in VEK_CASES {
        let mut template = chip.vcek_template();
        alter(&mut template);
        let vek = root().certificate(Signer::Ask, &template).unwrap();
        assert_eq!(code(&verifier, &report, &vek), Some(*expected), "{name}");
    }
    println!("{} altered certificates refused", VEK_CASES.len());
}

#[test]
fn altered_bytes_of_an_endorsement_certificate_are_refused() {
    let pair = common::find("ms_turin");
    let verifier = Verifier::new(pair.at);
    let judge = |vek: &[u8]| code(&verifier, &pair.report, vek);
    assert_eq!(judge(&[]), Some(Code::VekParse));
    assert_eq!(judge(b"-----BEGIN CERTIFICATE-----"), Some(Code::VekParse));
    assert_eq!(judge(&pair.vek[..26]), Some(Code::VekParse));
    assert_eq!(judge(&pair.vek[..pair.vek.len() - 1]), Some(Code::VekParse));
    assert_eq!(judge(&[&pair.vek[..], &[0]].concat()), Some(Code::VekParse));
    assert_eq!(judge(&vec![0x30; 20_000]), Some(Code::VekParse));
    for name in ["chains/turin/ark.der", "chains/turin/ask.der", "chains/turin/asvk.der"] {
        assert_eq!(judge(&common::read(name)), Some(Code::VekName), "{name}");
    }
    let mut signature = pair.vek.clone();
    *signature.last_mut().unwrap() ^= 1;
    assert_eq!(judge(&signature), Some(Code::VekSignature));
    let salt = pair.vek.len() - 512 - 5 - 1;
    let mut wrong = pair.vek.clone();
    assert_eq!(wrong[salt], 0x30);
    wrong[salt] = 0x20;
    assert_eq!(judge(&wrong), Some(Code::VekParse));
    for offset in 0..pair.vek.len() {
        let mut vek = pair.vek.clone();
        vek[offset] ^= 1;
        assert!(judge(&vek).is_some(), "offset {offset:#x}");
    }
}

#[test]
fn a_certificate_signed_by_the_wrong_key_of_the_hierarchy_is_refused() {
    let chip = chip();
    let vek = root().certificate(Signer::Ark, &chip.vcek_template()).unwrap();
    assert_eq!(code(&verifier(), &report(&chip), &vek), Some(Code::VekSignature));
}

/// A verifier with an altered ARK or ASK certificate of the model.
fn with_chain(
    ark: impl Fn(&mut Template),
    ask: impl Fn(&mut Template),
    ask_signer: Signer,
) -> Verifier {
    let mut ark_template = root().ark_template();
    ark(&mut ark_template);
    let mut ask_template = root().intermediate(Role::Ask(TURIN));
    ask(&mut ask_template);
    let bundle = [
        root().certificate(Signer::Ark, &ark_template).unwrap(),
        root().certificate(ask_signer, &ask_template).unwrap(),
    ];
    let bundle = bundle.iter().map(|der| Certificate::from_der(der).unwrap()).collect();
    let mut verifier = Verifier::new(common::at("2026-06-01"));
    verifier.roots.accept_model(bundle).unwrap();
    verifier
}

#[test]
fn altered_ca_certificates_are_refused() {
    let chip = chip();
    let report = report(&chip);
    let judge = |verifier: &Verifier| code(verifier, &report, chip.vcek());
    let same: fn(&mut Template) = |_| ();
    let ark = |alter: fn(&mut Template)| judge(&with_chain(alter, same, Signer::Ark));
    let ask = |alter: fn(&mut Template)| judge(&with_chain(same, alter, Signer::Ark));
    assert_eq!(ark(same), None);
    assert_eq!(ark(|t| t.not_after = "250101000000Z".to_owned()), Some(Code::ArkValidity));
    assert_eq!(ask(|t| t.not_after = "250101000000Z".to_owned()), Some(Code::IntermediateValidity));
    assert_eq!(
        ask(|t| t.not_before = "270101000000Z".to_owned()),
        Some(Code::IntermediateValidity)
    );
    assert_eq!(ark(|t| t.extensions[0].2[3] = 4), Some(Code::KeyUsage));
    assert_eq!(ask(|t| t.extensions[0].2[3] = 2), Some(Code::KeyUsage));
    assert_eq!(ask(|t| t.extensions[1].2 = vec![0x30, 0]), Some(Code::KeyUsage));
    assert_eq!(
        ask(|t| {
            t.extensions.remove(0);
        }),
        Some(Code::KeyUsage)
    );
    assert_eq!(
        ask(|t| {
            t.extensions.remove(1);
        }),
        Some(Code::KeyUsage)
    );
    assert_eq!(
        ask(|t| {
            let e = t.extensions[0].clone();
            t.extensions.push(e);
        }),
        Some(Code::KeyUsage)
    );
    assert_eq!(
        ark(|t| t.extensions[1].2 = vec![0x30, 6, 1, 1, 0xff, 2, 1, 0]),
        Some(Code::KeyUsage)
    );
    assert_eq!(
        ask(|t| t.extensions.push((vec![0x55, 0x1d, 0x1e], true, vec![0x30, 0]))),
        Some(Code::KeyUsage)
    );
    assert_eq!(
        ask(|t| t.issuer = encode_name(Authority::Model, Role::Ask(TURIN))),
        Some(Code::IntermediateSignature)
    );
    let self_made = with_chain(same, same, Signer::Ask);
    assert_eq!(judge(&self_made), Some(Code::IntermediateSignature));
    // A root certificate that its own key did not sign.
    let mut verifier = Verifier::new(common::at("2026-06-01"));
    let forged = root().certificate(Signer::Ask, &root().ark_template()).unwrap();
    let bundle = [&forged[..], root().ask()].map(|der| Certificate::from_der(der).unwrap());
    verifier.roots.accept_model(bundle.to_vec()).unwrap();
    assert_eq!(judge(&verifier), Some(Code::ArkSignature));
}

#[test]
fn an_intermediate_from_outside_counts_only_if_the_pinned_root_signed_it() {
    // A whole chain under AMD's names, signed by keys of the model: refused at the built-in ASK.
    let chip = chip();
    let mut ask = root().intermediate(Role::Ask(TURIN));
    ask.subject = encode_name(Authority::Amd, Role::Ask(TURIN));
    ask.issuer = encode_name(Authority::Amd, Role::Ark(TURIN));
    let ask = root().certificate(Signer::Ark, &ask).unwrap();
    let mut vek = chip.vcek_template();
    vek.subject = encode_name(Authority::Amd, Role::Vcek);
    vek.issuer = encode_name(Authority::Amd, Role::Ask(TURIN));
    let vek = root().certificate(Signer::Ask, &vek).unwrap();
    let mut verifier = Verifier::new(common::at("2026-06-01"));
    verifier.roots.add_intermediate(Certificate::from_der(&ask).unwrap());
    assert_eq!(code(&verifier, &report(&chip), &vek), Some(Code::IntermediateSignature));
    // AMD's genuine reports still verify beside it.
    let pair = common::find("ms_turin");
    assert_eq!(code(&verifier, &pair.report, &pair.vek), None);
}

#[test]
fn only_model_certificates_can_be_accepted_as_model_roots() {
    let parse = |der: &[u8]| Certificate::from_der(der).unwrap();
    let amd = parse(&common::read("chains/turin/ark.der"));
    let mut verifier = Verifier::new(0);
    assert!(verifier.roots.accept_model(vec![amd]).is_err());
    assert!(verifier.roots.accept_model(vec![parse(root().ask())]).is_err());
    assert!(verifier.roots.accept_model(vec![]).is_err());
}

mod revocation {
    use super::*;

    const THIS: &str = "260501000000Z";
    const NEXT: Option<&str> = Some("270501000000Z");
    const ASK: [u8; 3] = [0x7f, 0, 1];
    const ASVK: [u8; 3] = [0x7f, 1, 1];

    fn judge(crl: &[u8], chip: &Processor, vlek: bool) -> Option<Code> {
        let mut verifier = verifier();
        verifier.add_crl_of(if vlek { KeyKind::Vlek } else { KeyKind::Vcek }, crl);
        verifier.appraisal.require_crl = true;
        let report =
            chip.report(guest(chip).state(), [0; 64], 0, if vlek { 2 } else { 1 }).unwrap();
        code(&verifier, &report, if vlek { chip.vlek().unwrap() } else { chip.vcek() })
    }

    #[test]
    fn revoked_stale_future_and_foreign_lists_are_refused() {
        let chip = fixture::chip_with(|config| config.csp_id = Some("CN=cc-model".to_owned()));
        let list = |signer, this, next, revoked: &[[u8; 3]]| {
            let revoked: Vec<_> = revoked.iter().map(|serial| serial.to_vec()).collect();
            root().crl(signer, this, next, &revoked).unwrap()
        };
        let (ark, ask) = (Signer::Ark, Signer::Ask);
        let vcek = |crl: &[u8]| judge(crl, &chip, false);
        let vlek = |crl: &[u8]| judge(crl, &chip, true);
        assert_eq!(vcek(&list(ark, THIS, NEXT, &[])), None);
        assert_eq!(vcek(&list(ark, THIS, NEXT, &[[2, 0, 1]])), None);
        assert_eq!(vcek(&list(ark, THIS, NEXT, &[[2, 0, 1], ASK])), Some(Code::CrlRevoked));
        assert_eq!(vlek(&list(ark, THIS, NEXT, &[ASK])), None);
        assert_eq!(vlek(&list(ark, THIS, NEXT, &[ASVK])), Some(Code::CrlRevoked));
        assert_eq!(vcek(&list(ark, THIS, NEXT, &[ASVK])), None);
        assert_eq!(vcek(&list(ark, THIS, Some("260515000000Z"), &[])), Some(Code::CrlFreshness));
        assert_eq!(vcek(&list(ark, "260615000000Z", NEXT, &[])), Some(Code::CrlFreshness));
        assert_eq!(vcek(&list(ark, THIS, None, &[])), Some(Code::CrlFreshness));
        assert_eq!(vcek(&list(ask, THIS, NEXT, &[])), Some(Code::CrlSignature));
        assert_eq!(vcek(&common::read("crls/genoa_crl_4.der")), Some(Code::CrlIssuer));
        assert_eq!(vcek(b"garbage"), Some(Code::CrlParse));
        assert_eq!(vcek(&[]), Some(Code::CrlParse));
        let mut flipped = list(ark, THIS, NEXT, &[]);
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(vcek(&flipped), Some(Code::CrlSignature));
        let mut long = list(ark, THIS, NEXT, &[]);
        long.push(0);
        assert_eq!(vcek(&long), Some(Code::CrlParse));
    }

    #[test]
    fn a_list_that_is_damaged_refuses_even_when_another_is_good() {
        let chip = chip();
        let mut verifier = verifier();
        verifier.add_crl(&root().crl(Signer::Ark, THIS, NEXT, &[]).unwrap());
        assert_eq!(code(&verifier, &report(&chip), chip.vcek()), None);
        verifier.add_crl(b"\x30\x00");
        assert_eq!(code(&verifier, &report(&chip), chip.vcek()), Some(Code::CrlParse));
    }

    #[test]
    fn a_missing_list_is_reported_as_not_checked_and_refused_when_required() {
        let chip = chip();
        let mut verifier = verifier();
        let verdict = verifier.verify(&report(&chip), Some(chip.vcek()));
        let check = verdict.checks().iter().find(|c| c.code == Code::CrlRevoked).unwrap();
        assert_eq!(check.status, casemate_attestation::verify::Status::NotChecked);
        verifier.appraisal.require_crl = true;
        assert_eq!(code(&verifier, &report(&chip), chip.vcek()), Some(Code::CrlRequired));
    }
}

#[test]
fn a_vlek_with_a_hardware_identifier_is_refused() {
    let chip = fixture::chip_with(|config| config.csp_id = Some("CN=cc-model".to_owned()));
    let report = chip.report(guest(&chip).state(), [0; 64], 0, 2).unwrap();
    let mut template = chip.vcek_template();
    template.subject = encode_name(Authority::Model, Role::Vlek);
    template.issuer = encode_name(Authority::Model, Role::Asvk(TURIN));
    let with_hwid = root().certificate(Signer::Ask, &template).unwrap();
    assert_eq!(code(&verifier(), &report, &with_hwid), Some(Code::VekExtensions));
    // The provider in the certificate is compared with the policy, exactly.
    let mut verifier = verifier();
    verifier.appraisal.csp_ids = Some(vec!["CN=cc-model".to_owned()]);
    assert_eq!(code(&verifier, &report, chip.vlek().unwrap()), None);
    verifier.appraisal.csp_ids = Some(vec!["CN=cc-model.example".to_owned()]);
    assert_eq!(code(&verifier, &report, chip.vlek().unwrap()), Some(Code::CspAllowed));
}

#[test]
fn extensions_written_by_the_model_equal_amds() {
    // The real Turin certificate, rebuilt by the model's writer, has the same extensions.
    let real = Certificate::from_der(&common::read("reports/ms_turin.vcek.der")).unwrap();
    let tcb = casemate_attestation::report::Tcb([1, 1, 1, 4, 0, 0, 0, 0x51]);
    let hwid = casemate_attestation::hex::decode("59790fb1c39f35c1").unwrap();
    let ours = vek_extensions(TURIN, tcb, Some(&hwid), "");
    assert_eq!(ours.len(), real.extensions.len());
    for (ours, real) in ours.iter().zip(&real.extensions) {
        assert_eq!(ours.0, real.oid.as_bytes());
        assert_eq!(ours.2, real.value);
    }
}
