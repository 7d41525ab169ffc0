//! Protects the network device from end to end: a stock Linux guest exchanges streams and datagrams
//! with its host through a TAP that was made for it, whole and in order, in packets larger than the
//! link's in both directions; a port that its policy does not admit hears nothing, nor does one
//! that a sum of the guest's would have led to, and `inspect` and the decision log say so; limits
//! are changed while it runs; the death of the device's process leaves the guest running, and
//! nothing is left at the end, neither process nor interface. The same as a confidential guest in
//! the virtual SNP host, whose processor is a MODEL. Cannot tell how fast it is, nor what SNP
//! hardware does.

#![allow(clippy::expect_used, reason = "test code")]

use casemate_e2e::{c_program, initrd_with, place, static_programs};
use casemate_test_host::{Host, Kind, Output};
use std::fs;
use std::time::Duration;

const CONFIG: &str = "name = \"net\"\nkernel = \"/k/vmlinuz\"\ninitrd = \"/d/initrd\"\n\
    cmdline = \"console=ttyS0 reboot=acpi panic=-1 quiet net.ifnames=0\"\nmemory = \"256M\"\n\
    timeout = \"300s\"\nprotection = \"PROTECTION\"\nMORE\n\
    [[net]]\ntap = \"vm0\"\ncreate = true\nmac = \"52:54:00:12:34:56\"\npackets = 1000000\n";

const MODULES: [&str; 3] =
    ["net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net"];

/// In a network namespace of its own: the host's side of everything, while the guest runs. Of what
/// the TAP has received from the guest it is told how large a frame was on average.
const COMMAND: &str = "cat >/net.sh <<'END'\nip link set lo up\n\
    casemate log key /net.key; \
    casemate run /vm.toml --policy /net.toml --decision-log /net.log --log-key /net.key \
        --log-head /net.head >/tmp/console 2>/tmp/err </dev/null & pid=$!\n\
    while kill -0 $pid && ! ip link show vm0 >/dev/null 2>&1; do sleep 0.1; done\n\
    ip address add 10.9.0.1/24 dev vm0\n\
    net serve 10.9.0.1 7000 >/tmp/admitted & admitted=$!\n\
    net serve 10.9.0.1 7001 >/tmp/denied & denied=$!\n\
    while kill -0 $pid && ! grep -q 'guest: at work' /tmp/console; do sleep 0.2; done\n\
    awk '/vm0/ {sub(/.*:/, \"\"); if ($1 / $2 > 1600) print \"host: frames came in one piece\"}' \
        /proc/net/dev\n\
    casemate sandbox show net | grep -E '^== |system calls|memory fence'\n\
    casemate sandbox check net; echo check=$?\n\
    casemate limit net net0 packets=5000 bandwidth=100M; echo limited=$?\n\
    casemate inspect net\n\
    device=$(casemate inspect net | awk '/ net of net0/ {print $1}'); kill -9 $device\n\
    wait $pid; echo status=$?; cat /tmp/console /tmp/err\n\
    kill $admitted $denied; wait $admitted $denied 2>/dev/null\n\
    echo denied heard $(wc -l </tmp/denied) things; grep -E 'udp (77|78|99)' /tmp/admitted\n\
    casemate log verify /net.log --key /net.key.pub --head-file /net.head --closed; echo log=$?\n\
    casemate log show /net.log --point egress\n\
    ip link show vm0 >/dev/null 2>&1 || echo no interface is left\n\
    echo left=$(ps | grep -c '[c]asemate')\nEND\nunshare -n sh /net.sh";

fn run(kind: Kind, name: &str, protection: &str, more: &str) -> Output {
    let programs = static_programs().expect("casemate is built");
    let place = place(name).expect("a folder");
    let net = c_program("net").expect("a compiler");
    initrd_with(&place.join("initrd"), "net-workload.sh", &MODULES, &[&net]).expect("an initrd");
    let config = CONFIG.replace("PROTECTION", protection).replace("MORE", more);
    fs::write(place.join("vm.toml"), config).expect("a configuration");
    let permissive = include_str!("../../../policy/src/builtin/permissive.toml");
    let one = "egress = [{ cidr = \"10.9.0.1/32\", ports = 7000, protocol = \"tcp\" }, \
               { cidr = \"10.9.0.1/32\", ports = 7000, protocol = \"udp\" }, \
               { cidr = \"10.9.0.1/32\", protocol = \"icmp\" }]";
    let policy = permissive.replace("egress = \"any\"", one);
    assert_ne!(policy, permissive);
    let policy = policy.replace("[\"none\"]", &format!("[\"{protection}\"]"));
    fs::write(place.join("net.toml"), policy).expect("a policy");
    let output = Host::new(kind)
        .expect("the virtual host can be built")
        .file(programs.join("casemate"), "/bin/casemate")
        .file(net, "/bin/net")
        .file(place.join("vm.toml"), "/vm.toml")
        .file(place.join("net.toml"), "/net.toml")
        .file(place.join("initrd"), "/d/initrd")
        .timeout(Duration::from_secs(420))
        .run(COMMAND)
        .expect("the virtual host runs");
    let _ = fs::remove_dir_all(&place);
    output
}

fn assert_network_works(output: &Output) {
    let all = format!("{}\n{}", output.stdout.replace('\r', ""), output.stderr);
    for said in [
        "guest: eth0 is 52:54:00:12:34:56, mtu 1500",
        "guest: to the host: sum cff6231b57000000 of 16777216 bytes",
        "guest: from the host: sum cff6231b57000000 of 16777216 bytes",
        "guest: a datagram: the same",
        "guest: a port that is not admitted: silence",
        "guest: pieces of a datagram: 5 of 5",
        "guest: behind it: the same",
        "guest: frames came in one piece that are larger than the link's",
        "host: frames came in one piece",
        "== net\n",
        "check=0",
        "limited=0",
        "net            net0: vm0, 52:54:00:12:34:56, MTU 1500",
        "packets      5000 frames a second, 5000 at once",
        "cannot be read",
        "frames or more: network.egress",
        "device net0: its process was killed from outside (signal 9)",
        "guest: nobody answers any more, and it goes on",
        "status=0",
        "denied heard 0 things",
        "udp 77\n",
        "udp 99\n",
        "log=0",
        "network.egress, with ",
        "no interface is left",
        "left=0",
    ] {
        assert!(all.contains(said), "not there: {said}\n{all}");
    }
    assert!(!all.contains("udp 78\n"), "what would have changed its port came out\n{all}");
}

#[test]
fn a_linux_guest_reaches_what_its_policy_admits_and_goes_on_without_its_network() {
    assert_network_works(&run(Kind::Plain, "net", "none", ""));
}

#[test]
fn a_confidential_guest_reaches_what_its_policy_admits_and_goes_on_without_its_network() {
    let output = run(Kind::Snp, "net-snp", "sev-snp", "[snp]\nc_bit = 39");
    assert_network_works(&output);
    let fenced = "around 262144 KiB, all that it shares";
    assert_eq!(output.stdout.matches(fenced).count(), 1, "{}", output.stdout);
}
