//! What these tests protect: what the program says about evidence it cannot use, and what it
//! assumes about launches. What they cannot tell: whether AMD's server answers at the addresses it
//! prints.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/");

fn vector(name: &str) -> String {
    format!("{VECTORS}{name}")
}

fn casemate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate")).args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("evidence-{name}-{}", std::process::id()))
}

#[test]
fn json_is_printed_for_evidence_that_cannot_be_read() {
    let file = scratch("damaged.json");
    std::fs::write(&file, "{\"attestation_report\": {}}").unwrap();
    let output = casemate(&["attest", "verify", "--json", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["accepted"], false);
    assert_eq!(json["verdict"], "REFUSED");
    assert!(json["error"].as_str().unwrap().contains("JSON evidence"), "{json}");
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_remedy_that_names_an_address_shows_it() {
    let certificate = "https://kdsintf.amd.com/vcek/v1/Turin/59790fb1c39f35c1?fmcSPL=01";
    let report = vector("reports/ms_turin.bin");
    // No certificate, an altered one, another chip's.
    let altered = scratch("altered.der");
    let mut der = std::fs::read(vector("reports/ms_turin.vcek.der")).unwrap();
    *der.last_mut().unwrap() ^= 1;
    std::fs::write(&altered, der).unwrap();
    let other = vector("reports/virtee_turin.vcek.der");
    for cert in [None, Some(altered.to_str().unwrap()), Some(&other)] {
        let cert = cert.map_or(vec![], |cert| vec!["--cert", cert]);
        let base = ["attest", "verify", &report, "--at", "2026-06-01"];
        let run = |more: &[&str]| casemate(&[&base[..], &cert, more].concat());
        let table = run(&[]);
        assert_eq!(table.status.code(), Some(1));
        assert!(out(&table).contains(certificate), "{}", out(&table));
        assert!(err(&run(&["-q"])).contains(certificate), "{cert:?}");
        let json: serde_json::Value = serde_json::from_slice(&run(&["--json"]).stdout).unwrap();
        assert!(json["addresses"][0].as_str().unwrap().starts_with(certificate), "{json}");
    }
    std::fs::remove_file(altered).unwrap();
    // A list that is past its next update: where the current one is.
    let (genoa, vek) =
        (vector("reports/oak_genoa_oc.bin"), vector("reports/oak_genoa_oc.vcek.der"));
    let crl = vector("crls/genoa_crl_4.der");
    let stale = casemate(&[
        "attest",
        "verify",
        &genoa,
        "--cert",
        &vek,
        "--crl",
        &crl,
        "--at",
        "2026-06-01",
        "-q",
    ]);
    assert!(err(&stale).contains("https://kdsintf.amd.com/vcek/v1/Genoa/crl"), "{}", err(&stale));
}

#[test]
fn a_list_and_a_certificate_at_each_others_option_are_told_apart() {
    let (report, vek) = (vector("reports/ms_turin.bin"), vector("reports/ms_turin.vcek.der"));
    let crl = vector("crls/genoa_crl_4.der");
    let list = casemate(&["attest", "verify", &report, "--cert", &crl]);
    assert_eq!(list.status.code(), Some(2));
    assert!(err(&list).contains("give it with --crl"), "{}", err(&list));
    let certificate = casemate(&["attest", "verify", &report, "--cert", &vek, "--crl", &vek]);
    assert_eq!(certificate.status.code(), Some(2));
    assert!(err(&certificate).contains("give it with --cert"), "{}", err(&certificate));
}

#[test]
fn a_report_is_read_from_standard_input_in_hexadecimal() {
    let report = std::fs::read(vector("reports/ms_turin.bin")).unwrap();
    let hex: String = report.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut child = Command::new(env!("CARGO_BIN_EXE_casemate"))
        .args(["attest", "show", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("0x{hex}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(out(&output).contains("59790fb1c39f35c1"), "{}", out(&output));
}

#[test]
fn a_list_for_vceks_is_not_taken_for_a_vleks_and_pem_is_read() {
    let (report, vek) =
        (vector("reports/trustee_test-vlek-report.bin"), vector("reports/trustee_test-vlek.der"));
    let crl = vector("crls/milan_crl_6.der");
    let appraisal = scratch("appraisal.toml");
    std::fs::write(&appraisal, "vmpl = [1]\nrequire-crl = true\n").unwrap();
    let appraisal_path = appraisal.to_str().unwrap();
    let verify = |option: &str| {
        casemate(&[
            "attest",
            "verify",
            &report,
            "--cert",
            &vek,
            option,
            &crl,
            "--policy",
            appraisal_path,
            "--at",
            "2025-06-01",
        ])
    };
    let vcek = verify("--crl");
    assert_eq!(vcek.status.code(), Some(1));
    assert!(out(&vcek).contains("no revocation list of VLEK chains given"), "{}", out(&vcek));
    assert!(out(&vcek).contains("https://kdsintf.amd.com/vlek/v1/Milan/crl"), "{}", out(&vcek));
    assert!(!out(&verify("--vlek-crl")).contains("CRL_REQUIRED             FAILED"));
    std::fs::remove_file(appraisal).unwrap();
}

#[test]
fn what_measure_assumes_is_said_and_what_is_given_is_not() {
    let ovmf = vector("measure/ovmf_AmdSev_suffix.bin");
    let assumed = casemate(&["measure", "--ovmf", &ovmf]);
    let said = err(&assumed);
    for part in ["--vcpus 1", "--cpu EPYC-v4", "--guest-features 0x1"] {
        assert!(said.contains(part), "{said}");
    }
    let all = ["--vcpus", "1", "--cpu", "EPYC-v4", "--guest-features", "0x1"];
    let given = casemate(&[&["measure", "--ovmf", &ovmf][..], &all].concat());
    assert_eq!(err(&given), "");
    assert_eq!(out(&given), out(&assumed), "the same digest");
    let zero = ["--vcpus", "1", "--cpu", "EPYC-v5", "--guest-features", "0"];
    let zero = casemate(&[&["measure", "--ovmf", &ovmf][..], &zero].concat());
    assert_eq!(zero.status.code(), Some(0));
    assert_ne!(out(&zero), out(&given), "0 stays 0");
    let ec2 = casemate(&["measure", "--ovmf", &ovmf, "--vmm", "ec2", "--vcpus", "2"]);
    assert!(!err(&ec2).contains("--cpu"), "EC2's vCPUs do not show a model: {}", err(&ec2));
}

#[test]
fn explain_lists_the_pages_of_an_ovmf_guest() {
    let ovmf = vector("measure/ovmf_AmdSev_suffix.bin");
    let explained = casemate(&["measure", "--ovmf", &ovmf, "--vcpus", "2", "--explain"]);
    let text = out(&explained);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("normal") && lines[0].contains("firmware"), "{text}");
    assert_eq!(text.matches("  vCPU ").count(), 2, "{text}");
    assert!(text.contains("secrets") && text.contains("cpuid"), "{text}");
    let plain = casemate(&["measure", "--ovmf", &ovmf, "--vcpus", "2"]);
    assert_eq!(lines.last().copied(), out(&plain).lines().next(), "the digest comes last");
}
