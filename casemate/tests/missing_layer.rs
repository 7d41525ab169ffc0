//! A layer of the lock that this host cannot give is said, and costs itself only: as the program is run.
//!
//! The host is made by unshare of util-linux: root of a user namespace in which no other one may be made, in a mount
//! namespace of its own. Skipped, and said so, without root, /dev/kvm or unshare. Cannot tell what a container's own
//! filter refuses.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::process::{Command, Output, Stdio};

/// `casemate run` with these layers optional, where user namespaces are forbidden; the directory of the kernel.
fn run(test: &str, optional: &[&str]) -> Option<Output> {
    let usable = Command::new("unshare").args(["-Urm", "true"]).status().is_ok_and(|s| s.success());
    if !rustix::process::geteuid().is_root()
        || !usable
        || casemate_test_support::guests::kvm().is_none()
    {
        println!("SKIPPED: it takes root, /dev/kvm and unshare");
        return None;
    }
    let place = std::env::temp_dir().join(format!("casemate-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let code = casemate_test_support::guests::power_off();
    std::fs::write(place.join("k"), casemate_test_support::guests::elf_kernel(&code)).unwrap();
    let config = format!(
        "kernel = \"k\"\nprotection = \"none\"\nmemory = \"64M\"\n[sandbox]\noptional = {optional:?}\n"
    );
    std::fs::write(place.join("vm.toml"), config).unwrap();
    let script =
        "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" run \"$1\" --timeline=json";
    let output = Command::new("unshare")
        .args(["-Urm", "sh", "-c", script, env!("CARGO_BIN_EXE_casemate")])
        .arg(place.join("vm.toml"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let _ = std::fs::remove_dir_all(place);
    Some(output)
}

fn lines_about<'a>(text: &'a str, layer: &str) -> Vec<&'a str> {
    let about = format!("runs without the layer {layer}:");
    text.lines().filter(|line| line.contains(&about)).collect()
}

/// Protects the user from a lock that is weaker than they think: each missing layer is a line, and is in the timeline.
#[test]
fn each_missing_layer_is_said_and_none_is_given_up_with_it() {
    let optional = ["user-namespace", "mount-namespace", "pid-namespace", "user-id", "empty-root"];
    let Some(output) = run("said", &optional) else { return };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // Only what this host lacks: it lacks a further user namespace, and another user to become.
    for layer in ["user-namespace", "user-id"] {
        let said = lines_about(&text, layer);
        assert_eq!(said.iter().filter(|line| line.starts_with("casemate: ")).count(), 1, "{text}");
        assert!(said.iter().any(|line| line.starts_with('{')), "not in the timeline: {text}");
    }
    for layer in ["mount-namespace", "pid-namespace", "empty-root"] {
        assert_eq!(lines_about(&text, layer), [""; 0], "{text}");
    }
    assert!(text.contains("first guest instruction"), "{text}");
}

/// Protects against a lock that is quietly optional: without the user's word a missing layer ends the start.
#[test]
fn missing_layer_that_nobody_called_optional_ends_the_start_and_says_what_to_do() {
    let Some(output) = run("required", &["user-id"]) else { return };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("sandbox layer user-namespace: "), "{text}");
    assert!(text.contains("max_user_namespaces") && text.contains("optional"), "{text}");
}
