//! Protects devices that are one process each from end to end: a stock Linux guest reads random
//! numbers of the host from /dev/hwrng; what it writes to hvc0 comes out where its serial console
//! does, every line and in order, and what is typed reaches it by hvc0; no process is left. The
//! same as a confidential guest in the virtual SNP host, whose processor is a MODEL, with the
//! memory fence around the device's process. Cannot tell how random the numbers are, nor what SNP
//! hardware does.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

use casemate_e2e::{initrd, place, static_programs};
use casemate_test_host::{Host, Kind, Output};
use std::fs;
use std::time::Duration;

const CONFIG: &str = "name = \"lone\"\nkernel = \"/k/vmlinuz\"\ninitrd = \"/d/initrd\"\n\
    cmdline = \"console=ttyS0 reboot=acpi panic=-1 quiet\"\nmemory = \"256M\"\ntimeout = \"300s\"\n\
    protection = \"PROTECTION\"\nvirtio_console = true\nMORE\n[rng]\n";

/// While the guest runs, its processes are looked at; afterwards, what is left.
const COMMAND: &str = "mkfifo /tmp/keys; \
    casemate run /vm.toml POLICY >/tmp/console 2>/tmp/err </tmp/keys & pid=$!; exec 3>/tmp/keys; \
    while kill -0 $pid && ! grep -q 'guest: at work' /tmp/console; do sleep 0.2; done; \
    casemate sandbox show lone | grep -E '^== |memory fence'; casemate sandbox check lone; \
    echo check=$?; echo good morning >&3; wait $pid; echo status=$?; grep -v 'hvc0 line' /tmp/console; cat /tmp/err; \
    echo lines=$(grep -c 'hvc0 line' /tmp/console); \
    tr -d '\\r' </tmp/console | grep 'hvc0 line' | sha256sum; seq 1 20000 | sed 's/^/hvc0 line /' | sha256sum; \
    echo left=$(ps | grep -c '[c]asemate')";

fn run(kind: Kind, name: &str, protection: &str, more: &str, policy: &str) -> Output {
    let programs = static_programs().expect("casemate is built");
    let place = place(name).expect("a folder");
    let modules = ["drivers/char/hw_random/virtio-rng"];
    initrd(&place.join("initrd"), "lone-devices-workload.sh", &modules).expect("an initrd");
    let config = CONFIG.replace("PROTECTION", protection).replace("MORE", more);
    let trust = if kind == Kind::Snp { "trust_host = true\n" } else { "" };
    fs::write(place.join("vm.toml"), config + trust).expect("a configuration");
    let output = Host::new(kind)
        .expect("the virtual host can be built")
        .file(programs.join("casemate"), "/bin/casemate")
        .file(place.join("vm.toml"), "/vm.toml")
        .file(place.join("initrd"), "/d/initrd")
        .timeout(Duration::from_secs(420))
        .run(&COMMAND.replace("POLICY", policy))
        .expect("the virtual host runs");
    let _ = fs::remove_dir_all(&place);
    output
}

fn assert_all_is_there(output: &Output) {
    let all = format!("{}\n{}", output.stdout.replace('\r', ""), output.stderr);
    for said in [
        "guest: hwrng is virtio_rng.0",
        "guest: read 65536 and 65536 bytes",
        "guest: they differ",
        "guest: packed into 65536 and more",
        "hvc0: written by the guest",
        "guest: hvc0 said good morning",
        "lines=20000",
        "== rng\n",
        "== console\n",
        "guest: done",
        "check=0",
        "status=0",
        "left=0",
    ] {
        assert!(all.contains(said), "not there: {said}\n{all}");
    }
    let sums: Vec<&str> = all.lines().filter(|line| line.ends_with("  -")).collect();
    assert!(sums.len() == 2 && sums[0] == sums[1], "lines are missing or in disorder\n{all}");
}

#[test]
fn a_linux_guest_uses_devices_of_one_process_each() {
    assert_all_is_there(&run(Kind::Plain, "lone", "none", "", ""));
}

#[test]
fn a_confidential_guest_uses_devices_of_one_process_each() {
    let (more, policy) = ("[snp]\nc_bit = 39", "--policy /policy.toml");
    assert_all_is_there(&run(Kind::Snp, "lone-snp", "sev-snp", more, policy));
}
