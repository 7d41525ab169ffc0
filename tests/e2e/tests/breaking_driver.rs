//! Protects devices from their drivers, from where a guest stands: PID 1 of a Linux guest drives
//! its virtio devices itself, through PCI, and breaks every rule once that virtio 1.2 makes for
//! drivers: of sections 2, 4.1 and 5.2 on a disk, then those of a queue and of their own sections
//! (5.1, 5.3, 5.4, 5.10) on a network device, a console, a source of random numbers and a socket
//! device. Each case has to come to what is said here: answered with an error or with length 0,
//! "needs reset", or not taken; and after each a new driver negotiates and reads the right bytes,
//! or is answered by the host. No case may change a byte of a disk that it has no business with, or
//! end a process. Cannot tell what a confidential guest could break besides: its pages are
//! private, so this program cannot drive a device there.

#![allow(clippy::expect_used, reason = "test code")]

use casemate_breaking_driver::{CONSOLE, SCRATCH, SECTORS, WRITTEN, contents};
use casemate_e2e::{ext4_image, host_modules, initrd_of, place, static_program, static_programs};
use casemate_test_host::{Host, Kind, Output};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// The pages beyond 256 MiB are what the cases call "beyond RAM".
const CONFIG: &str = "name = \"breaking\"\nkernel = \"/k/vmlinuz\"\ninitrd = \"/d/initrd\"\n\
    cmdline = \"console=ttyS0 reboot=acpi panic=-1 quiet\"\nmemory = \"256M\"\ntimeout = \"400s\"\n\
    protection = \"none\"\nvirtio_console = true\n\
    [rng]\n[vsock]\npath = \"/v/vm\"\nports = [52]\n[[net]]\ntap = \"vm0\"\ncreate = true\n\
    [[disk]]\npath = \"/f/data.img\"\n[[disk]]\npath = \"/d/ro.img\"\nread_only = true\n";

/// The disk that is written lies on ext4, which has all that a disk can offer: discard and
/// write-zeroes. Sums before and after, of what no case may change. The host answers ARP at its end
/// of the network device.
const COMMAND: &str = "mkdir /v; chmod 755 /v; \
    (until ip link show vm0 >/dev/null 2>&1; do sleep 0.1; done; ip address add 10.9.0.1/24 dev vm0) & \
    insmod /m/loop.ko; mkdir /f; mount -t ext4 -o loop /d/ext4.img /f; \
    sums() { head -c KEPT /f/data.img | sha256sum; sha256sum /d/ro.img; }; \
    before=$(sums); casemate run /vm.toml </dev/null; echo status=$?; \
    [ \"$before\" = \"$(sums)\" ] && echo disks=kept; echo left=$(ps | grep -c '[c]asemate')";

fn disk(at: &Path) {
    let mut file = fs::File::create(at).expect("a disk");
    let bytes: Vec<u8> = (0..WRITTEN).flat_map(contents).collect();
    file.write_all(&bytes).and_then(|()| file.set_len(SECTORS * 512)).expect("a disk");
}

fn run() -> Output {
    let driver = static_program("casemate-breaking-driver").expect("the driver is built");
    let programs = static_programs().expect("casemate is built");
    let place = place("breaking-driver").expect("a folder");
    let tree = place.join("tree");
    fs::create_dir(&tree).expect("a folder");
    disk(&tree.join("data.img"));
    disk(&place.join("ro.img"));
    ext4_image(&place.join("ext4.img"), 24, Some(&tree)).expect("an image");
    initrd_of(&place.join("initrd"), &driver, "disk-workload.sh", &[], &[]).expect("an initrd");
    fs::write(place.join("vm.toml"), CONFIG).expect("a configuration");
    let mut host = Host::new(Kind::Plain)
        .expect("the virtual host can be built")
        .file(programs.join("casemate"), "/bin/casemate")
        .file(place.join("vm.toml"), "/vm.toml")
        .file(place.join("initrd"), "/d/initrd")
        .file(place.join("ro.img"), "/d/ro.img")
        .file(place.join("ext4.img"), "/d/ext4.img")
        .timeout(Duration::from_secs(500));
    for (from, to) in host_modules(&["drivers/block/loop"], &place).expect("modules") {
        host = host.file(from, &to);
    }
    let kept = (SCRATCH * 512).to_string();
    let output = host.run(&COMMAND.replace("KEPT", &kept)).expect("the virtual host runs");
    let _ = fs::remove_dir_all(&place);
    output
}

/// What each case has to come to. "Length" is what the used ring says of an answer (2.7.8); without
/// a status, nothing was written.
const EXPECTED: &[(&str, &str)] = &[
    // Status and features.
    ("driver-without-acknowledge", "status 0x00"),
    ("features-ok-without-driver", "status 0x01"),
    ("driver-ok-without-features-ok", "status 0x03"),
    ("driver-ok-first", "status 0x00"),
    ("unknown-status-bits", "status 0x03"),
    ("all-status-bits-at-once", "status 0x83"),
    ("status-bit-cleared", "status 0x0b"),
    ("status-bit-cleared-while-running", "status 0x0f, length 513, status 0"),
    ("needs-reset-set-by-driver", "status 0x0f"),
    ("driver-ok-twice", "length 513, status 0"),
    ("driver-ok-after-failed", "status 0x8b"),
    ("driver-ok-without-a-queue", "status 0x0f, not looked at"),
    ("version-1-not-accepted", "status 0x03"),
    ("indirect-accepted", "status 0x03"),
    ("event-index-accepted", "status 0x03"),
    ("packed-ring-accepted", "status 0x03"),
    ("in-order-accepted", "status 0x03"),
    ("ring-reset-accepted", "status 0x03"),
    ("scsi-accepted", "status 0x03"),
    ("all-features-accepted", "status 0x03"),
    ("no-feature-accepted", "status 0x03"),
    ("features-changed-after-features-ok", "ignored"),
    ("features-changed-while-running", "ignored"),
    ("features-beyond-the-second-half", "shows 0x0, ignored"),
    ("reset-twice", "status 0x00"),
    ("registers-written-during-a-reset", "status 0x00"),
    ("reset-at-every-step", "status 0x00"),
    ("a-hundred-resets", "status 0x00"),
    ("reset-in-the-middle-of-requests", "0 of 20 wrote afterwards"),
    // Queues and registers.
    ("queue-size-0", "ignored"),
    ("queue-size-1", "taken, length 0"),
    ("queue-size-3", "ignored"),
    ("queue-size-doubled", "ignored"),
    ("queue-size-32768", "ignored"),
    ("queue-size-65535", "ignored"),
    ("queue-size-changed-after-enable", "ignored"),
    ("queue-size-changed-while-running", "ignored, length 513, status 0"),
    ("queue-moved-while-running", "ignored, length 513, status 0"),
    ("queue-enabled-before-features-ok", "not enabled"),
    ("queue-enabled-after-driver-ok", "not enabled"),
    ("queue-disabled", "ignored, length 513, status 0"),
    ("queue-enabled-with-2", "not enabled"),
    ("queue-enabled-twice", "length 513, status 0"),
    ("descriptors-unaligned", "not enabled"),
    ("available-ring-unaligned", "not enabled"),
    ("used-ring-unaligned", "not enabled"),
    ("descriptors-beyond-ram", "not enabled"),
    ("available-ring-in-the-local-apic", "not enabled"),
    ("used-ring-in-a-bar", "not enabled"),
    ("used-ring-over-the-end-of-addresses", "not enabled"),
    ("descriptors-across-the-end-of-ram", "not enabled"),
    ("areas-on-one-another", "index 1"),
    ("queue-select-out-of-range", "size 0, not enabled"),
    ("read-only-registers-written", "ignored, ignored, ignored, ignored"),
    ("status-written-by-four-bytes", "length 513, status 0"),
    ("address-written-by-eight-bytes", "reads 0x0"),
    ("registers-read-askew", "ones"),
    // The function, MSI-X, doorbells.
    ("bar-moved", "stays, length 513, status 0"),
    ("bar-left-in-sizing", "0xffffc000, length 513, status 0"),
    ("header-written", "0 taken"),
    ("capabilities-written", "0 taken"),
    ("registers-without-memory-space", "status 0xff, length 513, status 0"),
    ("request-without-bus-mastering", "length 513, status 0"),
    ("isr-written", "reads 0x0, length 513, status 0"),
    ("configuration-written", "0 taken"),
    ("configuration-read-beyond-its-end", "reads 0xffffffff"),
    ("vectors-out-of-range", "0xffff"),
    (
        "vector-changed-while-running",
        "length 513, status 0, length 513, status 0, length 513, status 0, length 513, status 0",
    ),
    ("message-into-memory", "length 513, status 0"),
    ("message-beyond-four-gibibytes", "length 513, status 0"),
    ("message-of-no-vector", "length 513, status 0"),
    ("message-while-masked", "length 513, status 0"),
    ("table-read-askew", "5 of 5 ones"),
    ("pending-bits-written", "reads 0x0"),
    ("doorbells-of-no-queue", "length 513, status 0"),
    ("doorbell-with-another-number", "length 513, status 0"),
    ("doorbell-of-any-width", "length 513, status 0, length 513, status 0, length 513, status 0"),
    ("doorbell-read", "reads 0xffff"),
    ("doorbell-before-driver-ok", "not looked at, length 513, status 0"),
    ("doorbell-after-a-reset", "not looked at"),
    ("doorbells-for-nothing", "length 513, status 0"),
    ("every-register-written-with-ones", "status reads 0x8f"),
    // Rings.
    ("available-index-jumps-by-more-than-the-ring", "needs reset"),
    ("available-index-jumps-far", "needs reset"),
    ("available-index-goes-back", "needs reset"),
    ("available-index-goes-back-while-running", "length 513, status 0, needs reset"),
    ("one-chain-as-often-as-the-ring-is-long", "answered"),
    ("entry-just-beyond-the-table", "length 0"),
    ("entry-far-beyond-the-table", "length 0"),
    ("used-ring-written-by-the-driver", "length 513, status 0"),
    ("available-flags-of-no-meaning", "length 513, status 0"),
    ("chain-changed-while-in-flight", "answered"),
    ("a-thousand-malformed-chains", "32 of 32 rings answered with length 0"),
    // Chains.
    ("chain-loops-to-itself", "length 0"),
    ("chain-loops-to-its-head", "length 0"),
    ("every-descriptor-in-one-loop", "length 0"),
    ("next-just-beyond-the-table", "length 0"),
    ("next-far-beyond-the-table", "length 0"),
    ("chain-of-the-whole-table", "length 513, status 0"),
    ("indirect-not-negotiated", "length 0"),
    ("indirect-head", "length 0"),
    ("indirect-and-next", "length 0"),
    ("unknown-flags-of-a-descriptor", "length 513, status 0"),
    ("reading-after-writing", "length 0"),
    ("length-0", "length 0"),
    ("length-0-of-the-header", "length 0"),
    ("length-of-all-ones", "length 0"),
    ("lengths-of-almost-four-gibibytes", "length 0, status 1"),
    ("lengths-of-more-than-four-gibibytes", "length 0"),
    ("address-beyond-ram", "length 0"),
    ("address-across-the-end-of-ram", "length 0"),
    ("address-in-a-bar", "length 0"),
    ("address-of-the-local-apic", "length 0"),
    ("address-of-the-io-apic", "length 0"),
    ("address-below-the-end-of-addresses", "length 0"),
    ("address-and-length-wrap", "length 0"),
    ("address-with-high-bits", "length 0"),
    ("header-beyond-ram", "length 0"),
    ("status-beyond-ram", "length 0"),
    ("data-over-the-descriptor-table", "length 513, status 0"),
    ("data-over-the-used-ring", "length 513, status 0"),
    ("data-over-its-own-header", "length 513, status 0"),
    ("data-beyond-what-pages-are-next-to-each-other", "length 8193, status 0"),
    // Requests.
    ("written-and-read-back", "length 1, status 0; length 1, status 0; length 513, status 0; true"),
    ("type-unknown", "length 0, status 2"),
    ("type-scsi", "length 0, status 2"),
    ("type-scsi-out", "length 1, status 2"),
    ("type-with-barrier", "length 0, status 2"),
    ("type-get-lifetime", "length 0, status 2"),
    ("type-secure-erase", "length 1, status 2"),
    ("type-of-all-ones", "length 0, status 2"),
    ("header-of-15-bytes", "length 0, status 1"),
    ("header-of-1-byte", "length 0, status 1"),
    ("header-of-17-bytes", "length 0, status 1"),
    ("header-of-a-page", "length 0, status 1"),
    ("header-in-three-pieces", "length 513, status 0"),
    ("header-to-be-written", "length 0, status 1"),
    ("no-header", "length 1, status 1"),
    ("no-status", "length 0"),
    ("status-to-be-read", "length 0"),
    ("status-of-two-bytes", "length 0, last 1"),
    ("sector-at-the-capacity", "length 0, status 1"),
    ("sectors-across-the-capacity", "length 0, status 1"),
    ("sector-of-all-ones", "length 0, status 1"),
    ("sector-whose-byte-wraps", "length 0, status 1"),
    ("sector-whose-byte-wraps-to-the-first", "length 0, status 1"),
    ("length-of-511", "length 0, status 1"),
    ("length-of-513", "length 0, status 1"),
    ("nothing-to-read", "length 1, status 1"),
    ("read-with-data-to-read", "length 0, status 1"),
    ("write-with-data-to-write", "length 0, status 1"),
    ("write-of-511", "length 1, status 1"),
    ("write-of-nothing", "length 1, status 1"),
    ("write-at-the-capacity", "length 1, status 1"),
    ("write-whose-byte-wraps-to-the-first", "length 1, status 1"),
    ("flush-with-data", "length 0, status 1"),
    ("flush-with-a-sector", "length 1, status 0"),
    ("flush-not-negotiated", "length 1, status 0"),
    ("serial-into-19-bytes", "length 20, status 0"),
    ("serial-into-21-bytes", "length 20, status 0"),
    ("serial-into-nothing", "length 1, status 0"),
    ("discard-of-nothing", "length 1, status 1"),
    ("discard-beyond-the-capacity", "length 1, status 1"),
    ("discard-across-the-capacity", "length 1, status 1"),
    ("discard-whose-byte-wraps", "length 1, status 1"),
    ("discard-of-all-ones", "length 1, status 1"),
    ("discard-that-unmaps", "length 1, status 2"),
    ("discard-with-unknown-flags", "length 1, status 2"),
    ("discard-of-15-bytes", "length 1, status 1"),
    ("discard-of-two-segments", "length 1, status 1"),
    ("discard-without-a-segment", "length 1, status 1"),
    ("discarded", "length 1, status 0"),
    ("zeroes-of-nothing", "length 1, status 1"),
    ("zeroes-across-the-capacity", "length 1, status 1"),
    ("zeroes-whose-byte-wraps", "length 1, status 1"),
    ("zeroes-with-unknown-flags", "length 1, status 2"),
    ("zeroes-of-two-segments", "length 1, status 1"),
    ("zeroed", "length 1, status 0"),
    ("write-to-a-read-only-disk", "length 1, status 1"),
    ("discard-of-a-read-only-disk", "length 1, status 2"),
    ("zeroes-to-a-read-only-disk", "length 1, status 2"),
    ("flush-of-a-read-only-disk", "length 1, status 0"),
    // The other devices: whether the queue goes on without a reset, too.
    ("rng-chain-loops", "length 0, goes on"),
    ("rng-next-beyond-the-table", "length 0, goes on"),
    ("rng-indirect", "length 0, goes on"),
    ("rng-buffer-of-no-bytes", "length 0, goes on"),
    ("rng-buffer-of-all-bytes", "length 0, goes on"),
    ("rng-buffer-beyond-ram", "length 0, goes on"),
    ("rng-buffer-to-be-read", "length 0, goes on"),
    ("rng-buffer-in-pieces", "length 32, goes on"),
    ("rng-head-beyond-the-table", "length 0, goes on"),
    ("rng-index-jumps", "needs reset"),
    ("rng-reset-in-flight", "reset"),
    ("console-chain-loops", "length 0, goes on"),
    ("console-next-beyond-the-table", "length 0, goes on"),
    ("console-indirect", "length 0, goes on"),
    ("console-line-of-no-bytes", "length 0, goes on"),
    ("console-line-of-all-bytes", "length 0, goes on"),
    ("console-line-beyond-ram", "length 0, goes on"),
    ("console-line-to-be-written", "length 0, goes on"),
    ("console-line-in-pieces", "length 0, goes on"),
    ("console-head-beyond-the-table", "length 0, goes on"),
    ("console-index-jumps", "needs reset"),
    ("console-buffer-to-be-read", "goes on"),
    ("console-buffer-of-no-bytes", "goes on"),
    ("console-buffer-beyond-ram", "goes on"),
    ("console-reset-in-flight", "reset"),
    ("net-chain-loops", "length 0, goes on"),
    ("net-next-beyond-the-table", "length 0, goes on"),
    ("net-indirect", "length 0, goes on"),
    ("net-frame-of-no-bytes", "length 0, goes on"),
    ("net-frame-of-all-bytes", "length 0, goes on"),
    ("net-frame-beyond-ram", "length 0, goes on"),
    ("net-frame-to-be-written", "length 0, goes on"),
    ("net-head-beyond-the-table", "length 0, goes on"),
    ("net-index-jumps", "needs reset"),
    ("net-header-of-11-bytes", "length 0, goes on"),
    ("net-header-alone", "length 0, goes on"),
    ("net-frame-of-one-byte", "length 0, goes on"),
    ("net-frame-in-pieces", "length 0, goes on"),
    ("net-header-flags-unknown", "length 0, goes on"),
    ("net-kind-of-pieces-unknown", "length 0, goes on"),
    ("net-pieces-without-a-sum", "length 0, goes on"),
    ("net-pieces-of-no-bytes", "length 0, goes on"),
    ("net-pieces-with-ecn-not-negotiated", "length 0, goes on"),
    ("net-sum-behind-the-frame", "length 0, goes on"),
    ("net-sum-over-nothing", "length 0, goes on"),
    ("net-header-longer-than-the-frame", "length 0, goes on"),
    ("net-number-of-buffers-set", "length 0, goes on"),
    ("net-another-cards-address", "length 0, goes on"),
    ("net-buffer-to-be-read", "goes on"),
    ("net-buffer-of-no-bytes", "goes on"),
    ("net-buffer-shorter-than-a-header", "goes on"),
    ("net-buffer-beyond-ram", "goes on"),
    ("net-reset-in-flight", "reset"),
    ("vsock-chain-loops", "length 0, goes on"),
    ("vsock-next-beyond-the-table", "length 0, goes on"),
    ("vsock-indirect", "length 0, goes on"),
    ("vsock-packet-of-no-bytes", "length 0, goes on"),
    ("vsock-packet-of-all-bytes", "length 0, goes on"),
    ("vsock-packet-beyond-ram", "length 0, goes on"),
    ("vsock-packet-to-be-written", "length 0, goes on"),
    ("vsock-head-beyond-the-table", "length 0, goes on"),
    ("vsock-index-jumps", "needs reset"),
    ("vsock-header-of-43-bytes", "length 0, goes on"),
    ("vsock-header-in-pieces", "length 0, goes on"),
    ("vsock-operation-0", "length 0, goes on"),
    ("vsock-operation-unknown", "length 0, goes on"),
    ("vsock-type-unknown", "length 0, goes on"),
    ("vsock-type-not-negotiated", "length 0, goes on"),
    ("vsock-from-another-guest", "length 0, goes on"),
    ("vsock-from-the-host", "length 0, goes on"),
    ("vsock-to-another-guest", "length 0, goes on"),
    ("vsock-to-itself", "length 0, goes on"),
    ("vsock-context-ids-of-all-ones", "length 0, goes on"),
    ("vsock-ports-of-zero", "length 0, goes on"),
    ("vsock-ports-of-all-ones", "length 0, goes on"),
    ("vsock-response-to-nothing", "length 0, goes on"),
    ("vsock-reset-of-nothing", "length 0, goes on"),
    ("vsock-shutdown-of-nothing", "length 0, goes on"),
    ("vsock-data-of-nothing", "length 0, goes on"),
    ("vsock-credit-of-nothing", "length 0, goes on"),
    ("vsock-credit-asked-by-nothing", "length 0, goes on"),
    ("vsock-request-with-bytes", "length 0, goes on"),
    ("vsock-length-beyond-the-packet", "length 0, goes on"),
    ("vsock-length-of-all-ones", "length 0, goes on"),
    ("vsock-length-shorter-than-the-packet", "length 0, goes on"),
    ("vsock-no-room-for-answers", "length 0, goes on"),
    ("vsock-header-of-ones", "length 0, goes on"),
    ("vsock-requests-without-end", "400 taken, goes on"),
    ("vsock-buffer-to-be-read", "goes on"),
    ("vsock-buffer-shorter-than-a-header", "goes on"),
    ("vsock-buffer-beyond-ram", "goes on"),
    ("vsock-reset-in-flight", "reset"),
];

#[test]
fn no_broken_rule_of_virtio_silences_a_device_or_changes_what_it_may_not() {
    let output = run();
    let console = char::from(CONSOLE);
    assert!(output.stdout.contains(console), "nothing came from the virtio console");
    let text = output.stdout.replace(['\r', console], "");
    let all = format!("{text}\n{}\n{}", output.stderr, output.log);
    println!("{text}");
    let expected: BTreeMap<_, _> = EXPECTED.iter().copied().collect();
    assert_eq!(expected.len(), EXPECTED.len(), "two cases of one name");
    let mut seen = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("case ")) {
        let (name, rest) = line.split_once(' ').expect("a name");
        let (_, rest) = rest.split_once("): ").expect("a section");
        let (said, after) = rest.rsplit_once("; then ").expect("what came after it");
        assert_eq!(after, "works", "after {name}: {all}");
        seen.insert(name, said);
    }
    assert_eq!(seen, expected, "{all}");
    for said in ["broken 0, pages stayed true", "status=0", "disks=kept", "left=0"] {
        assert!(text.contains(said), "not there: {said}\n{all}");
    }
}
