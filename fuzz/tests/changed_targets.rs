//! Which targets a change concerns.
//!
//! Protects: a change of a crate concerns the targets that use it, through others too, and no
//! unrelated one; a change of how everything is built concerns all; documents concern none. Cannot
//! tell: a use that no text names.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use casemate_fuzz::TARGETS;
use std::io::Write;
use std::process::{Command, Stdio};

/// The targets for these changed files.
fn changed(files: &str) -> Vec<String> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_changed_targets"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(files.as_bytes()).unwrap();
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_changed_crate_concerns_what_uses_it_and_nothing_else() {
    let block = changed("devices/block/src/requests.rs\n");
    assert!(block.contains(&"device_block".to_owned()), "{block:?}");
    assert!(!block.contains(&"policy_document".to_owned()), "{block:?}");
    // Through another crate: the policy engine's log is in the crate that writes it.
    let policy = changed("policy/src/lib.rs\n");
    for target in ["policy_document", "policy_log_open", "kbs_broker"] {
        assert!(policy.contains(&target.to_owned()), "{target}: {policy:?}");
    }
    assert!(!policy.contains(&"device_rng".to_owned()), "{policy:?}");
}

#[test]
fn a_target_s_own_files_concern_it_alone() {
    assert_eq!(changed("fuzz/fuzz_targets/attest_crl.rs\n"), ["attest_crl"]);
    assert_eq!(changed("fuzz/seeds/exit_hlt/one\n"), ["exit_hlt"]);
    assert!(changed("fuzz/src/world.rs\n").contains(&"exit_hlt".to_owned()));
}

#[test]
fn what_builds_everything_concerns_all_and_documents_none() {
    assert_eq!(changed("docs/policy.md\nCargo.lock\n").len(), TARGETS.len());
    assert_eq!(changed("docs/policy.md\nREADME.md\n"), [""; 0]);
}
