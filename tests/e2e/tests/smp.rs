//! More than one processor.

use casemate_e2e::{Boot, c_program};
use casemate_test_host::Host;

static BOOT: Boot = Boot::new("smp", two_processors);

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
