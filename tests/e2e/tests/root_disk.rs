//! Protects the demo's way of starting a workload: the guest's root is a read-only disk, its input
//! lies on a second one, and the root hashes of both are in the initrd. What the workload computes
//! comes back; one byte that is another on either disk, and the guest ends before anybody has read
//! it. Cannot tell what a confidential guest does: `image.rs` has that.

#![allow(clippy::expect_used, reason = "test code")]

use casemate_e2e::{demo_guest, place, static_programs};
use casemate_test_host::{Host, Kind};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// One guest after the other, each with its root and its input.
const COMMAND: &str = "run() { casemate run --name $1 --protection none --memory 256M \
    --kernel /k/vmlinuz --initrd /d/initrd --cmdline 'console=ttyS0 reboot=acpi panic=-1 quiet' \
    --disk path=$2,ro --disk path=$3,ro --timeout 200s </dev/null; echo $1=$?; }; \
    run good /d/root.img /d/input.img; \
    run bad-root /d/bad-root.img /d/input.img; run bad-input /d/root.img /d/bad-input.img";

/// The same disk but for one byte, the last one of `text`.
fn altered(place: &Path, name: &str, text: &[u8]) {
    let mut bytes = fs::read(place.join(name)).expect("a disk");
    let at = bytes.windows(text.len()).position(|window| window == text).expect("the text");
    *bytes.get_mut(at + text.len() - 1).expect("a byte") ^= 1;
    fs::write(place.join(format!("bad-{name}")), bytes).expect("a disk");
}

#[test]
fn a_workload_runs_from_its_disks_and_not_from_ones_that_were_altered() {
    let programs = static_programs().expect("casemate is built");
    let place = place("root-disk").expect("a folder");
    fs::write(place.join("in.csv"), "sensor,value\nnorth,1\nnorth,4\n").expect("an input");
    demo_guest(&place, &place.join("in.csv")).expect("a guest");
    altered(&place, "root.img", b"the demo's workload");
    altered(&place, "input.img", b"north,4");
    let mut host = Host::new(Kind::Plain)
        .expect("the virtual host can be built")
        .file(programs.join("casemate"), "/bin/casemate")
        .timeout(Duration::from_secs(420));
    for file in ["initrd", "root.img", "input.img", "bad-root.img", "bad-input.img"] {
        host = host.file(place.join(file), &format!("/d/{file}"));
    }
    let output = host.run(COMMAND).expect("the virtual host runs");
    let text = output.stdout.replace('\r', "");
    let all = format!("{text}\n{}", output.stderr);
    let (good, bad) = text.split_once("good=0\n").unwrap_or_else(|| panic!("{all}"));
    assert!(good.contains("north           2     1.00     2.50     4.00"), "{all}");
    assert!(bad.contains("bad-root=3") && bad.contains("bad-input=3"), "{all}");
    // A line of the table, not its number alone: the kernel's times have such digits too.
    assert!(!bad.contains("sensor ") && !bad.contains("north "), "{all}");
    // The kernel's reason, not another one.
    assert_eq!(bad.matches("dm-verity device corrupted").count(), 2, "{all}");
    let _ = fs::remove_dir_all(&place);
}
