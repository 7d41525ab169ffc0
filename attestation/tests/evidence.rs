//! Every form of evidence leads to the same report and certificate, and damage of any form is an
//! error.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use casemate_attestation::evidence::{Evidence, EvidenceError, Form};
use casemate_attestation::kds::{KEY_SERVER, vcek_paths};
use casemate_attestation::record::{Inputs, Record};
use casemate_attestation::report::Generation;
use casemate_attestation::verify::Verifier;

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
    let vcek = casemate_attestation::evidence::VCEK_GUID;
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
        assert!(Verifier::new(pair.at).verify(&evidence.report, evidence.vek()).authentic());
    }
    for (name, form, has_vek) in [
        ("ext/eternis_gcp_ext.bin", Form::Extended, true),
        ("evidence/trustee_snp_evidence.json", Form::CocoJson, true),
        ("ext/openpcc_azure.bin", Form::Hcl, false),
        ("evidence/trustee_az_hcl_report.bin", Form::Hcl, false),
        ("reports/ms_turin.bin", Form::Raw, false),
    ] {
        let evidence = Evidence::read(&common::read(name)).unwrap();
        assert_eq!((evidence.form, evidence.vek().is_some()), (form, has_vek), "{name}");
        if has_vek {
            let mut verifier = Verifier::new(pair.at);
            verifier.appraisal.allow_broken_roots = vec![Generation::Milan];
            let verdict = verifier.verify(&evidence.report, evidence.vek());
            assert!(verdict.authentic(), "{name}");
        }
    }
}

#[test]
fn damaged_evidence_is_an_error_that_says_where() {
    let coco = String::from_utf8(common::read("evidence/trustee_snp_evidence.json")).unwrap();
    let fault = |bytes: &[u8]| Evidence::read(bytes).unwrap_err();
    assert!(matches!(fault(&vec![0; 1024 * 1024 + 1]), EvidenceError::TooLong(_)));
    assert!(matches!(fault(&[0; 1183]), EvidenceError::UnknownForm(1183)));
    assert!(matches!(fault(&[0; 0]), EvidenceError::Convert("an empty file")));
    let extended = [&[5, 0, 0, 0], [1; 1181].as_slice()].concat();
    assert!(matches!(fault(&extended), EvidenceError::Table { .. }));
    let certificate = common::read("reports/ms_turin.vcek.der");
    assert!(matches!(fault(&certificate), EvidenceError::UnknownForm(1289)));
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
    assert!(matches!(fault(&vec![b'['; 100_000]), EvidenceError::Json(_)));
    assert!(matches!(
        fault(&[b"{\"attestation_report\":".as_slice(), &vec![b'['; 100_000]].concat()),
        EvidenceError::Json(_)
    ));
}

#[test]
fn the_address_of_a_missing_certificate_names_chip_and_tcb() {
    let urls = |report: &[u8]| -> Vec<String> {
        let report = casemate_attestation::report::Report::parse(report).unwrap();
        let paths = vcek_paths(report.unverified_fields());
        paths.into_iter().map(|(_, path)| format!("{KEY_SERVER}{path}")).collect()
    };
    let of = |name: &str| urls(&common::find(name).report);
    assert_eq!(
        of("ms_turin"),
        [
            "https://kdsintf.amd.com/vcek/v1/Turin/59790fb1c39f35c1?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81"
        ]
    );
    assert!(of("ms_milan")[0].ends_with("?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219"));
    let unknown = of("virtee_milan");
    assert_eq!(unknown.len(), 2, "version 2 does not tell the generation");
    assert!(unknown[0].contains("/Milan/") && unknown[1].contains("/Genoa/"));
    assert!(of("trustee_vlek").is_empty(), "a VLEK is not on the server");
    let mut masked = common::find("ms_turin").report;
    masked[0x1a0..0x1e0].fill(0);
    assert!(urls(&masked).is_empty(), "a masked chip names no certificate");
}

/// SnpEvidence of a report, in the layout of crate sev from 6 on, or in that before.
fn snp_evidence(report: &[u8], vek: &[u8], kind: &str, old: bool) -> serde_json::Value {
    use serde_json::json;
    let parsed = casemate_attestation::report::Report::parse(report).unwrap();
    let f = parsed.unverified_fields();
    let turin = f.generation() == Some(casemate_attestation::report::Generation::Turin);
    let tcb = |at: usize| {
        let t = &report[at..at + 8];
        match (old, turin) {
            (true, _) => json!({"bootloader": t[0], "tee": t[1], "_reserved": t[2..6],
                "snp": t[6], "microcode": t[7]}),
            (false, false) => json!({"fmc": null, "bootloader": t[0], "tee": t[1],
                "snp": t[6], "microcode": t[7]}),
            (false, true) => json!({"fmc": t[0], "bootloader": t[1], "tee": t[2],
                "snp": t[3], "microcode": t[7]}),
        }
    };
    let bytes = |at: usize, length: usize| json!(report[at..at + length]);
    let mut all = json!({
        "version": f.version, "guest_svn": f.guest_svn, "policy": f.policy,
        "family_id": bytes(0x10, 16), "image_id": bytes(0x20, 16), "vmpl": f.vmpl,
        "sig_algo": f.signature_algorithm, "current_tcb": tcb(0x38), "plat_info": f.platform_info,
        "report_data": bytes(0x50, 64), "measurement": bytes(0x90, 48), "host_data": bytes(0xC0, 32),
        "id_key_digest": bytes(0xE0, 48), "author_key_digest": bytes(0x110, 48),
        "report_id": bytes(0x140, 32), "report_id_ma": bytes(0x160, 32), "reported_tcb": tcb(0x180),
        "chip_id": bytes(0x1A0, 64), "committed_tcb": tcb(0x1E0), "launch_tcb": tcb(0x1F0),
        "signature": {"r": bytes(0x2A0, 72), "s": bytes(0x2E8, 72)},
    });
    let more = if old {
        all["signature"]["_reserved"] = bytes(0x330, 368);
        json!({"_author_key_en": f.flags, "_reserved_0": 0, "_reserved_1": bytes(0x188, 24),
            "current_build": report[0x1E8], "current_minor": report[0x1E9],
            "current_major": report[0x1EA], "_reserved_2": 0, "committed_build": report[0x1EC],
            "committed_minor": report[0x1ED], "committed_major": report[0x1EE], "_reserved_3": 0,
            "_reserved_4": bytes(0x1F8, 168)})
    } else {
        let version = |at: usize| json!({"build": report[at], "minor": report[at + 1], "major": report[at + 2]});
        let newer = f.version >= 3;
        let since_3 = |at: usize| newer.then(|| report[at]);
        json!({"key_info": f.flags, "cpuid_fam_id": since_3(0x188), "cpuid_mod_id": since_3(0x189),
            "cpuid_step": since_3(0x18A), "current": version(0x1E8), "committed": version(0x1EC),
            "launch_mit_vector": f.launch_mitigations, "current_mit_vector": f.current_mitigations})
    };
    let (all_map, more) = (all.as_object_mut().unwrap(), more.as_object().unwrap());
    all_map.extend(more.clone());
    json!({"attestation_report": all, "cert_chain": [
        {"cert_type": "ARK", "data": [1, 2, 3]},
        {"cert_type": {"OTHER": "00000000-0000-0000-0000-000000000000"}, "data": []},
        {"cert_type": kind, "data": vek},
    ]})
}

#[test]
fn every_pair_verifies_in_every_form_it_can_travel_in() {
    let mut seen = 0;
    for pair in common::pairs() {
        let vlek = pair.name == "trustee_vlek";
        let (guid, kind) = match vlek {
            true => (casemate_attestation::evidence::VLEK_GUID, "VLEK"),
            false => (casemate_attestation::evidence::VCEK_GUID, "VCEK"),
        };
        let der = table(guid, &pair.vek);
        let pem_table = table(guid, pem(&pair.vek).as_bytes());
        // A table as a host hands it over: whole pages, zeros behind the contents.
        let mut padded = der.clone();
        padded.resize(16 * 1024, 0);
        let extended = |table: &[u8]| [&pair.report[..], table].concat();
        let tsm = |aux: &[u8]| {
            let lines = |bytes: &[u8]| {
                let text = Base64::encode_string(bytes);
                let lines = text.as_bytes().chunks(76);
                lines
                    .map(|l| String::from_utf8_lossy(l).into_owned())
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            let json = serde_json::json!({"outblob": lines(&pair.report), "auxblob": lines(aux),
                "provider": "sev_guest", "generation": 3, "manifestblob": null});
            serde_json::to_vec(&json).unwrap()
        };
        let coco = |old: bool| snp_evidence(&pair.report, &pair.vek, kind, old);
        let wrapped = serde_json::json!({
            "runtime-data": {"nonce": "bm9uY2U="},
            "tee-evidence": {"primary_evidence": coco(false), "additional_evidence": ""},
        });
        for (form, bytes) in [
            ("extended, DER", extended(&der)),
            ("extended, PEM", extended(&pem_table)),
            ("extended, padded", extended(&padded)),
            ("tsm, DER", tsm(&der)),
            ("tsm, PEM", tsm(&pem_table)),
            ("CoCo", serde_json::to_vec(&coco(false)).unwrap()),
            ("CoCo, old layout", serde_json::to_vec(&coco(true)).unwrap()),
            ("CoCo, in the KBS protocol", serde_json::to_vec_pretty(&wrapped).unwrap()),
        ] {
            let name = pair.name;
            let evidence = Evidence::read(&bytes).unwrap_or_else(|e| panic!("{name}, {form}: {e}"));
            assert_eq!(evidence.report, pair.report, "{name}, {form}");
            let mut verifier = Verifier::new(pair.at);
            verifier.appraisal.vmpl = Some(vec![0, 1]);
            verifier.appraisal.allow_broken_roots = vec![Generation::Milan];
            verifier.appraisal.guest_policy.debug = casemate_attestation::verify::BitRule::Any;
            let verdict = verifier.verify(&evidence.report, evidence.vek());
            let failure = verdict.first_failure();
            assert!(verdict.authentic(), "{name}, {form}: {failure:?}");
            seen += 1;
        }
        // Azure: the same report in the paravisor's blob, its certificate from elsewhere.
        let mut hcl = b"HCLA".to_vec();
        hcl.extend([1, 0, 0, 0]);
        hcl.resize(0x20, 0);
        hcl.extend(&pair.report);
        hcl.extend([22u32, 1, 2, 1, 2].map(u32::to_le_bytes).concat());
        hcl.extend(b"{}");
        hcl.resize(2600, 0);
        assert_eq!(Evidence::read(&hcl).unwrap().report, pair.report, "{}", pair.name);
    }
    println!("{seen} forms of evidence");
    assert!(seen >= 13 * 8);
}

#[test]
fn an_isolation_policy_decides_a_verified_report_and_a_record_replays_it() {
    use casemate_attestation::context::Context;
    use casemate_attestation::record::PolicyText;
    use casemate_attestation::verify::Code;
    let pair = common::find("ms_turin");
    let hex = casemate_attestation::hex::encode;
    let f = casemate_attestation::report::Report::parse(&pair.report).unwrap();
    let f = f.unverified_fields();
    let policy = |floor: u8, more: &str| {
        format!(
            "schema_version = 1\nmin_engine = \"0.1.0\"\n[attestation]\ngenerations = [\"turin\"]\n\
             reported_tcb = {{ turin = {{ fmc = 1, bootloader = 1, tee = 1, snp = {floor}, microcode = 81 }} }}\n\
             launch_tcb = {{ turin = {{ fmc = 1, bootloader = 1, tee = 1, snp = 4, microcode = 81 }} }}\nchip_allow = [\"{}\"]\ncsp_id = [\"\"]\n\
             crl_checked = \"any\"\ncrl_age_hours = \"any\"\nmeasurement = [\"{}\"]\nhost_data = [\"{}\"]\n\
             id_key = [\"{}\"]\nauthor_key = [\"unset\"]\nfamily_id = \"any\"\nimage_id = \"any\"\nguest_svn = 2\n\
             guest_policy = {{ must = [], may = [\"smt\"] }}\n\
             platform_info = {{ must = [\"alias_check_complete\"], may = [\"smt\", \"ecc\", \"iommu_write_safe\"] }}\n\
             mitigations = {{ must = [\"bit1\", \"bit2\"], may = \"any\" }}\n{more}",
            hex(&f.chip_id),
            hex(&f.measurement),
            hex(&f.host_data),
            hex(&f.id_key_digest),
        )
    };
    let verdict = |floor: u8, more: &str, context: Option<Context>| {
        let text = policy(floor, more);
        let inputs = Inputs {
            report: pair.report.clone(),
            vek: Some(pair.vek.clone()),
            at: pair.at,
            policy: Some(PolicyText { name: "p.toml".to_owned(), text }),
            context,
            ..Inputs::default()
        };
        let verdict = inputs.verify().unwrap_or_else(|error| panic!("{error}"));
        let record = serde_json::to_vec(&Record::new(&inputs, &verdict).unwrap()).unwrap();
        let replay = Record::from_json(&record).unwrap().repeat().unwrap();
        assert!(replay.same, "the record replays");
        verdict
    };
    let good = verdict(4, "context = \"any\"\n", None);
    assert!(good.authentic(), "{:#?}", good.failures().collect::<Vec<_>>());
    assert!(good.policy().unwrap().decision.is_allow());

    let low = verdict(5, "context = \"any\"\n", None);
    let failure = low.first_failure().unwrap();
    assert_eq!(failure.code, Code::Policy);
    assert!(failure.saw.contains("attestation.reported_tcb"), "{failure:?}");
    assert!(failure.wanted.contains("p.toml:5"), "{failure:?}");

    // REPORT_DATA of this vector is zero: it was not made for this purpose with this nonce.
    let context = Context { label: "tls".to_owned(), nonce: b"nonce".to_vec() };
    let other = verdict(4, "context = [\"tls\"]\n", Some(context));
    let codes: Vec<Code> = other.failures().map(|check| check.code).collect();
    assert_eq!(codes, [Code::ReportData, Code::Policy]);
}
