//! The virtual SNP host's semantics: the RMP's rules by tables, and the platform through KVM's SNP
//! interface.
//!
//! The programs are in `snp/test`; each prints one line a check and fails when one did.

mod common;

use casemate_test_host::{Host, Kind};
use common::compile_vmm;
use std::process::Command;
use std::time::Duration;

#[test]
fn accesses_pvalidate_and_rmpadjust_follow_the_rules_of_the_rmp() {
    let program = common::compile("test", "rmp_rules", &["-Iinclude", "rmp_rules.c"]);
    let output = Command::new(&program).output().unwrap();
    std::fs::remove_file(&program).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Runs the test VMM with these words in the virtual SNP host.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn vmm(name: &str, words: &str) {
    let host = Host::new(Kind::Snp).unwrap();
    let program = compile_vmm(name);
    let output = host
        .file(&program, "/bin/vmm")
        .timeout(Duration::from_secs(180))
        .run(&format!("vmm {words}"))
        .unwrap();
    std::fs::remove_file(&program).unwrap();
    let failed: Vec<&str> = output.stdout.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert_eq!(output.status, 0, "{failed:#?}\n{}\n{}", output.stderr, output.log);
    assert!(output.stdout.contains("ok   "), "{}", output.stdout);
    assert!(!output.log.contains("cut here"), "a warning of the host's kernel:\n{}", output.log);
}

#[test]
fn launches_take_what_they_must_and_refuse_the_rest_with_the_firmwares_codes() {
    vmm("launch", "launch refusals");
}

#[test]
fn a_guest_sees_the_instructions_and_protocols_of_snp() {
    vmm("guest", "guest");
}

#[test]
fn a_page_that_the_host_replaces_is_never_read() {
    vmm("evil", "evil");
}

#[test]
fn the_host_reads_ciphertext_of_a_guests_page_and_cannot_write_it() {
    vmm("host-view", "host-view");
}

#[test]
fn a_vcpu_at_vmpl1_can_do_what_vmpl0_allowed() {
    vmm("vmpl", "vmpl");
}

#[test]
fn guests_come_and_go_without_leaks() {
    vmm("cycles", "cycles=100");
}

/// Each fault happens, the guest's own checks notice it, and the run ends.
#[test]
fn a_host_that_misbehaves_is_noticed() {
    let host = Host::new(Kind::Snp).unwrap().timeout(Duration::from_secs(120));
    let program = compile_vmm("faults");
    for (fault, noticed) in [
        ("remap:1", "second validation sets CF"),
        ("replay:1", "second validation sets CF"),
        ("psc-repeat:1", "page is as the guest left it"),
        ("psc-lie:1", "page state change to shared"),
        ("ghcb-msr:1", "SEV_INFO"),
        ("fw-fail:4", "FAIL"),
    ] {
        let output =
            host.clone().file(&program, "/bin/vmm").faults(fault).run("vmm guest").unwrap();
        let (name, _) = fault.split_once(':').unwrap();
        assert!(output.log.contains(&format!("FAULT {name} ")), "{fault}:\n{}", output.log);
        assert_ne!(output.status, 0, "{fault}:\n{}", output.stdout);
        let failed = output.stdout.lines().any(|l| l.starts_with("FAIL") && l.contains(noticed));
        assert!(failed, "{fault}:\n{}", output.stdout);
    }
    std::fs::remove_file(&program).unwrap();
}
