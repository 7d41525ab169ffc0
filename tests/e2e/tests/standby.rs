//! Protects a stock Linux guest from the death of the process that serves its disk: the host kills
//! it by SIGKILL while the guest writes and flushes, another goes on, and the guest sees no error;
//! every byte that it flushed is there afterwards, and its file system is clean. The same as a
//! confidential guest in the virtual SNP host, whose processor is a MODEL, behind the memory fence.
//! Cannot tell how long a guest waits meanwhile, nor what survives a power failure.

#![allow(clippy::expect_used, reason = "test code")]

use casemate_e2e::{initrd, place, static_programs};
use casemate_test_host::{Host, Kind};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const CONFIG: &str = "name = \"standby\"\nkernel = \"/k/vmlinuz\"\ninitrd = \"/d/initrd\"\n\
    cmdline = \"console=ttyS0 reboot=acpi panic=-1 quiet\"\nmemory = \"256M\"\ntimeout = \"300s\"\n\
    protection = \"PROTECTION\"\nMORE\n[[disk]]\npath = \"/d/data.img\"\nname = \"data\"\n";

/// The process that serves the disk is killed after the fifth file, in the middle of the load.
const COMMAND: &str = "casemate run /vm.toml POLICY >/tmp/console 2>/tmp/err </dev/null & pid=$!; \
    while kill -0 $pid && ! grep -q 'guest: round 5' /tmp/console; do sleep 0.1; done; \
    of() { casemate sandbox show standby | awk -v want=$1 '/^== /{kind=$2} kind==want && \
    /^process/{sub(\",\",\"\",$2); print $2; exit}'; }; \
    first=$(of block); second=$(of block-standby); echo before=$first,$second; \
    casemate sandbox check standby; echo checked=$?; kill -9 $first; sleep 1; \
    echo after=$(of block),$(of block-standby); wait $pid; echo status=$?; \
    cat /tmp/console /tmp/err; echo left=$(ps | grep -c '[c]asemate')";

fn file_system(image: &Path) {
    fs::File::create(image).and_then(|f| f.set_len(32 << 20)).expect("a disk");
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image).output();
    let made = made.expect("mkfs.ext4, of e2fsprogs");
    assert!(made.status.success(), "{made:?}");
}

fn killed_under_load(kind: Kind, name: &str, protection: &str, more: &str, policy: &str) {
    let programs = static_programs().expect("casemate is built");
    let place = place(name).expect("a folder");
    let image = place.join("data.img");
    file_system(&image);
    initrd(&place.join("initrd"), "standby-workload.sh", &["drivers/block/virtio_blk"])
        .expect("an initrd");
    let config = CONFIG.replace("PROTECTION", protection).replace("MORE", more);
    fs::write(place.join("vm.toml"), config).expect("a configuration");
    let output = Host::new(kind)
        .expect("the virtual host can be built")
        .file(programs.join("casemate"), "/bin/casemate")
        .file(place.join("vm.toml"), "/vm.toml")
        .file(place.join("initrd"), "/d/initrd")
        .file(&image, "/d/data.img")
        .get("/d/data.img", place.join("after.img"))
        .timeout(Duration::from_secs(420))
        .run(&COMMAND.replace("POLICY", policy))
        .expect("the virtual host runs");
    let all = format!("{}\n{}", output.stdout.replace('\r', ""), output.stderr);
    for said in [
        "guest: mounted",
        "checked=0",
        "guest: 40 of 40 files are the same",
        "guest: errors in the kernel's log: 0",
        "guest: unmounted",
        "device data: its process was killed from outside (signal 9)",
        "its standby goes on; there is no other",
        "status=0",
        "left=0",
    ] {
        assert!(all.contains(said), "not there: {said}\n{all}");
    }
    assert!(!all.contains("guest: a write failed"), "{all}");
    // Who stood by serves, and nobody stands by.
    let word = |key: &str| all.split(key).nth(1).and_then(|rest| rest.lines().next());
    let before = word("before=").and_then(|pids| pids.split_once(',')).expect("two processes");
    assert_eq!(word("after="), Some(format!("{},", before.1).as_str()), "{all}");
    let checked = Command::new("e2fsck").args(["-f", "-n"]).arg(place.join("after.img")).output();
    let checked = checked.expect("e2fsck, of e2fsprogs");
    assert!(checked.status.success(), "{checked:?}");
    let _ = fs::remove_dir_all(&place);
}

#[test]
fn a_linux_guest_whose_disk_is_killed_under_load_sees_no_error_and_loses_nothing() {
    killed_under_load(Kind::Plain, "standby", "none", "", "");
}

#[test]
fn a_confidential_guests_disk_is_taken_over_behind_the_memory_fence() {
    let snp = "[snp]\nc_bit = 39";
    killed_under_load(Kind::Snp, "standby-snp", "sev-snp", snp, "--policy /policy.toml");
}
