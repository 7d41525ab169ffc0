//! More than one processor, and a kernel as an ELF file.

use casemate_e2e::Boot;
use casemate_test_host::Host;
use std::time::Duration;

static BOOT: Boot = Boot::new("smp", two_processors).retried(Duration::from_secs(120), 4);
static ELF: Boot = Boot::new("elf", Host::vmlinux);

/// A host with two processors hangs less often.
fn two_processors(host: Host) -> Host {
    host.cpus(2)
}

#[test]
fn a_guest_sees_its_two_processors() {
    let left = BOOT.scenario("two-vcpus");
    assert_eq!(left.status, 0, "{}", left.err);
    assert!(left.out.contains("guest: 2 processors"), "{}", left.out);
    assert_eq!(left.remains, "");
}

#[test]
fn an_elf_kernel_boots() {
    let left = ELF.scenario("elf");
    assert_eq!(left.status, 0, "{}", left.err);
    assert!(left.out.contains("guest: task hello"), "{}", left.out);
    assert_eq!(left.remains, "");
}
