//! Protects the socket device from end to end: a stock Linux guest connects to the ports of the
//! host that are named and to no others, and the host to its ports, by the path and by a socket for
//! one port; what is sent arrives whole and in order, in both directions at once, over many
//! connections; who does not read holds up nobody else; the end of each direction is seen; no
//! process and no socket is left, nor when everything is killed. The same as a confidential guest
//! in the virtual SNP host, whose processor is a MODEL. Cannot tell how fast it is, nor what SNP
//! hardware does.

#![allow(clippy::expect_used, reason = "test code")]

use casemate_e2e::{c_program, initrd_with, place, static_programs};
use casemate_test_host::{Host, Kind, Output};
use std::fs;
use std::time::Duration;

const CONFIG: &str = "name = \"sockets\"\nkernel = \"/k/vmlinuz\"\ninitrd = \"/d/initrd\"\n\
    cmdline = \"console=ttyS0 reboot=acpi panic=-1 quiet\"\nmemory = \"256M\"\ntimeout = \"300s\"\n\
    protection = \"PROTECTION\"\nMORE\n\
    [vsock]\ncid = 42\npath = \"/v/vm\"\nports = [52, 54, 55]\n\
    [[vsock.forward]]\nport = 22\npath = \"/v/ssh\"\n";

const MODULES: [&str; 3] = [
    "net/vmw_vsock/vsock",
    "net/vmw_vsock/vmw_vsock_virtio_transport_common",
    "net/vmw_vsock/vmw_vsock_virtio_transport",
];

/// The host's side of everything, while the guest runs; then what is left. The connector of root's
/// is user 65534, so what it connects to lets it write.
const COMMAND: &str = "mkdir /v; chmod 755 /v; \
    vsock listen /v/vm_52 9 & vsock listen /v/vm_53 1 & \
    while ! [ -S /v/vm_52 ] || ! [ -S /v/vm_53 ]; do sleep 0.1; done; chmod 777 /v/vm_5*; \
    casemate run /vm.toml POLICY >/tmp/console 2>/tmp/err </dev/null & pid=$!; \
    while kill -0 $pid && ! grep -q 'guest: serves' /tmp/console; do sleep 0.2; done; \
    casemate sandbox show sockets | grep -E '^== |system calls|memory fence|root dir'; \
    echo host: echo $(vsock ask /v/vm 1024 ehello 0); \
    echo host: half closed $(vsock ask /v/vm 1024 c 3000000); \
    echo host: forward $(vsock ask /v/ssh 0 c 10); \
    echo host: no listener $(vsock ask /v/vm 99 x 0); \
    (vsock ask /v/vm 1024 n 100000000 >/tmp/stuck) & stuck=$!; \
    echo host: from the guest $(vsock ask /v/vm 1024 s 0); \
    echo host: $(vsock many /v/vm 1024 40); \
    kill -0 $stuck && echo host: one is still stuck; kill $stuck; \
    vsock listen /v/vm_55 1 & while ! [ -S /v/vm_55 ]; do sleep 0.1; done; chmod 777 /v/vm_55; \
    LAST";

const ENDS: &str = "wait $pid; echo status=$?; cat /tmp/console /tmp/err; \
    echo left=$(ps | grep -c '[c]asemate') sockets=$(ls /v | grep -v vm_ | wc -l)";

fn run(kind: Kind, name: &str, protection: &str, more: &str, policy: &str, last: &str) -> Output {
    let programs = static_programs().expect("casemate is built");
    let place = place(name).expect("a folder");
    let vsock = c_program("vsock").expect("a compiler");
    initrd_with(&place.join("initrd"), "vsock-workload.sh", &MODULES, &[&vsock])
        .expect("an initrd");
    let config = CONFIG.replace("PROTECTION", protection).replace("MORE", more);
    fs::write(place.join("vm.toml"), config).expect("a configuration");
    let output = Host::new(kind)
        .expect("the virtual host can be built")
        .file(programs.join("casemate"), "/bin/casemate")
        .file(vsock, "/bin/vsock")
        .file(place.join("vm.toml"), "/vm.toml")
        .file(place.join("initrd"), "/d/initrd")
        .timeout(Duration::from_secs(420))
        .run(&COMMAND.replace("POLICY", policy).replace("LAST", last))
        .expect("the virtual host runs");
    let _ = fs::remove_dir_all(&place);
    output
}

/// FNV of the pattern, as the program of both sides sums it up.
fn sum(len: u64) -> String {
    let byte = |at: u64| (at.wrapping_mul(31).wrapping_add(at >> 11) & 0xff) as u8;
    let sum = (0..len)
        .fold(0_u64, |sum, at| sum.wrapping_mul(1_099_511_628_211).wrapping_add(byte(at).into()));
    format!("sum {sum:016x} of {len} bytes")
}

fn assert_streams_work(output: &Output) {
    let all = format!("{}\n{}", output.stdout.replace('\r', ""), output.stderr);
    let big = sum(3_000_000);
    let sent = big.replace("sum ", "sent ").replace(" of 3000000 bytes", "");
    for said in [
        &format!("guest: to the host: {sent} {big}"),
        "guest: a port that is not named: Connection reset by peer",
        "guest: a port without a listener: Connection reset by peer",
        "guest: 8 of 8 at once",
        "host: echo sent 0000000000000000 hello",
        &format!("host: half closed {sent} {big}"),
        &sum(10),
        "host: no listener refused",
        &format!("host: from the guest sent 0000000000000000 {}", sum(8 << 20)),
        "host: 40 of 40 words came back",
        "host: one is still stuck",
    ] {
        assert!(all.contains(said), "not there: {said}\n{all}");
    }
    for kind in ["vsock", "connector", "janitor"] {
        assert!(output.stdout.contains(&format!("== {kind}\n")), "{kind}\n{all}");
    }
}

#[test]
fn a_linux_guest_and_its_host_reach_each_other_and_nothing_is_left() {
    let output = run(Kind::Plain, "vsock", "none", "", "", ENDS);
    assert_streams_work(&output);
    for said in ["guest: done", "status=0", "left=0 sockets=0"] {
        assert!(output.stdout.contains(said), "{said}\n{}\n{}", output.stdout, output.stderr);
    }
}

#[test]
fn nothing_is_left_of_a_vm_whose_supervisor_is_killed_but_what_others_made() {
    const KILLED: &str = "kill -9 $pid; sleep 3; \
        echo left=$(ps | grep -c '[c]asemate') sockets=$(ls /v | grep -v vm_ | wc -l)";
    let output = run(Kind::Plain, "vsock-killed", "none", "", "", KILLED);
    assert!(output.stdout.contains("left=0 sockets=0"), "{}\n{}", output.stdout, output.stderr);
}

#[test]
fn a_confidential_guest_and_its_host_reach_each_other() {
    let (more, policy) = ("[snp]\nc_bit = 39", "--policy /policy.toml");
    let output = run(Kind::Snp, "vsock-snp", "sev-snp", more, policy, ENDS);
    assert_streams_work(&output);
    for said in ["guest: done", "status=0", "left=0 sockets=0"] {
        assert!(output.stdout.contains(said), "{said}\n{}\n{}", output.stdout, output.stderr);
    }
}
