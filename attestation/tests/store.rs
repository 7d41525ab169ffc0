//! What these tests protect: nothing that no trusted root stands behind enters a store or counts
//! there, nothing in it stands before something else, and each report is judged with the
//! certificate that signed it and with the list of its own chain. What they cannot tell: what AMD's
//! lists for VLEKs hold; none was at hand, so the MODEL's stand for them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod common;
#[path = "common/model.rs"]
mod fixture;

use casemate_attestation::cert::{
    Authority, Certificate, Crl, KeyKind, Object, Role, builtin, certificates_in, objects_in,
};
use casemate_attestation::evidence::{Evidence, Form};
use casemate_attestation::kds::crl_path;
use casemate_attestation::model::{Processor, Signer};
use casemate_attestation::record::Inputs;
use casemate_attestation::report::{Fields, Generation, Report};
use casemate_attestation::selection::{VekNeed, complete, needs};
use casemate_attestation::store::{Snapshot, Source, Store, StoreError};
use casemate_attestation::verify::{Code, Status};
use fixture::{chip_with, guest, root, verifier};
use std::path::{Path, PathBuf};

/// A folder of a test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("store-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn fields(report: &[u8]) -> Fields {
    Report::parse(report).unwrap().unverified_fields().clone()
}

fn raw(report: &[u8], veks: Vec<Vec<u8>>) -> Evidence {
    Evidence { veks, ..Evidence::of_report(Form::Raw, report) }
}

/// The certificates of a store that fit a report, DER.
fn found(store: &Store, report: &[u8]) -> Vec<Vec<u8>> {
    let found = store.candidates(&fields(report)).unwrap();
    found.iter().map(|one| one.der().to_vec()).collect()
}

/// The same with one byte of its signature changed, behind which nothing else stands.
fn altered(der: &[u8]) -> Vec<u8> {
    let mut altered = der.to_vec();
    *altered.last_mut().unwrap() ^= 1;
    altered
}

#[test]
fn the_store_finds_what_was_imported_and_nothing_else() {
    let folder = Folder::new("finds");
    let store = Store::new(&folder.0);
    assert!(store.list().unwrap().is_empty());
    // Of that folder one certificate is redacted by its publisher; it is left out, and said so.
    let reports = store.import_path(&common::vectors().join("reports"), None).unwrap();
    assert_eq!(reports.skipped.len(), 1, "{:?}", reports.skipped);
    assert!(reports.skipped[0].file.ends_with("trustee_test-vcek-invalid-legacy.der"));
    store.import_path(&common::vectors().join("crls"), None).unwrap();
    store.import_path(&common::vectors().join("chains"), None).unwrap();
    let before = store.list().unwrap();
    store.import_path(&common::vectors(), None).unwrap();
    store.import_path(&common::vectors().join("reports"), None).unwrap();
    assert!(store.list().unwrap().len() > before.len(), "folders in it are searched");
    for name in ["ms_milan", "ms_genoa", "ms_turin", "virtee_milan", "trustee_vlek"] {
        let pair = common::find(name);
        assert_eq!(found(&store, &pair.report), [pair.vek], "{name}");
        let mut other = pair.report.clone();
        other[0x187] ^= 1;
        assert!(found(&store, &other).is_empty(), "{name} of another TCB");
    }
    assert_eq!(store.intermediates().unwrap().len(), 6);
    assert_eq!(store.crls().unwrap().len(), 2);
    store.import_path(&common::vectors().join("INDEX.md"), None).unwrap_err();
}

#[test]
fn what_no_root_stands_behind_does_not_enter() {
    let folder = Folder::new("enter");
    let store = Store::new(&folder.0);
    let vek = common::find("ms_turin").vek;
    for (name, bytes) in [
        ("vek", altered(&vek)),
        ("ask", altered(&common::read("chains/turin/ask.der"))),
        ("ark", altered(&common::read("chains/turin/ark.der"))),
        ("list", altered(&common::read("crls/genoa_crl_4.der"))),
        ("model vek", fixture::chip().vcek().to_vec()),
        ("model list", root().crl(Signer::Ark, "260501000000Z", None, &[]).unwrap()),
    ] {
        folder.put("given", &bytes);
        let error = store.import_path(&folder.0.join("given"), None).unwrap_err();
        let refused = matches!(error, StoreError::NotGenuine { .. } | StoreError::Foreign);
        assert!(refused, "{name}: {error}");
    }
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn an_altered_certificate_does_not_displace_the_genuine_one() {
    let folder = Folder::new("displace");
    let store = Store::new(&folder.0);
    let pair = common::find("ms_turin");
    let place = store.import(&Certificate::from_der(&pair.vek).unwrap()).unwrap();
    store.import_evidence(&raw(&pair.report, vec![altered(&pair.vek)])).unwrap_err();
    let both = raw(&pair.report, vec![altered(&pair.vek), pair.vek.clone()]);
    assert_eq!(store.import_evidence(&both).unwrap(), std::slice::from_ref(&place));
    // Planted by somebody who can write to the folder, before the genuine one by name.
    std::fs::write(place.with_file_name("0.der"), altered(&pair.vek)).unwrap();
    std::fs::write(folder.0.join("0.der"), altered(&pair.vek)).unwrap();
    assert_eq!(found(&store, &pair.report), [pair.vek]);
}

#[test]
fn a_list_that_the_root_did_not_sign_is_never_the_newest() {
    let folder = Folder::new("newest");
    let store = Store::new(&folder.0);
    let genuine = common::read("crls/genoa_crl_4.der");
    let place = store.import_path(&common::vectors().join("crls"), None).unwrap().places[0].clone();
    // thisUpdate 241023043624Z, a year later.
    let at = genuine.windows(13).position(|window| window == b"241023043624Z").unwrap();
    let mut newer = genuine.clone();
    newer[at..at + 2].copy_from_slice(b"25");
    assert!(
        Crl::from_der(&newer).unwrap().this_update > Crl::from_der(&genuine).unwrap().this_update
    );
    folder.put("loose.der", &newer);
    std::fs::write(place.with_file_name("999999999999-0.der"), &newer).unwrap();
    let newest = store.crl(Generation::Genoa, KeyKind::Vcek).unwrap().unwrap();
    assert_eq!(newest.der(), genuine);
    assert_eq!(store.crl(Generation::Milan, KeyKind::Vlek).unwrap(), None);
}

#[test]
fn a_store_of_an_earlier_release_is_read() {
    let folder = Folder::new("earlier");
    let (vcek, vlek) = (common::find("ms_turin"), common::find("trustee_vlek"));
    let hex = |bytes: &[u8]| casemate_attestation::hex::encode(bytes);
    let tcb = |report: &[u8]| hex(&fields(report).reported_tcb.0);
    let hwid = hex(&fields(&vcek.report).chip_id[..8]);
    folder.put(&format!("turin/vcek/{hwid}-{}.der", tcb(&vcek.report)), &vcek.vek);
    folder.put(&format!("milan/vlek/0011223344556677-{}.der", tcb(&vlek.report)), &vlek.vek);
    folder.put("genoa/crl/001729658184.der", &common::read("crls/genoa_crl_4.der"));
    let store = Store::new(&folder.0);
    assert_eq!(found(&store, &vcek.report), [vcek.vek]);
    assert_eq!(found(&store, &vlek.report), [vlek.vek]);
    assert!(store.crl(Generation::Genoa, KeyKind::Vcek).unwrap().is_some());
    assert_eq!(store.list().unwrap().len(), 3);
}

#[test]
fn loose_certificates_and_lists_in_a_directory_are_found() {
    let folder = Folder::new("loose");
    let pair = common::find("ms_genoa");
    folder.put("chip.pem", pem("CERTIFICATE", &pair.vek).as_bytes());
    folder.put("list.pem", pem("X509 CRL", &common::read("crls/genoa_crl_4.der")).as_bytes());
    let store = Store::new(&folder.0);
    let mut inputs = Inputs { at: common::at("2025-10-01"), ..Inputs::default() };
    complete(&mut inputs, &[], &raw(&pair.report, vec![]), Some(&store)).unwrap();
    assert_eq!((inputs.vek, inputs.crls.len(), inputs.vlek_crls.len()), (Some(pair.vek), 1, 0));
}

/// Two MODEL chips of one TCB with a VLEK each, as two regions of a provider have them.
fn regions() -> [Processor; 2] {
    ["CN=cc-east", "CN=cc-west"].map(|csp| chip_with(|config| config.csp_id = Some(csp.to_owned())))
}

/// Inputs that trust the MODEL root, completed.
fn completed(evidence: &Evidence, given: &[Vec<u8>], store: Option<&Store>) -> Inputs {
    let bundle = certificates_in(root().bundle_pem().as_bytes()).unwrap();
    let mut inputs = Inputs {
        at: common::at(common::AT),
        model_roots: bundle.iter().map(|one| one.der().to_vec()).collect(),
        ..Inputs::default()
    };
    complete(&mut inputs, given, evidence, store.map(|store| store as &dyn Source)).unwrap();
    inputs
}

/// A process that opens no files judges with what the store had: the same certificates and lists.
/// Cannot tell of a store that changed since.
#[test]
fn a_snapshot_gives_what_its_store_gave_and_survives_the_way_to_another_process() {
    let folder = Folder::new("snapshot");
    let pair = common::find("ms_genoa");
    folder.put("chip.pem", pem("CERTIFICATE", &pair.vek).as_bytes());
    folder.put("list.pem", pem("X509 CRL", &common::read("crls/genoa_crl_4.der")).as_bytes());
    folder.put("stray.txt", b"neither");
    let store = Store::new(&folder.0);
    let snapshot = store.snapshot().unwrap();
    assert_eq!((snapshot.veks.len(), snapshot.lists.len()), (1, 1));
    let der = |all: &[Certificate]| all.iter().map(|one| one.der().to_vec()).collect::<Vec<_>>();
    let lists: Vec<_> =
        snapshot.lists.iter().map(|(of, kind, crl)| (*of, *kind, crl.der().to_vec())).collect();
    let there = Snapshot::of_der(&der(&snapshot.veks), &der(&snapshot.intermediates), &lists);
    assert_eq!(there.as_ref().unwrap(), &snapshot);
    let completed = |source: &dyn Source| {
        let mut inputs = Inputs { at: common::at("2025-10-01"), ..Inputs::default() };
        complete(&mut inputs, &[], &raw(&pair.report, vec![]), Some(source)).unwrap();
        (inputs.vek, inputs.crls, inputs.vlek_crls, inputs.intermediates)
    };
    assert_eq!(completed(&there.unwrap()), completed(&store));
    assert!(Snapshot::of_der(&[vec![1]], &[], &[]).is_err());
}

fn model_store(folder: &Path) -> Store {
    let mut roots = builtin();
    roots.accept_model(certificates_in(root().bundle_pem().as_bytes()).unwrap()).unwrap();
    Store::under(folder, roots)
}

#[test]
fn of_several_vleks_for_one_tcb_the_one_that_signed_is_found_whatever_its_name() {
    let regions = regions();
    for names in [["a.der", "b.der"], ["b.der", "a.der"]] {
        let folder = Folder::new("regions");
        for (chip, name) in regions.iter().zip(names) {
            folder.put(name, chip.vlek().unwrap());
        }
        let store = model_store(&folder.0);
        for chip in &regions {
            let report = chip.report(guest(chip).state(), [0; 64], 0, 2).unwrap();
            assert_eq!(found(&store, &report).len(), 2);
            let inputs = completed(&raw(&report, vec![]), &[], Some(&store));
            assert_eq!(inputs.vek.as_deref(), chip.vlek());
        }
    }
}

#[test]
fn a_wrong_certificate_in_evidence_or_on_the_command_line_hides_no_right_one() {
    let [chip, other] = regions();
    let folder = Folder::new("hides");
    folder.put("chip.der", chip.vcek());
    let store = model_store(&folder.0);
    let report = chip.report(guest(&chip).state(), [0; 64], 0, 1).unwrap();
    let wrong = [other.vcek(), chip.vlek().unwrap(), b"no certificate", &altered(chip.vcek())]
        .map(<[u8]>::to_vec);
    for given in 0..=wrong.len() {
        let (given, carried) = wrong.split_at(given);
        let inputs = completed(&raw(&report, carried.to_vec()), given, Some(&store));
        assert_eq!(inputs.vek.as_deref(), Some(chip.vcek()));
        assert!(inputs.verify().unwrap().authentic());
    }
    // Where the right one is nowhere, the one that fits best says what is wrong.
    let inputs = completed(&raw(&report, wrong.to_vec()), &[], None);
    let code = inputs.verify().unwrap().first_failure().unwrap().code;
    assert_eq!(code, Code::VekSignature, "the chip's own, altered");
}

#[test]
fn an_altered_copy_of_the_signing_key_hides_no_right_one() {
    let chip = fixture::chip();
    let mut verifier = casemate_attestation::verify::Verifier::new(common::at(common::AT));
    verifier.roots.add_intermediate(Certificate::from_der(&altered(root().ask())).unwrap());
    let bundle = certificates_in(root().bundle_pem().as_bytes()).unwrap();
    verifier.roots.accept_model(bundle).unwrap();
    let report = chip.report(guest(&chip).state(), [0; 64], 0, 1).unwrap();
    assert!(verifier.verify(&report, Some(chip.vcek())).authentic());
}

#[test]
fn the_kind_that_the_report_names_is_first_among_those_it_came_with() {
    let [chip, _] = regions();
    for (select, first) in [(1, chip.vcek()), (2, chip.vlek().unwrap())] {
        let report = chip.report(guest(&chip).state(), [0; 64], 0, select).unwrap();
        let evidence = Evidence::read(&[&report[..], &chip.cert_table()].concat()).unwrap();
        assert_eq!(evidence.veks.len(), 2, "both are candidates");
        assert_eq!(evidence.vek(), Some(first));
    }
}

#[test]
fn a_chain_is_checked_by_the_list_of_its_own_kind_and_condemned_by_either() {
    let [chip, _] = regions();
    let empty = root().crl(Signer::Ark, "260501000000Z", Some("270501000000Z"), &[]).unwrap();
    for (select, own, other, serial) in [
        (1, KeyKind::Vcek, KeyKind::Vlek, [0x7f, 0, 1]),
        (2, KeyKind::Vlek, KeyKind::Vcek, [0x7f, 1, 1]),
    ] {
        let report = chip.report(guest(&chip).state(), [0; 64], 0, select).unwrap();
        let vek = if own == KeyKind::Vcek { chip.vcek() } else { chip.vlek().unwrap() };
        let revoked =
            root().crl(Signer::Ark, "260401000000Z", Some("270501000000Z"), &[serial.to_vec()]);
        let judge = |lists: &[(KeyKind, &[u8])]| {
            let mut verifier = verifier();
            lists.iter().for_each(|(kind, der)| verifier.add_crl_of(*kind, der));
            let verdict = verifier.verify(&report, Some(vek));
            let check = verdict.checks().iter().find(|c| c.code == Code::CrlRevoked).unwrap();
            (verdict.authentic(), check.status)
        };
        assert_eq!(judge(&[(own, &empty)]), (true, Status::Passed));
        assert_eq!(judge(&[(other, &empty)]), (true, Status::NotChecked), "{own:?}");
        let revoked = revoked.unwrap();
        for lists in [&[(own, &revoked[..])][..], &[(other, &revoked), (own, &empty)]] {
            assert_eq!(judge(lists), (false, Status::Failed), "{own:?}");
        }
        // What nobody signed condemns nothing.
        assert_eq!(judge(&[(other, &altered(&revoked)), (own, &empty)]), (true, Status::Passed));
    }
}

#[test]
fn a_report_needs_the_list_that_its_own_chain_names() {
    let folder = Folder::new("needs");
    let store = Store::new(&folder.0);
    store.import_path(&common::vectors().join("crls"), None).unwrap();
    let of = |name: &str| needs(&store, &fields(&common::find(name).report)).unwrap();
    let vlek = of("trustee_vlek");
    assert_eq!(vlek.vek, VekNeed::FromProvider);
    assert_eq!(vlek.lists.len(), 1);
    assert_eq!(vlek.lists[0].path, "/vlek/v1/Milan/crl");
    assert_eq!(vlek.lists[0].kept, None, "the VCEK's list is not it");
    let vcek = of("ms_milan");
    assert_eq!(vcek.lists[0].path, "/vcek/v1/Milan/crl");
    assert!(vcek.lists[0].is_current(common::at("2026-03-01")));
    // Under a folder of that name, as a copy of the key server has it, or said by the caller.
    let copy = Folder::new("copy");
    copy.put("kdsintf.amd.com/vlek/v1/Milan/crl", &common::read("crls/milan_crl_6.der"));
    store.import_path(&copy.0, None).unwrap();
    assert!(of("trustee_vlek").lists[0].kept.is_some());
    let genoa = common::vectors().join("crls/genoa_crl_4.der");
    store.import_path(&genoa, Some(KeyKind::Vlek)).unwrap();
    assert!(store.crl(Generation::Genoa, KeyKind::Vlek).unwrap().is_some());
}

#[test]
fn amds_certificates_name_the_addresses_that_are_asked() {
    let roots = builtin();
    for generation in [Generation::Milan, Generation::Genoa, Generation::Turin] {
        for (kind, role) in
            [(KeyKind::Vcek, Role::Ask(generation)), (KeyKind::Vlek, Role::Asvk(generation))]
        {
            let own = roots.candidates(Authority::Amd, role).next().unwrap().distribution_point();
            let path = crl_path(generation, kind);
            assert_eq!(own.unwrap(), format!("https://kdsintf.amd.com{path}"));
        }
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64ct::{Base64, Encoding};
    let body = Base64::encode_string(der);
    let lines: Vec<_> =
        body.as_bytes().chunks(64).map(|l| String::from_utf8_lossy(l).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[test]
fn a_bundle_is_read_in_each_form_that_people_hold_or_named_with_the_way_to_convert_it() {
    let (vek, ask) = (common::find("ms_milan").vek, common::read("chains/milan/ask.der"));
    let crl = common::read("crls/milan_crl_6.der");
    let of = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let der = |object: Object| match object {
            Object::Certificate(one) => one.der().to_vec(),
            Object::Crl(one) => one.der().to_vec(),
        };
        objects_in(bytes).unwrap().into_iter().map(der).collect()
    };
    assert_eq!(of(&[&vek[..], &[0; 700]].concat()), std::slice::from_ref(&vek));
    assert_eq!(of(&[&crl[..], &[0; 3]].concat()), std::slice::from_ref(&crl));
    let several = [&vek[..], &crl, &ask, &[0; 9]].concat();
    assert_eq!(of(&several), [vek.clone(), crl.clone(), ask.clone()]);
    let digits = casemate_attestation::hex::encode(&vek);
    assert_eq!(of(digits.as_bytes()), std::slice::from_ref(&vek));
    let text = format!(
        "Certificate:\r\n{}text between\n{}{}",
        pem("CERTIFICATE", &vek).replace('\n', "\r\n"),
        pem("X509 CRL", &crl),
        pem("PRIVATE KEY", b"left alone"),
    );
    assert_eq!(of(text.as_bytes()), [vek.clone(), crl.clone()]);
    let thim = serde_json::json!({
        "vcekCert": pem("CERTIFICATE", &vek), "tcbm": "DB18000000000004",
        "certificateChain": pem("CERTIFICATE", &ask), "cacheControl": "86400",
    });
    assert_eq!(of(thim.to_string().as_bytes()), [vek.clone(), ask]);
    let base64 = pem("", &crl).lines().filter(|l| !l.starts_with('-')).collect::<String>();
    assert_eq!(of(base64.as_bytes()), std::slice::from_ref(&crl));

    let fault = |bytes: &[u8]| objects_in(bytes).unwrap_err().to_string();
    for behind in [&[0, 1][..], &[1], &vek[..100], &[0x30, 0x80]] {
        assert!(objects_in(&[&vek[..], behind].concat()).is_err(), "no junk may follow");
    }
    assert!(fault(&vek.repeat(65)).contains("64"));
    assert!(fault(b"\x1f\x8b\x08").contains("gzip -d"));
    assert!(fault(pem("PKCS7", &vek).as_bytes()).contains("openssl pkcs7"));
    let pkcs7 = b"\x30\x82\x01\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x00";
    assert!(fault(pkcs7).contains("openssl pkcs7 -inform der"));
    assert!(fault(pem("TRUSTED CERTIFICATE", &vek).as_bytes()).contains("openssl x509"));
    assert!(fault(b"{\"cert\": 1}").contains("vcekCert"));
    assert!(fault(b"hello").contains("no certificate"));
    assert!(fault(pem("CERTIFICATE", &vek).repeat(65).as_bytes()).contains("64"));
}
