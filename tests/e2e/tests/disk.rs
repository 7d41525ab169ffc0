//! Protects disks from end to end: a stock Linux guest finds the disks that its configuration
//! names, mounts the one that `casemate image root` made, and reads back from the other what it has
//! written; the image on the host has it, and no process is left. The same as a confidential guest
//! in the virtual SNP host, whose processor is a MODEL, with the memory fence around each disk's
//! process. Cannot tell how fast a disk is, nor what SNP hardware does.

#![allow(clippy::expect_used, reason = "test code")]

use casemate_e2e::{initrd, place, static_programs};
use casemate_test_host::{Host, Kind, Output};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const CONFIG: &str = "name = \"disks\"\nkernel = \"/k/vmlinuz\"\ninitrd = \"/d/initrd\"\n\
    cmdline = \"console=ttyS0 reboot=acpi panic=-1 quiet\"\nmemory = \"256M\"\ntimeout = \"300s\"\n\
    protection = \"PROTECTION\"\nMORE\n\
    [[disk]]\npath = \"/d/root.img\"\nread_only = true\nserial = \"app-1\"\n\
    [[disk]]\npath = \"/d/data.img\"\n";

/// While the guest runs, its processes are looked at; afterwards, what is left.
const COMMAND: &str = "casemate run /vm.toml POLICY >/tmp/console 2>/tmp/err </dev/null & pid=$!; \
    while kill -0 $pid && ! grep -q 'guest: at work' /tmp/console; do sleep 0.2; done; \
    casemate sandbox show disks; wait $pid; echo status=$?; cat /tmp/console /tmp/err; \
    head -c 2097152 /d/data.img | sha256sum; echo left=$(ps | grep -c '[c]asemate')";

/// A folder with a file of some owner and mode, made into a disk.
fn root_image(programs: &Path, place: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let tree = place.join("root");
    for (path, text, mode) in [("etc/motd", "good morning", 0o644), ("bin/tool", "x", 0o4751)] {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
    }
    let made = Command::new(programs.join("casemate"))
        .args(["image", "root"])
        .arg(&tree)
        .arg("-o")
        .arg(place.join("root.img"))
        .output()
        .expect("casemate runs");
    assert!(made.status.success(), "{made:?}");
}

fn run(kind: Kind, name: &str, protection: &str, more: &str, policy: &str) -> Output {
    let programs = static_programs().expect("casemate is built");
    let place = place(name).expect("a folder");
    root_image(&programs, &place);
    let modules = ["drivers/block/virtio_blk", "lib/libcrc32c", "fs/erofs/erofs"];
    initrd(&place.join("initrd"), "disk-workload.sh", &modules).expect("an initrd");
    fs::File::create(place.join("data.img")).and_then(|f| f.set_len(8 << 20)).expect("a disk");
    let config = CONFIG.replace("PROTECTION", protection).replace("MORE", more);
    fs::write(place.join("vm.toml"), config).expect("a configuration");
    let output = Host::new(kind)
        .expect("the virtual host can be built")
        .file(programs.join("casemate"), "/bin/casemate")
        .file(place.join("vm.toml"), "/vm.toml")
        .file(place.join("initrd"), "/d/initrd")
        .file(place.join("root.img"), "/d/root.img")
        .file(place.join("data.img"), "/d/data.img")
        .timeout(Duration::from_secs(420))
        .run(&COMMAND.replace("POLICY", policy))
        .expect("the virtual host runs");
    let _ = fs::remove_dir_all(&place);
    output
}

fn assert_disks_work(output: &Output) {
    let all = format!("{}\n{}", output.stdout.replace('\r', ""), output.stderr);
    for said in [
        "guest: vda sectors 8 read-only 1 serial app-1",
        "guest: vdb sectors 16384 read-only 0",
        "guest: mounted, file says good morning, mode and owner 4751 0:0",
        "guest: read back the same",
        "guest: the disk goes on",
        "status=0",
        "left=0",
    ] {
        assert!(all.contains(said), "not there: {said}\n{all}");
    }
    assert!(!all.contains("read-only disk was written"), "{all}");
    // What the guest read back is what the host finds in the image.
    let sum = all.split("guest: sum of the disk ").nth(1).and_then(|rest| rest.get(..64));
    let sum = sum.expect("a sum");
    assert_eq!(all.matches(sum).count(), 2, "{all}");
}

#[test]
fn a_linux_guest_uses_its_disks_and_the_host_finds_what_it_wrote() {
    let output = run(Kind::Plain, "disk", "none", "", "");
    assert_disks_work(&output);
}

#[test]
fn a_confidential_guest_uses_its_disks_behind_the_memory_fence() {
    let output =
        run(Kind::Snp, "disk-snp", "sev-snp", "[snp]\nc_bit = 39", "--policy /policy.toml");
    assert_disks_work(&output);
    // Around all of it, in both disks' processes and those that stand by, as the host's kernel
    // tells.
    let fenced = "around 262144 KiB, all that it shares";
    assert_eq!(output.stdout.matches(fenced).count(), 4, "{}", output.stdout);
}
