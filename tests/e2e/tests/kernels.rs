//! Protects that stock kernels boot: the oldest and the newest that Debian's archive offers, as
//! plain guests, and the newest as an SEV-SNP guest, whose processor is a MODEL. On the emulator of
//! Debian testing: QEMU 7.2 panics the oldest and the newest early. Cannot tell anything about
//! kernels in between, nor about other configurations than Debian's for clouds.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code")]

use casemate_e2e::{initrd, place, static_programs};
use casemate_test_host::{Age, Host, Kind, Output, guest_kernel};
use std::time::Duration;

/// The workload, and what the guest says of its kernel; the C-bit is the MODEL's.
const CONFIG: &str = "kernel = \"/e2e/vmlinuz\"\ninitrd = \"/e2e/initrd\"\nmemory = \"256M\"\n\
    cmdline = \"console=ttyS0 reboot=acpi panic=-1 loglevel=4 task=kernel\"\ntimeout = \"300s\"\n\
    protection = \"PROTECTION\"\nMORE\n";

/// Boots this kernel as a guest to the end of its workload; `None`, and a word about it, when the
/// archive cannot be reached and the kernel was not there before.
fn boot(age: Age, kind: Kind, protection: &str, more: &str, policy: &str) -> Option<Output> {
    let kernel = match guest_kernel(age) {
        Ok(kernel) => kernel,
        Err(error) => {
            println!("SKIPPED: the {age:?} kernel cannot be had: {error}");
            return None;
        }
    };
    let programs = static_programs().expect("casemate is built");
    let place = place(&format!("kernels-{age:?}-{protection}")).expect("a directory");
    initrd(&place.join("initrd"), "guest-workload.sh", &[]).expect("an initrd");
    let config = CONFIG.replace("PROTECTION", protection).replace("MORE", more);
    std::fs::write(place.join("vm.toml"), config).unwrap();
    let output = Host::new(kind)
        .expect("the virtual host can be built")
        .newer_emulator()
        .file(programs.join("casemate"), "/bin/casemate")
        .file(place.join("initrd"), "/e2e/initrd")
        .file(place.join("vm.toml"), "/vm.toml")
        .file(&kernel.image, "/e2e/vmlinuz")
        .timeout(Duration::from_secs(420))
        .run(&format!("casemate run /vm.toml {policy} --timeline"))
        .expect("the virtual host runs");
    let _ = std::fs::remove_dir_all(&place);
    let all = format!("{}\n{}", output.stdout, output.stderr);
    assert_eq!(output.status, 0, "{}: {all}", kernel.release);
    let said = format!("guest: kernel {},", kernel.release);
    assert!(output.stdout.contains(&said), "{said}: {all}");
    println!("{} boots, protection {protection}", kernel.release);
    Some(output)
}

#[test]
fn the_oldest_kernel_that_debian_offers_boots() {
    boot(Age::Oldest, Kind::Plain, "none", "", "");
}

#[test]
fn the_newest_kernel_that_debian_offers_boots() {
    boot(Age::Newest, Kind::Plain, "none", "", "");
}

#[test]
fn the_newest_kernel_that_debian_offers_boots_as_a_confidential_guest() {
    let policy = "--policy /policy.toml";
    let output = boot(Age::Newest, Kind::Snp, "sev-snp", "[snp]\nc_bit = 39", policy);
    if let Some(output) = output {
        assert!(output.stdout.contains("protected by SEV-SNP"), "{}", output.stdout);
    }
}
