//! Protects disks of several queues from end to end: a stock Linux guest with two processors uses a
//! queue for each, of a disk of ours and of one that qemu-storage-daemon serves; and the promise
//! that a request costs no exit to the vmm process, by the statistics of exits of guests that
//! differ in nothing but the number of their requests. Cannot tell how fast any of it is.

#![allow(clippy::expect_used, clippy::panic, clippy::cast_precision_loss, reason = "test code")]

use casemate_e2e::{initrd, place, static_programs};
use casemate_test_host::{Host, Kind, Output};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const CONFIG: &str = "kernel = \"/k/vmlinuz\"\ninitrd = \"/d/initrd\"\nmemory = \"256M\"\n\
    vcpus = 2\ntimeout = \"200s\"\nprotection = \"none\"\n";
const OURS: &str = "[[disk]]\npath = \"/d/data.img\"\nqueues = 2\n";
const FOREIGN: &str = "[[vhost_user]]\nsocket = \"/d/socket\"\nkind = \"block\"\nqueues = 2\n";
/// Requests of each processor: few, and many more.
const REQUESTS: [u32; 2] = [100, 1500];

/// A run whose output and whose log of exits come out of the host, marked with its name.
const RUN: &str = "run() { echo \"RUN $1\"; casemate run $2 --name $1 --log debug --log-format json \
    --log-file /tmp/$1.log \
    --cmdline \"console=ttyS0 reboot=acpi panic=-1 quiet requests=$3\" </dev/null 2>&1; \
    echo \"status=$?\"; grep 'exits of the vCPU' /tmp/$1.log; \
    dd if=/d/data.img bs=65536 skip=8 count=4 2>/dev/null | sha256sum; }";

/// A program of this machine and its libraries, each at its own place; None where it is not there.
fn with_program(host: Host, name: &str) -> Option<Host> {
    let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).output().ok()?;
    let path = String::from_utf8(found.stdout).ok()?.trim().to_owned();
    let libraries = Command::new("ldd").arg(&path).output().ok()?;
    let libraries = String::from_utf8(libraries.stdout).ok()?;
    let words = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    let host = words.fold(host, |host, library| host.file(library, library));
    Path::new(&path).is_file().then(|| host.file(&path, &format!("/bin/{name}")))
}

/// What a run of this name wrote.
fn part<'a>(output: &'a Output, name: &str) -> &'a str {
    let after = output.stdout.split(&format!("RUN {name}\n")).nth(1);
    let part = after.and_then(|after| after.split("RUN ").next());
    part.unwrap_or_else(|| panic!("no run {name}:\n{}\n{}", output.stdout, output.stderr))
}

/// The number behind `word`, in every line that has it, added up.
fn sum(text: &str, word: &str) -> u64 {
    let numbers = text.split(word).skip(1).map(|rest| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..digits).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    });
    numbers.sum()
}

fn assert_used(text: &str) {
    for said in ["guest: vda sectors 16384 queues 2", "guest: read back the same", "status=0"] {
        assert!(text.contains(said), "not there: {said}\n{text}");
    }
    // A processor's requests end by its queue's interrupt.
    for queue in ["req.0", "req.1"] {
        assert!(sum(text, &format!("guest: interrupts virtio0-{queue} ")) > 0, "{queue}: {text}");
    }
    let hash = text.split("guest: sum of the disk ").nth(1).and_then(|rest| rest.get(..64));
    let hash = hash.expect("a sum");
    assert_eq!(text.matches(hash).count(), 2, "the host finds something else: {text}");
}

#[test]
fn linux_uses_a_queue_for_each_processor_and_a_request_costs_no_exit() {
    let programs = static_programs().expect("casemate is built");
    let place = place("disk-queues").expect("a folder");
    initrd(&place.join("initrd"), "queues-workload.sh", &["drivers/block/virtio_blk"])
        .expect("an initrd");
    fs::File::create(place.join("data.img")).and_then(|f| f.set_len(8 << 20)).expect("a disk");
    for (name, device) in [("ours", OURS), ("foreign", FOREIGN)] {
        fs::write(place.join(name), format!("{CONFIG}{device}")).expect("a configuration");
    }
    let mut host = Host::new(Kind::Plain)
        .expect("the virtual host can be built")
        .file(programs.join("casemate"), "/bin/casemate")
        .timeout(Duration::from_secs(420));
    for name in ["initrd", "data.img", "ours", "foreign"] {
        host = host.file(place.join(name), &format!("/d/{name}"));
    }
    let [few, many] = REQUESTS;
    let mut script = format!("{RUN}; run few /d/ours {few}; run many /d/ours {many}");
    let daemon = with_program(host.clone(), "qemu-storage-daemon");
    let with_daemon = daemon.is_some();
    if let Some(with) = daemon {
        host = with;
        script += "; qemu-storage-daemon --blockdev driver=file,node-name=f,filename=/d/data.img \
            --export type=vhost-user-blk,id=e,node-name=f,writable=on,num-queues=2,\
            addr.type=unix,addr.path=/d/socket & daemon=$!; \
            while kill -0 $daemon && ! [ -S /d/socket ]; do sleep 0.1; done; run foreign /d/foreign 50; \
            kill $daemon; wait $daemon; echo daemon=$?";
    } else {
        println!("SKIPPED: there is no qemu-storage-daemon");
    }
    let output = host.run(&script).expect("the virtual host runs");
    let _ = fs::remove_dir_all(&place);
    let (few, many) = (part(&output, "few"), part(&output, "many"));
    [few, many].into_iter().for_each(assert_used);
    if with_daemon {
        assert_used(part(&output, "foreign"));
        assert!(output.stdout.contains("daemon="), "it ended with the VM: {}", output.stdout);
    }
    // What is on the console leaves the guest, too; the rest of the exits is all of the boot's.
    let exits =
        |text: &str| sum(text, "\"all\":") - sum(text, "\"io_in\":") - sum(text, "\"io_out\":");
    let requests = |text: &str| sum(text, "guest: requests ");
    let more = requests(many) - requests(few);
    let per_request = exits(many).abs_diff(exits(few)) as f64 / more as f64;
    println!(
        "{more} requests more: {} exits beside the console's in place of {}, {per_request:.4} a \
         request",
        exits(many),
        exits(few)
    );
    assert!(more >= 2700, "{more}");
    assert!(exits(few) > 100, "nothing was counted: {few}");
    // Not one in fifty: a reset is polled for, now more often, now less.
    assert!(per_request < 0.02, "a request costs exits: {few}\n{many}");
}
