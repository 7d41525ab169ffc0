//! A stock Linux as an SEV-SNP guest of the unmodified program, in the virtual SNP host, whose
//! processor and firmware are a MODEL: two and four processors, 2 GiB, and a report that says what
//! was measured before.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

use casemate_e2e::{initrd, kernel, place, results, results_disk, static_programs};
use casemate_test_host::{Host, Kind, Output};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Seconds: accepting 2 GiB page by page takes the MODEL minutes on a busy machine.
const GUEST_LIMIT: u64 = 900;
const HOST_DATA: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// The disk of the results, and what sev-guest needs: AES-GCM for its messages, configfs for its
/// reports. What a kernel does not have as a module is left out: Linux 7 has other names and other
/// cryptography.
const MODULES: [&str; 9] = [
    "drivers/block/virtio_blk",
    "crypto/crypto_null",
    "lib/crypto/gf128mul",
    "crypto/ghash-generic",
    "crypto/gcm",
    "fs/configfs/configfs",
    "drivers/virt/coco/tsm",
    "drivers/virt/coco/guest/tsm_report",
    "drivers/virt/coco/sev-guest/sev-guest",
];

/// The configuration of a guest; the C-bit is the MODEL's.
fn config(kernel: &str, initrd: &str, disk: &str, vcpus: u32, memory: &str) -> String {
    format!(
        "kernel = \"{kernel}\"\ninitrd = \"{initrd}\"\nvcpus = {vcpus}\nmemory = \"{memory}\"\n\
         protection = \"sev-snp\"\ncmdline = \"console=ttyS0 reboot=acpi panic=-1 quiet loglevel=4\"\n\
         timeout = \"{GUEST_LIMIT}s\"\n[snp]\nc_bit = 39\nhost_data = \"{HOST_DATA}\"\n\
         [[disk]]\npath = \"{disk}\"\n"
    )
}

struct Prepared {
    directory: PathBuf,
    initrd: PathBuf,
    disk: PathBuf,
    programs: PathBuf,
}

fn prepare(name: &str) -> Prepared {
    let programs = static_programs().expect("casemate is built");
    let directory = place(name).expect("a directory");
    // The kernel and its modules come with the plain host.
    Host::new(Kind::Snp).expect("the virtual SNP host can be built");
    let out = directory.join("initrd");
    initrd(&out, "snp-workload.sh", &MODULES).expect("an initrd");
    let disk = directory.join("disk");
    results_disk(&disk).expect("a disk");
    Prepared { directory, initrd: out, disk, programs }
}

fn measure(prepared: &Prepared, vcpus: u32, memory: &str) -> String {
    let here = prepared.directory.join("here.toml");
    let kernel = kernel().canonicalize().expect("a kernel");
    let path = |path: &Path| path.display().to_string();
    let (kernel, initrd, disk) = (path(&kernel), path(&prepared.initrd), path(&prepared.disk));
    std::fs::write(&here, config(&kernel, &initrd, &disk, vcpus, memory)).unwrap();
    let program = prepared.programs.join("casemate");
    let output = Command::new(program).arg("measure").arg(&here).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn run(prepared: &Prepared, vcpus: u32, memory: &str, digest: &str) -> Output {
    let there = prepared.directory.join("there.toml");
    std::fs::write(&there, config("/k/vmlinuz", "/e2e/initrd", "/e2e/disk", vcpus, memory))
        .unwrap();
    Host::new(Kind::Snp)
        .expect("the virtual SNP host can be built")
        .file(prepared.programs.join("casemate"), "/bin/casemate")
        .file(&prepared.initrd, "/e2e/initrd")
        .file(&prepared.disk, "/e2e/disk")
        .file(&there, "/vm.toml")
        .get("/e2e/disk", &prepared.disk)
        .memory_mib(4096)
        .timeout(Duration::from_secs(GUEST_LIMIT + 60))
        .run(&format!(
            "casemate run /vm.toml --policy /policy.toml --timeline --expect-digest {digest}"
        ))
        .expect("the virtual SNP host runs")
}

/// What the guest's results say of `name`: the rest of a line.
fn told<'a>(results: &'a str, name: &str) -> &'a str {
    let mut lines = results.lines().filter_map(|line| line.strip_prefix(name));
    lines.next().and_then(|rest| rest.strip_prefix(' ')).unwrap_or_else(|| panic!("{results}"))
}

fn bytes(hex: &str) -> Vec<u8> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    assert!(rest.is_empty(), "{hex}");
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.iter().map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn assert_guest(vcpus: u32, memory: &str) -> String {
    let prepared = prepare(&format!("snp-{vcpus}"));
    let digest = measure(&prepared, vcpus, memory);
    let output = run(&prepared, vcpus, memory, &digest);
    let all = format!("{}\n{}", output.stdout, output.stderr);
    println!("{}", output.stderr);
    assert_eq!(output.status, 0, "{all}");
    let results = results(&prepared.disk).unwrap_or_else(|why| panic!("{why}\n{all}"));
    assert!(results.contains("AMD SEV SEV-ES SEV-SNP"), "{results}");
    assert_eq!(told(&results, "processors"), vcpus.to_string());
    // ATTESTATION_REPORT (AMD 56860, table 23): report data at 0x50, measurement at 0x90, host data
    // at 0xc0.
    let report = bytes(told(&results, "report"));
    assert_eq!(report.len(), 1184, "{results}");
    assert_eq!(hex(&report[0x90..0xc0]), digest, "the measurement in the report");
    assert_eq!(hex(&report[0xc0..0xe0]), HOST_DATA);
    assert_eq!(&report[0x50..0x90], format!("{:064}", 7).as_bytes());
    // The boot code's steps are seen though it has no ports.
    for step in
        ["boot code", "memory accepted", "kernel and initrd verified", "kernel entry", "init"]
    {
        assert!(output.stderr.contains(step), "no {step:?} in {all}");
    }
    remove(&prepared.directory);
    results
}

fn remove(directory: &Path) {
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn one_processor_reports_the_measurement_that_was_computed_before() {
    assert_guest(1, "256M");
}

#[test]
fn four_processors_report_the_measurement_that_was_computed_before() {
    assert_guest(4, "256M");
}

#[test]
fn two_processors_and_two_gibibytes_report_the_measurement_that_was_computed_before() {
    let results = assert_guest(2, "2G");
    let mib: u32 = told(&results, "MiB").parse().expect("a number");
    assert!(mib > 1800, "{results}");
}
