//! `casemate device net` judged by programs that nobody here wrote: unmodified QEMU as front end,
//! Debian's kernel as driver, the host's own network stack behind the TAP. Protects: streams and
//! datagrams go both ways whole, with what a driver leaves to its device (sums, large packets),
//! with two drivers one after the other; a port that the policy does not admit hears nothing;
//! nothing is left. Cannot tell: performance, which an emulated processor does not have, and
//! anything of confidential guests. Skipped, and said so, not as root.

#![cfg(feature = "vm")]
#![allow(clippy::unwrap_used, reason = "tests")]

use casemate_test_devices::scratch::Scratch;
use std::path::Path;
use std::process::Command;

#[test]
fn qemu_gives_debians_kernel_a_network_that_the_command_serves() {
    let own_network = Command::new("unshare").args(["-n", "true"]).status();
    if !own_network.is_ok_and(|status| status.success()) || !Path::new("/dev/net/tun").exists() {
        println!("SKIPPED: network devices need a network namespace and /dev/net/tun");
        return;
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    // The guest's kernel, modules and shell are those of the virtual host.
    let built = Command::new(tests.join("host/build")).status().unwrap();
    assert!(built.success(), "the virtual host's kernel cannot be had");
    let scratch = Scratch::new();
    let log = scratch.path("log");
    let output = Command::new("unshare")
        .arg("-n")
        .arg(tests.join("devices/qemu-net"))
        .args([Path::new(env!("CARGO_BIN_EXE_casemate")), &log])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
    let all = format!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("NET OK"), "{all}");
}
