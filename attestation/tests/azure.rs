//! Azure evidence: each part hangs on the one before, and none can be exchanged.
//!
//! The evidence is real (`tests/vectors/evidence`). Quotes of our own making need a TPM's private
//! key, which no vector has, so what is tried here are real parts, altered and combined.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use casemate_attestation::evidence::{Azure, Claims, Evidence, EvidenceError, Form, Quote};
use casemate_attestation::hex::{Hex, encode};
use casemate_attestation::verify::{
    Appraisal, BitRule, Code, Demand, Property, Status, Verdict, Verifier,
};

const NAMES: [&str; 4] = ["v0", "v1", "v2", "genoa"];

fn file(name: &str) -> Vec<u8> {
    common::read(&format!("evidence/trustee_az_evidence_{name}.json"))
}

fn evidence(name: &str) -> Evidence {
    Evidence::read(&file(name)).unwrap()
}

fn judge_with(verifier: &Verifier, evidence: &Evidence) -> Verdict {
    verifier.verify_azure(&evidence.report, evidence.azure.as_ref(), evidence.vek())
}

fn judge(evidence: &Evidence) -> Verdict {
    judge_with(&common::verifier(common::at("2026-03-01")), evidence)
}

fn first_code(evidence: &Evidence) -> Option<Code> {
    judge(evidence).first_failure().map(|check| check.code)
}

fn quote(azure: &mut Option<Azure>) -> &mut Quote {
    azure.as_mut().unwrap().quote.as_mut().unwrap()
}

/// Protects users of every version of the form: real evidence of each is authentic, and everything
/// bound is shown.
#[test]
fn evidence_of_every_version_is_read_and_bound() {
    for name in NAMES {
        let evidence = evidence(name);
        assert_eq!(evidence.form, Form::AzureVtpm);
        let verdict = judge(&evidence);
        assert!(verdict.authentic(), "{name}: {:?}", verdict.first_failure());
        let passed =
            |code| verdict.checks().iter().any(|c| c.code == code && c.status == Status::Passed);
        use Code::{AzureClaims, AzureClaimsForm, VtpmPcrs, VtpmQuote, VtpmSignature};
        for code in [AzureClaims, AzureClaimsForm, VtpmQuote, VtpmSignature, VtpmPcrs] {
            assert!(passed(code), "{name}: {code}");
        }
        let bound = verdict.azure().unwrap();
        assert_eq!(bound.claims.secure_boot, Some(true), "{name}");
        assert_eq!(bound.claims.keys, ["HCLAkPub", "HCLEkPub"]);
        assert_eq!(bound.quote.as_ref().unwrap().pcrs.len(), 24);
    }
    let wrapped = format!(
        "{{\"tee-evidence\":{{\"primary_evidence\":{}}}}}",
        String::from_utf8(file("v1")).unwrap()
    );
    assert!(judge(&Evidence::read(wrapped.as_bytes()).unwrap()).authentic());
}

/// Protects against somebody else's vTPM key under a genuine report: no byte of the claims can
/// change, nor their length.
#[test]
fn claims_that_are_not_those_of_the_report_are_refused() {
    let blob = common::read("evidence/trustee_az_hcl_report.bin");
    let chain = common::read("evidence/trustee_az_vcek_chain.pem");
    let verdict = |blob: &[u8]| {
        let mut evidence = Evidence::read(blob)?;
        evidence.veks = casemate_attestation::evidence::veks_in(&chain);
        Ok::<_, EvidenceError>(judge(&evidence))
    };
    assert!(verdict(&blob).unwrap().authentic());
    let claims = 0x20 + 1184 + 20;
    for at in (claims..claims + 1110).step_by(7) {
        let mut altered = blob.clone();
        altered[at] ^= 1;
        let verdict = verdict(&altered).unwrap();
        assert_eq!(verdict.first_failure().unwrap().code, Code::AzureClaims, "byte {at}");
        assert!(verdict.azure().is_none(), "nothing of broken claims is shown");
    }
    // Claims of another VM's genuine blob.
    let other = common::read("ext/openpcc_azure.bin");
    let swapped = [&blob[..0x20 + 1184], &other[0x20 + 1184..]].concat();
    assert_eq!(verdict(&swapped).unwrap().first_failure().unwrap().code, Code::AzureClaims);
    // Another hash than the one that binds them.
    let mut sha512 = blob.clone();
    sha512[0x20 + 1184 + 12] = 3;
    assert_eq!(verdict(&sha512).unwrap().first_failure().unwrap().code, Code::AzureClaims);
    // Shorter claims: with fitting lengths the hash tells, without them the container.
    let mut shorter = blob.clone();
    shorter[0x20 + 1184] -= 1;
    shorter[0x20 + 1184 + 16] -= 1;
    assert!(verdict(&shorter).is_err(), "a byte of the claims lies behind them");
    shorter[claims + 1109] = 0;
    assert_eq!(verdict(&shorter).unwrap().first_failure().unwrap().code, Code::AzureClaims);
    for cut in [0x20, 0x20 + 1183, 0x20 + 1184, 0x20 + 1184 + 19, claims, claims + 1109] {
        assert!(matches!(verdict(&blob[..cut]), Err(EvidenceError::Hcl(_))), "cut at {cut}");
    }
    assert!(
        verdict(&blob[..claims + 1110]).unwrap().authentic(),
        "the zeros behind may be missing"
    );
    for (at, byte, what) in [
        (0x20 + 1184 + 4, 2, "an unknown version of the claims"),
        (0x20 + 1184 + 8, 4, "a TDX report"),
        (0x20 + 1184 + 12, 0, "no hash"),
        (0x20 + 1184 + 19, 0x80, "a length of gigabytes"),
        (0x20 + 1184, 0, "lengths that do not fit each other"),
        (claims + 1110, 1, "a byte that no hash covers"),
    ] {
        let mut altered = blob.clone();
        altered[at] = byte;
        assert!(matches!(verdict(&altered), Err(EvidenceError::Hcl(_))), "{what}");
    }
}

/// Protects the quote: no byte of message, signature or registers can change, and none can come
/// from another VM.
#[test]
fn a_quote_that_the_claimed_key_did_not_sign_is_refused() {
    let good = evidence("v1");
    for at in 0..122 {
        let mut altered = good.clone();
        quote(&mut altered.azure).message[at] ^= 1;
        let code = first_code(&altered).unwrap();
        assert!([Code::VtpmQuote, Code::VtpmSignature].contains(&code), "byte {at}: {code}");
    }
    for at in (0..256).step_by(17) {
        let mut altered = good.clone();
        quote(&mut altered.azure).signature[at] ^= 1;
        assert_eq!(first_code(&altered), Some(Code::VtpmSignature));
    }
    for register in 0..24 {
        let mut altered = good.clone();
        quote(&mut altered.azure).pcrs[register][register] ^= 1;
        assert_eq!(first_code(&altered), Some(Code::VtpmPcrs), "PCR {register}");
    }
    let mut swapped = good.clone();
    quote(&mut swapped.azure).pcrs.swap(0, 1);
    assert_eq!(first_code(&swapped), Some(Code::VtpmPcrs));
    for other in ["v2", "genoa"] {
        let mut foreign = good.clone();
        *quote(&mut foreign.azure) = quote(&mut evidence(other).azure).clone();
        assert_eq!(first_code(&foreign), Some(Code::VtpmSignature), "the quote of {other}");
    }
    for (name, alter) in [
        ("empty message", (|q| q.message.clear()) as fn(&mut Quote)),
        ("cut message", |q| q.message.truncate(100)),
        ("longer message", |q| q.message.push(0)),
        ("huge message", |q| q.message.resize(1 << 20, 0)),
        ("no registers", |q| q.pcrs.clear()),
        ("23 registers", |q| q.pcrs.truncate(23)),
        ("huge signature", |q| q.signature.resize(1 << 20, 0)),
    ] {
        let mut altered = good.clone();
        alter(quote(&mut altered.azure));
        assert_eq!(first_code(&altered), Some(Code::VtpmQuote), "{name}");
    }
    let mut unsigned = good.clone();
    quote(&mut unsigned.azure).signature.clear();
    assert_eq!(first_code(&unsigned), Some(Code::VtpmSignature));
}

/// Protects against old evidence: the nonce of the quote is the verifier's, or it is not fresh.
#[test]
fn the_quotes_nonce_shows_freshness_and_the_hash_of_the_claims_does_not() {
    let padded = |nonce: &[u8]| {
        let mut value = [0; 64];
        value[..nonce.len()].copy_from_slice(nonce);
        value
    };
    let outcome = |evidence: &Evidence, value: [u8; 64]| {
        let mut verifier = common::verifier(common::at("2026-03-01"));
        verifier.report_data = vec![Demand { by: "--nonce".to_owned(), value }];
        let verdict = judge_with(&verifier, evidence);
        let fresh = !verdict.not_proven().contains(&Property::Freshness);
        (verdict.first_failure().map(|check| check.code), fresh)
    };
    for name in ["v0", "v1"] {
        let evidence = evidence(name);
        assert_eq!(outcome(&evidence, padded(b"challenge")), (None, true), "{name}");
        for other in [&b"challengf"[..], b"challeng", b"challenge1", b""] {
            let refused = (Some(Code::ReportData), false);
            assert_eq!(outcome(&evidence, padded(other)), refused, "{name} {other:?}");
        }
        // REPORT_DATA itself, the hash of the claims, is met and proves no freshness.
        let hash = evidence.report[0x50..0x90].try_into().unwrap();
        assert_eq!(outcome(&evidence, hash), (None, false), "{name}");
    }
    // Without a quote the user data of the claims is what the guest was given.
    let mut bare = evidence("v2");
    let user_data = bare.azure.as_ref().map(|azure| Claims::parse(&azure.claims).unwrap());
    let user_data = user_data.unwrap().user_data.unwrap();
    assert_eq!(outcome(&bare, user_data), (None, true));
    bare.azure.as_mut().unwrap().quote = None;
    assert_eq!(outcome(&bare, user_data), (None, true));
    assert_eq!(outcome(&bare, [1; 64]), (Some(Code::ReportData), false));
}

/// Protects version 2's second place for the nonce: an old quote beside fresh claims, or the other
/// way round, is refused.
#[test]
fn in_version_2_the_claims_repeat_the_nonce_of_the_quote() {
    let mut claimed = evidence("v1");
    claimed.azure.as_mut().unwrap().user_data_is_nonce = true;
    assert_eq!(first_code(&claimed), Some(Code::VtpmQuote), "user data of v1 is zero");
    let text = String::from_utf8(file("v1")).unwrap();
    let relabelled = text.replacen("\"version\":1", "\"version\":2", 1);
    let relabelled = relabelled.replacen("\"version\": 1", "\"version\": 2", 1);
    assert_ne!(text, relabelled);
    let evidence = Evidence::read(relabelled.as_bytes()).unwrap();
    assert_eq!(first_code(&evidence), Some(Code::VtpmQuote));
}

/// Protects whoever asks for a key, a VM, secure boot or registers; and evidence without them fails
/// the rule.
#[test]
fn attestation_key_vm_secure_boot_and_registers_can_be_asked_for() {
    let good = evidence("v1");
    let bound = judge(&good).azure().unwrap().clone();
    let ak = encode(&bound.ak);
    assert_eq!(ak, "18363b87a4b74a15492d8a8c2d71295d7a63652d244dd059847aa3d35edc6f62");
    let pcr = |index: usize| encode(&bound.quote.as_ref().unwrap().pcrs[index].1);
    let other = "00".repeat(32);
    let code = |evidence: &Evidence, rules: &str| {
        let mut verifier = common::verifier(common::at("2026-03-01"));
        verifier.appraisal.azure = Appraisal::from_toml(rules).unwrap().azure;
        judge_with(&verifier, evidence).first_failure().map(|check| check.code)
    };
    let id = "26F8BC30-774E-4290-8E7A-535F3B672AEE";
    let rules = [
        (format!("azure.aks = ['{other}', '{ak}']"), None),
        (format!("azure.aks = ['{other}']"), Some(Code::AzureAk)),
        ("azure.aks = []".to_owned(), Some(Code::AzureAk)),
        (format!("azure.vm-ids = ['{id}']"), None),
        (format!("azure.vm-ids = ['{}']", id.to_lowercase()), None),
        (format!("azure.vm-ids = ['{}']", id.replace('2', "3")), Some(Code::AzureVmId)),
        ("azure.secure-boot = 'set'".to_owned(), None),
        ("azure.secure-boot = 'clear'".to_owned(), Some(Code::AzureSecureBoot)),
        (format!("azure.pcrs = {{ 4 = ['{other}', '{}'], 7 = ['{}'] }}", pcr(4), pcr(7)), None),
        (format!("azure.pcrs = {{ 4 = ['{}'] }}", pcr(5)), Some(Code::VtpmPcrValues)),
        ("azure.pcrs = { 23 = [] }".to_owned(), Some(Code::VtpmPcrValues)),
    ];
    let mut bare = good.clone();
    bare.azure = None;
    let mut unquoted = good.clone();
    unquoted.azure.as_mut().unwrap().quote = None;
    for (rules, expected) in &rules {
        assert_eq!(code(&good, rules), *expected, "{rules}");
        assert!(code(&bare, rules).is_some(), "{rules}: a report without claims");
        let needs_quote = rules.contains("pcrs");
        assert_eq!(code(&unquoted, rules).is_some(), needs_quote || expected.is_some(), "{rules}");
    }
    for bad in ["azure.pcrs = { 24 = [] }", "azure.pcrs = { 04 = [] }", "azure.pcrs = { x = [] }"] {
        assert!(Appraisal::from_toml(bad).is_err(), "{bad}");
    }
    let mut any = Verifier::new(0).appraisal.azure;
    any.secure_boot = BitRule::Any;
    assert!(any.aks.is_none() && any.pcrs.is_empty() && any.vm_ids != Some(Vec::new()));
    assert!(!any.aks.unwrap_or_default().contains(&Hex([0; 32])));
}

/// Protects the parser of claims: what is not exactly one usable key and its VM is an error,
/// whatever else is there.
#[test]
fn damaged_claims_are_errors_that_say_what() {
    let good = String::from_utf8(evidence("v1").azure.unwrap().claims).unwrap();
    assert!(Claims::parse(good.as_bytes()).is_ok());
    let more = good.replacen('{', "{\"something-newer\":[1,{}],", 1);
    assert!(Claims::parse(more.as_bytes()).is_ok(), "members that are not known are left alone");
    for (what, from, to) in [
        ("no attestation key", "HCLAkPub", "HCLAkPuc"),
        ("two attestation keys", "HCLEkPub", "HCLAkPub"),
        ("an EC key", "\"kty\":\"RSA\"", "\"kty\":\"EC\""),
        ("a modulus that is not base64", "\"n\":\"m", "\"n\":\"*"),
        ("an empty exponent", "\"e\":\"AQAB\"", "\"e\":\"\""),
        ("an exponent with a leading zero", "\"e\":\"AQAB\"", "\"e\":\"AAEAAQ\""),
        ("a key twice", "\"kty\":\"RSA\"", "\"kty\":\"RSA\",\"kty\":\"RSA\""),
        ("short user data", "\"user-data\":\"00", "\"user-data\":\""),
        ("no configuration", "vm-configuration", "vm-configuratiom"),
        ("a number for secure boot", "\"secure-boot\":true", "\"secure-boot\":1"),
        ("secure boot twice", "\"secure-boot\":true", "\"secure-boot\":true,\"secure-boot\":false"),
        ("something behind it", "000\"}", "000\"}}"),
    ] {
        let altered = good.replacen(from, to, 1);
        assert_ne!(altered, good, "{what}");
        assert!(Claims::parse(altered.as_bytes()).is_err(), "{what}");
    }
    let keys = format!("{{\"keys\":[{}", "{\"kid\":\"x\",\"kty\":\"RSA\"},".repeat(20));
    assert!(Claims::parse(good.replacen("{\"keys\":[", &keys, 1).as_bytes()).is_err());
    let name = good.replacen("HCLEkPub", "\\u001b[2J\\nACCEPTED\\u202e", 1);
    assert!(Claims::parse(name.as_bytes()).is_ok());
}

/// Protects against evidence of a version or shape that nobody here knows.
#[test]
fn unknown_versions_and_damaged_members_are_errors() {
    let text = String::from_utf8(file("v1")).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let read = |value: &serde_json::Value| Evidence::read(&serde_json::to_vec(value).unwrap());
    assert!(read(&value).is_ok());
    for version in [0, 3, u32::MAX] {
        value["version"] = version.into();
        assert!(matches!(read(&value), Err(EvidenceError::Json(_))), "version {version}");
    }
    value["version"] = 1.into();
    for (pointer, bad) in [
        ("/version", serde_json::Value::Null),
        ("/tpm_quote/message", "zz".into()),
        ("/tpm_quote/signature", "0".into()),
        ("/tpm_quote/pcrs/3", "00".into()),
        ("/tpm_quote/pcrs", serde_json::json!([])),
        ("/hcl_report", "*".into()),
        ("/hcl_report", "SENMQQ".into()),
        ("/vcek", "*".into()),
    ] {
        let mut altered = value.clone();
        *altered.pointer_mut(pointer).unwrap() = bad;
        assert!(read(&altered).is_err(), "{pointer}");
    }
    value["more"] = 1.into();
    assert!(read(&value).is_err(), "a member that nobody knows");
}

/// Protects isolation policies about Azure: claims and registers are facts, and a report without
/// them meets no rule about them.
#[test]
fn claims_and_registers_are_facts_for_isolation_policies() {
    let good = evidence("v1");
    let bound = judge(&good).azure().unwrap().clone();
    let pcr7 = encode(&bound.quote.as_ref().unwrap().pcrs[7].1);
    let id = bound.claims.vm_unique_id.clone().unwrap();
    let strict = casemate_policy::Policy::builtin_strict();
    let rules = strict.rules(casemate_policy::Point::Attestation);
    let fields: Vec<&str> = rules.map(|(field, _, _)| field.name()).collect();
    let mut bare = good.clone();
    bare.azure = None;
    let mut unquoted = good.clone();
    unquoted.azure.as_mut().unwrap().quote = None;
    let denied = |evidence: &Evidence, rule: &str| {
        let name = rule.split(' ').next().unwrap();
        let open = fields.iter().filter(|field| **field != name);
        let open: String = open.map(|field| format!("{field} = \"any\"\n")).collect();
        let head = "schema_version = 1\nmin_engine = \"0.1.0\"\n[attestation]\n";
        let mut verifier = common::verifier(common::at("2026-03-01"));
        let text = format!("{head}{rule}\n{open}");
        verifier.policy = Some(casemate_policy::Policy::load(&text, "p.toml").unwrap().into());
        let verdict = judge_with(&verifier, evidence);
        verdict.failures().any(|check| {
            assert_eq!(check.code, Code::Policy);
            check.saw.contains(&format!("attestation.{name}"))
        })
    };
    let other = "0".repeat(64);
    for (met, unmet) in [
        (format!("azure_ak = [\"{}\"]", encode(&bound.ak)), format!("azure_ak = [\"{other}\"]")),
        (format!("azure_vm_id = [\"{id}\"]"), "azure_vm_id = [\"x\"]".to_owned()),
        ("azure_secure_boot = \"required\"".into(), "azure_secure_boot = \"forbidden\"".into()),
        (format!("azure_pcrs = [\"7={pcr7}\"]"), format!("azure_pcrs = [\"7={other}\"]")),
    ] {
        assert!(!denied(&good, &met), "{met}");
        assert!(denied(&good, &unmet), "{unmet}");
        assert!(denied(&bare, &met), "{met}: no claims");
        assert_eq!(denied(&unquoted, &met), met.contains("pcrs"), "{met}: no quote");
    }
}
