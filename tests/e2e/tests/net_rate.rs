//! Protects `network.rate` and `network.on_rate` from a policy's text to the decision log: a guest
//! opens five connections where two are admitted. With `deny` its frames are dropped and it runs to
//! its end, with `kill` its VM ends at the third, which is said; the log has both, signed and
//! whole. With `throttle` at one a second they come out in order, and nothing is on record; the
//! last one waits in the device when the guest switches off, and may be lost with it.
//! The guest is a driver of a few instructions, so that it does the same each time, in the virtual
//! host, whose KVM runs the boot code. Cannot tell how long a frame waited, nor what a kernel's
//! driver makes of it.

#![allow(clippy::expect_used, reason = "test code")]

use casemate_e2e::{c_program, place, static_programs};
use casemate_test_devices::net::{HEADER, HOST, udp};
use casemate_test_host::{Host, Kind};
use casemate_test_support::script::Script;
use casemate_test_support::virtio::{Driver, scripted_kernel};
use std::fs;
use std::time::Duration;

/// Virtio's number of network devices, its queues, and where the host listens.
const NETWORK: u32 = 1;
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const PORT: u16 = 7000;

/// What each policy has for `rate`.
const RATES: [(&str, &str); 3] = [
    ("deny", "rate = { per_second = 2, total = 2 }\non_rate = \"deny\""),
    ("kill", "rate = { per_second = 2, total = 2 }\non_rate = \"kill\""),
    ("throttle", "rate = { per_second = 1, total = 9 }\non_rate = \"throttle\""),
];

/// For each policy: the VM, the host's address on its TAP once that is there, and a question for
/// the guest's card, which the guest waits for. What the host has heard is whole when an echo comes
/// back that was sent last. Without IPv6, of which a link that is switched on says something.
const COMMAND: &str = "cat >/rate.sh <<'END'\nip link set lo up\n\
    echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6\n\
    casemate log key /rate.key\n\
    run() { echo \"== $1\"; net serve 0.0.0.0 7000 >/tmp/heard & server=$!\n\
    casemate run --name rate --protection none --kernel /kernel --memory 64M --timeout 100s \
        --net tap=vm0,create,mac=52:54:00:00:00:02 --policy /$1.toml --decision-log /$1.log \
        --log-key /rate.key --log-head /$1.head >/tmp/console 2>/tmp/err </dev/null & pid=$!\n\
    while kill -0 $pid && ! ip link show vm0 >/dev/null 2>&1; do sleep 0.1; done\n\
    ip address add 10.9.0.1/24 dev vm0\n\
    ping -c 1 -W 1 10.9.0.2 >/dev/null\n\
    wait $pid; echo status=$?; cat /tmp/err\n\
    echo the last: $(net echo 127.0.0.1 7000 99)\n\
    kill $server; wait $server 2>/dev/null; echo heard $(grep -v 'udp 99' /tmp/heard)\n\
    casemate log verify /$1.log --key /rate.key.pub --head-file /$1.head --closed; echo log=$?\n\
    casemate log show /$1.log --point egress-rate; echo shown; }\n\
    run deny; run kill; run throttle\n\
    ip link show vm0 >/dev/null 2>&1 || echo no interface is left\n\
    echo left=$(ps | grep -c '[c]asemate')\nEND\nunshare -n sh /rate.sh";

/// Waits for a frame, opens five connections, one after the other as each frame comes back, and
/// switches off. The datagrams have 70 bytes and one more each.
fn kernel() -> Vec<u8> {
    let script = Script::default().open_kind(NETWORK).reset().drive_queues(0, 2);
    let script = (0..5_u16).fold(script.receive(RECEIVE, 2048), |script, number| {
        let bytes = vec![0x5a; 70 + usize::from(number)];
        // For every card: the guest does not know which one is the host's.
        let frame = udp([0xff; 6], HOST, (7 + number, PORT), &bytes);
        script.give(TRANSMIT, number, &[&[0; HEADER][..], &frame].concat())
    });
    scripted_kernel(&script)
}

/// What is written of one policy.
fn part<'a>(all: &'a str, name: &str) -> &'a str {
    let (_, rest) = all.split_once(&format!("== {name}\n")).expect("it was run");
    rest.split("== ").next().expect("a part")
}

#[test]
fn a_guest_over_its_rate_is_refused_or_ended_or_waits_as_its_policy_says_and_the_log_has_it() {
    let programs = static_programs().expect("casemate is built");
    let place = place("net-rate").expect("a folder");
    let net = c_program("net").expect("a compiler");
    fs::write(place.join("kernel"), kernel()).expect("a kernel");
    let mut host = Host::new(Kind::Plain)
        .expect("the virtual host can be built")
        .file(programs.join("casemate"), "/bin/casemate")
        .file(net, "/bin/net")
        .file(place.join("kernel"), "/kernel")
        .timeout(Duration::from_secs(420));
    let permissive = include_str!("../../../policy/src/builtin/permissive.toml");
    for (name, rate) in RATES {
        let egress = "egress = [{ cidr = \"10.9.0.1/32\", ports = 7000, protocol = \"udp\" }]";
        let policy = permissive.replace("egress = \"any\"", egress);
        let policy = policy.replace("rate = \"any\"", rate);
        assert!(policy.contains(rate) && policy.contains(egress));
        let file = place.join(format!("{name}.toml"));
        fs::write(&file, policy).expect("a policy");
        host = host.file(file, &format!("/{name}.toml"));
    }
    let output = host.run(COMMAND).expect("the virtual host runs");
    let _ = fs::remove_dir_all(&place);
    let all = format!("{}\n{}", output.stdout.replace('\r', ""), output.stderr);
    println!("{all}");
    let ended = "went beyond the policy's `network.rate` and was ended";
    for (name, status, heard) in [
        ("deny", "status=0\n", "heard udp 70 udp 71\n"),
        ("kill", "status=3\n", "heard udp 70 udp 71\n"),
        ("throttle", "status=0\n", "heard udp 70 udp 71 udp 72 udp 73"),
    ] {
        let part = part(&all, name);
        for said in [status, heard, "the last: the same\n", "log=0\n"] {
            assert!(part.contains(said), "{name}, not there: {said}\n{part}");
        }
        assert_eq!(part.contains(ended), name == "kill", "{part}");
        assert_eq!(part.contains("network.rate, with "), name != "throttle", "{part}");
    }
    for said in ["no interface is left", "left=0"] {
        assert!(all.contains(said), "not there: {said}\n{all}");
    }
}
