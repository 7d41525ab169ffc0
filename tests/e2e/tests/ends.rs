//! How a VM ends by itself, and what its user is told; the last one has an ELF file as its kernel.

use casemate_e2e::{Boot, INPUT};
use casemate_test_host::Host;

static BOOT: Boot = Boot::new("ends", Host::vmlinux);

#[test]
fn a_workloads_output_and_its_success_come_back() {
    let left = BOOT.scenario("hello");
    assert_eq!(left.status, 0, "{}", left.err);
    assert!(left.out.contains(&format!("guest: task hello, input {INPUT}")), "{}", left.out);
    assert_eq!(left.remains, "");
}

#[test]
fn a_development_vm_warns_once_that_the_host_can_read_it() {
    let left = BOOT.scenario("hello");
    assert_eq!(left.err.matches("warning: protection = \"none\"").count(), 1, "{}", left.err);
    assert_eq!(left.err.lines().count(), 1, "{}", left.err);
}

#[test]
fn a_workload_that_fails_is_a_guest_failure_with_its_status() {
    let left = BOOT.scenario("five");
    assert_eq!(left.status, 3, "{}", left.err);
    assert!(
        left.err.contains("the guest says that its workload failed with status 5"),
        "{}",
        left.err
    );
    assert_eq!(left.remains, "");
}

#[test]
fn a_guest_that_resets_itself_has_failed() {
    // By the reset vector, which Linux takes by itself, and by the ACPI register.
    for scenario in ["reboot", "reboot-acpi"] {
        let left = BOOT.scenario(scenario);
        assert_eq!(left.status, 3, "{}", left.err);
        assert!(left.err.contains("the guest asked for a reset"), "{}", left.err);
        assert_eq!(left.remains, "");
    }
}

#[test]
fn a_guest_whose_kernel_panics_has_failed() {
    let left = BOOT.scenario("panic");
    assert_eq!(left.status, 3, "{}", left.err);
    assert!(left.out.contains("Kernel panic"), "{}", left.out);
    assert_eq!(left.remains, "");
}

#[test]
fn a_guest_that_runs_longer_than_it_may_is_ended() {
    let left = BOOT.scenario("timeout");
    assert_eq!(left.status, 3, "{}", left.err);
    assert!(left.err.contains("did not end within 3s"), "{}", left.err);
    assert_eq!(left.remains, "");
}

#[test]
fn an_elf_kernel_boots() {
    let left = BOOT.scenario("elf");
    assert_eq!(left.status, 0, "{}", left.err);
    assert!(left.out.contains("guest: task hello"), "{}", left.out);
    assert_eq!(left.remains, "");
}
