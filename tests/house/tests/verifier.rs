//! The verifier is for any Linux. Protects: that `casemate` with the features of a relying party's
//! laptop links nothing that needs KVM, seccomp or landlock. Cannot tell: whether it runs there;
//! `tests/lint` compiles it for this machine.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

const FORBIDDEN: [&str; 10] = [
    "casemate-device-process",
    "casemate-hypervisor",
    "casemate-sandbox",
    "kvm-bindings",
    "kvm-ioctls",
    "landlock",
    "seccompiler",
    "sev",
    "vhost",
    "vm-memory",
];

fn tree(features: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "-p", "casemate", "-e", "normal,build", "--prefix", "none"])
        .args(["--target", "aarch64-unknown-linux-gnu"])
        .args(features)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn named<'a>(tree: &'a str, name: &str) -> Option<&'a str> {
    tree.lines().find(|line| line.split(' ').next() == Some(name))
}

#[test]
fn the_verifier_links_nothing_of_a_virtual_machine() {
    let verifier = tree(&["--no-default-features", "--features", "verifier"]);
    for name in FORBIDDEN {
        assert_eq!(named(&verifier, name), None);
    }
    assert!(named(&verifier, "casemate-attestation").is_some());
    // The list means something: the whole program has these.
    let whole = tree(&[]);
    assert!(named(&whole, "casemate-hypervisor").is_some() && named(&whole, "landlock").is_some());
}
