//! Consoles: bytes both ways, every kind; a user without rights.

use casemate_e2e::{Boot, INPUT};

static BOOT: Boot = Boot::new("consoles", |host| host);

#[test]
fn standard_input_reaches_the_guests_console() {
    let left = BOOT.scenario("stdin");
    assert_eq!(left.status, 0, "{}", left.err);
    assert!(left.out.contains("guest: read from the host"), "{}", left.out);
    assert_eq!(left.remains, "");
}

#[test]
fn an_ordinary_user_with_access_to_kvm_runs_a_guest() {
    let left = BOOT.scenario("user");
    assert_eq!(left.status, 0, "{}", left.err);
    assert_eq!(left.remains, "");
}

#[test]
fn a_console_file_gets_the_output_and_standard_output_nothing() {
    let left = BOOT.scenario("user");
    let console = left.file("console").replace('\r', "");
    assert!(console.contains(&format!("guest: task hello, input {INPUT}")), "{console}");
    assert_eq!(left.out, "");
}

#[test]
fn a_pseudo_terminal_carries_both_directions() {
    let left = BOOT.scenario("pty");
    assert_eq!(left.status, 0, "{}", left.err);
    let console = left.file("console");
    assert!(console.contains("guest: read through the terminal"), "{console}");
    assert_eq!(left.remains, "");
}
