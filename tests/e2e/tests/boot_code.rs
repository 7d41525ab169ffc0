//! The boot code on KVM without SNP, in the virtual host: bytes flipped densely, and flipped by
//! another process meanwhile. A VM keeps its descriptors until its process ends, so there must be
//! many.

use casemate_e2e::run_test_program;
use casemate_test_host::Kind;

#[test]
fn bytes_flipped_densely_are_refused_with_the_right_code() {
    let output =
        run_test_program(Kind::Plain, "boot_code_on_kvm", "ulimit -n 65536; CASEMATE_SAMPLES=60");
    assert!(output.contains("booted the same kernel") && !output.contains("SKIPPED"), "{output}");
}

#[test]
fn another_process_that_changes_staging_gets_no_other_code_to_run() {
    let output = run_test_program(
        Kind::Plain,
        "boot_code_race_on_kvm",
        "ulimit -n 65536; CASEMATE_ROUNDS=100",
    );
    assert!(output.contains("refused") && !output.contains("SKIPPED"), "{output}");
}
