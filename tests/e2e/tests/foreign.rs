//! Protects the way of `[[vhost_user]]` from end to end for devices of programs that nobody here
//! wrote: a stock Linux guest reaches its host through passt's network device and through the
//! socket device of vhost-device-vsock, whole and in order; the end of one ends the VM, which says
//! so. Cannot tell what those programs do to their host, nor how fast they are.

#![allow(clippy::expect_used, reason = "test code")]

use casemate_e2e::{c_program, initrd_with, place, root, static_programs};
use casemate_test_host::{Host, Kind};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const CONFIG: &str = "name = \"foreign\"\nkernel = \"/k/vmlinuz\"\ninitrd = \"/d/initrd\"\n\
    cmdline = \"console=ttyS0 reboot=acpi panic=-1 quiet net.ifnames=0\"\nmemory = \"256M\"\n\
    timeout = \"300s\"\nprotection = \"none\"\n\
    [[vhost_user]]\nsocket = \"/v/net\"\nkind = \"net\"\nmac = \"52:54:00:12:34:57\"\n\
    [[vhost_user]]\nsocket = \"/v/stream\"\nkind = \"vsock\"\nname = \"streams\"\n";

const MODULES: [&str; 6] = [
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "net/vmw_vsock/vsock",
    "net/vmw_vsock/vmw_vsock_virtio_transport_common",
    "net/vmw_vsock/vmw_vsock_virtio_transport",
];

/// What 8 MiB of the pattern of both programs add up to.
const SUM: &str = "sum 156f918dab800000 of 8388608 bytes";

/// In a network namespace of its own, which has nothing but itself, so that passt makes a link of
/// its own; and in a root that can be left for another one, which passt does, and which an
/// initramfs is not. A second guest loses a back end.
const COMMAND: &str = "cat >/foreign.sh <<'END'\nip link set lo up\n\
    start() { rm -f /v/*; \
        /o/passt/ld --library-path /o/passt /o/passt/program -f --vhost-user -s /v/net \
            --runas 65534:65534 >/tmp/passt 2>&1 & net=$!; \
        /o/vsock/ld --library-path /o/vsock /o/vsock/program --guest-cid 42 \
            --socket /v/stream --uds-path /v/vm >/tmp/streams 2>&1 & streams=$!; \
        while kill -0 $net && kill -0 $streams && ! { [ -S /v/net ] && [ -S /v/stream ]; }; \
            do sleep 0.1; done; }\n\
    run() { rm -f /tmp/console; casemate run /vm.toml >/tmp/console 2>/tmp/err </dev/null & pid=$!; \
        while kill -0 $pid && ! grep -qs 'guest: serves' /tmp/console; do sleep 0.2; done; }\n\
    net serve 127.0.0.1 7000 >/dev/null & server=$!\n\
    start; vsock offer /v/vm_52 9 & while ! [ -S /v/vm_52 ]; do sleep 0.1; done\n\
    run; casemate inspect foreign | grep vhost-user\n\
    echo host: a stream: $(vsock take /v/vm 1024)\n\
    vsock offer /v/vm_55 1 & wait $pid; echo status=$?; cat /tmp/console /tmp/err /tmp/passt /tmp/streams\n\
    kill $net $streams 2>/dev/null\n\
    start; vsock offer /v/vm_52 9 & while ! [ -S /v/vm_52 ]; do sleep 0.1; done\n\
    run; kill -9 $streams; wait $pid; echo second=$?; cat /tmp/err\n\
    kill $net $server; echo left=$(ps | grep -c '[c]asemate run')\nEND\n\
    mkdir -p /v /r; chmod 777 /v; mount --rbind / /r; cd /r; mount --move . /; \
    chroot . sh -c 'cd / && unshare -n sh /foreign.sh'";

/// Where each program of others is; None where they cannot be had.
fn others() -> Option<Vec<(String, PathBuf)>> {
    let said = Command::new(root().join("tests/host/others")).output().ok()?;
    let lines = String::from_utf8(said.stdout).ok().filter(|_| said.status.success())?;
    let pair = |line: &str| {
        line.split_once(' ').map(|(name, folder)| (name.to_owned(), PathBuf::from(folder)))
    };
    lines.lines().map(pair).collect()
}

#[test]
fn a_linux_guest_reaches_its_host_by_devices_of_programs_of_others() {
    let Some(others) = others() else {
        println!("SKIPPED: the packages of passt and vhost-device-vsock cannot be had");
        return;
    };
    let programs = static_programs().expect("casemate is built");
    let place = place("foreign").expect("a folder");
    let (net, vsock) = (c_program("net").expect("cc"), c_program("vsock").expect("cc"));
    initrd_with(&place.join("initrd"), "foreign-workload.sh", &MODULES, &[&net, &vsock])
        .expect("an initrd");
    fs::write(place.join("vm.toml"), CONFIG).expect("a configuration");
    let mut host = Host::new(Kind::Plain)
        .expect("the virtual host can be built")
        .file(programs.join("casemate"), "/bin/casemate")
        .file(&net, "/bin/net")
        .file(&vsock, "/bin/vsock")
        .file(place.join("vm.toml"), "/vm.toml")
        .file(place.join("initrd"), "/d/initrd")
        .timeout(Duration::from_secs(420));
    for (name, folder) in others {
        let to = format!("/o/{}", if name == "passt" { "passt" } else { "vsock" });
        let library = folder.join("usr/lib/x86_64-linux-gnu");
        for (from, name) in [
            (folder.join("usr/bin").join(&name), "program"),
            (library.join("ld-linux-x86-64.so.2"), "ld"),
            (library.join("libc.so.6"), "libc.so.6"),
            (library.join("libgcc_s.so.1"), "libgcc_s.so.1"),
        ] {
            host = host.file(from, &format!("{to}/{name}"));
        }
    }
    let output = host.run(COMMAND).expect("the virtual host runs");
    let _ = fs::remove_dir_all(&place);
    let all = format!("{}\n{}", output.stdout.replace('\r', ""), output.stderr);
    for said in [
        "vhost-user     vhost_user0: net, /v/net, queues 2",
        "vhost-user     streams: vsock, /v/stream, queues 3",
        "guest: eth0 is 52:54:00:12:34:57",
        "guest: to the host: sum cff6231b57000000 of 16777216 bytes",
        "guest: from the host: sum cff6231b57000000 of 16777216 bytes",
        "guest: a datagram: the same",
        &format!("guest: a stream: {SUM}"),
        &format!("host: a stream: {SUM}"),
        "guest: done",
        "status=0",
        "closed its socket",
        "second=1",
        "left=0",
    ] {
        assert!(all.contains(said), "not there: {said}\n{all}");
    }
}
