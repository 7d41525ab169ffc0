//! More than one processor, and a kernel as an ELF file.

use casemate_e2e::{Boot, c_program};
use casemate_test_host::Host;

static BOOT: Boot = Boot::new("smp", two_processors);
static ELF: Boot = Boot::new("elf", Host::vmlinux);

/// Two processors, and a program that loads FPU states on both: what once broke guests beside it
/// (`tests/host/run`).
#[allow(clippy::expect_used, reason = "tests fail by panics")]
fn two_processors(host: Host) -> Host {
    host.cpus(2).file(c_program("x87").expect("a compiler"), "/bin/x87")
}

#[test]
fn two_processors_of_a_guest_keep_their_state_beside_loads_of_fpu_states() {
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
