//! Signals: the power button, the end at once, and what is left when a process is killed.

use casemate_e2e::Boot;

static BOOT: Boot = Boot::new("signals", |host| host);

#[test]
fn a_signal_presses_the_power_button_and_the_guest_powers_off() {
    let left = BOOT.scenario("power-off");
    assert_eq!(left.status, 4, "{}", left.err);
    assert!(left.out.contains("guest: told to end"), "{}", left.out);
    assert!(left.err.contains("the guest switched itself off as asked"), "{}", left.err);
    assert_eq!(left.remains, "");
}

#[test]
fn a_second_signal_ends_a_guest_that_does_not_listen() {
    let left = BOOT.scenario("second-signal");
    assert_eq!(left.status, 4, "{}", left.err);
    assert!(left.err.contains("the VM was ended as asked"), "{}", left.err);
    assert_eq!(left.remains, "");
}

#[test]
fn stopping_and_continuing_the_processes_is_harmless() {
    let left = BOOT.scenario("stopped");
    assert_eq!(left.status, 0, "{}", left.err);
    assert!(left.out.contains("guest: task hello"), "{}", left.out);
    assert_eq!(left.remains, "");
}

#[test]
fn killing_the_supervisor_leaves_no_process_name_or_file() {
    let left = BOOT.scenario("supervisor-killed");
    assert_eq!(left.status, 128 + 9, "{}", left.err);
    assert_eq!(left.remains, "");
}

#[test]
fn killing_the_vmm_process_is_reported_as_the_hosts_failure() {
    let left = BOOT.scenario("vmm-killed");
    assert_eq!(left.status, 1, "{}", left.err);
    assert!(left.err.contains("the vmm process was killed from outside"), "{}", left.err);
    assert!(left.err.contains("signal 9") && left.err.contains("memory"), "{}", left.err);
    assert_eq!(left.remains, "");
}

#[test]
fn the_name_of_a_running_vm_cannot_be_had_twice() {
    let running = BOOT.scenario("name-in-use");
    let taken = BOOT.scenario("taken");
    assert_eq!(taken.status, 2, "{}", taken.err);
    assert!(taken.err.contains("`name`") && taken.err.contains("another name"), "{}", taken.err);
    assert_eq!(running.remains, "");
}
